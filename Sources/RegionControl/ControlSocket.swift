import Glibc

/// A file descriptor that is closed exactly once.
struct Descriptor: ~Copyable {
  let number: Int32

  init(_ number: Int32) { self.number = number }

  deinit { close(number) }
}

/// Who is at the other end of a unix socket, as the kernel vouches (SO_PEERCRED).
public struct PeerCredentials: Equatable, Sendable {
  /// Its process when it connected or listened; 0 if it is in a pid namespace out of sight.
  public var pid: Int32
  /// Its effective user then.
  public var uid: UInt32

  /// Credentials.
  public init(pid: Int32, uid: UInt32) {
    self.pid = pid
    self.uid = uid
  }

  /// The policy of both sides: the same user, or root.
  public static func isTrusted(uid: UInt32, by own: UInt32) -> Bool {
    uid == own || uid == 0
  }
}

/// Unix sockets: the calls that both sides need.
enum ControlSocket {
  /// `socket(AF_UNIX)`, closed on exec.
  static func make() throws(ControlError) -> Descriptor {
    let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue)
    let number = socket(AF_UNIX, kind, 0)
    guard number >= 0 else { throw .system("socket", "AF_UNIX") }
    return Descriptor(number)
  }

  /// `SO_PEERCRED`.
  static func peer(of descriptor: borrowing Descriptor) throws(ControlError) -> PeerCredentials {
    // struct ucred {pid, uid, gid} of unix(7), which the Glibc module does not show.
    var credentials: (pid: Int32, uid: UInt32, gid: UInt32) = (0, 0, 0)
    var length = socklen_t(MemoryLayout.size(ofValue: credentials))
    // SAFETY: both are locals of the size that is passed.
    let result = unsafe getsockopt(
      descriptor.number, SOL_SOCKET, SO_PEERCRED, &credentials, &length)
    guard result == 0, length == 12 else { throw .system("getsockopt", "SO_PEERCRED") }
    return PeerCredentials(pid: credentials.pid, uid: credentials.uid)
  }

  /// Calls `body` with the address of `path`.
  ///
  /// - Throws: `ControlError` if the path does not fit `sun_path`.
  static func withAddress(
    of path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32
  ) throws(ControlError) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    guard bytes.count < MemoryLayout.size(ofValue: address.sun_path), !bytes.contains(0) else {
      throw ControlError(.system, "the socket path \(path) is longer than 107 bytes")
    }
    // SAFETY: the count was checked; the rest of `sun_path` stays zero.
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { unsafe $0.copyBytes(from: bytes) }
    // SAFETY: a sockaddr_un may be passed as the sockaddr it begins with.
    return unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { rebound in
        unsafe body(rebound, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }

  /// Waits until the descriptor is ready for `events` (`poll`).
  ///
  /// - Returns: false when `deadline` has passed.
  static func wait(
    _ number: Int32, for events: Int32, until deadline: ContinuousClock.Instant?
  ) throws(ControlError) -> Bool {
    while true {
      let milliseconds = deadline.map(milliseconds(until:)) ?? -1
      var item = pollfd(fd: number, events: Int16(events), revents: 0)
      // SAFETY: one local element.
      let count = unsafe poll(&item, 1, milliseconds)
      if count > 0 { return true }
      if count == 0, milliseconds == 0 { return false }
      if count < 0, errno != EINTR { throw .system("poll", "a control socket") }
    }
  }

  /// Rounded up, so that a wait does not spin through its last millisecond; 0 once it has passed.
  private static func milliseconds(until deadline: ContinuousClock.Instant) -> Int32 {
    let left = ContinuousClock.now.duration(to: deadline)
    guard left > .zero else { return 0 }
    let parts = left.components
    return Int32(clamping: parts.seconds * 1000 + parts.attoseconds / 1_000_000_000_000_000 + 1)
  }
}

/// Lines over a connected socket, with limits on their length and on the time they take.
struct LineChannel: ~Copyable {
  let descriptor: Descriptor
  private var buffer: [UInt8] = []
  /// Where the next search for a newline starts.
  private var scanned = 0

  init(_ descriptor: consuming Descriptor) {
    self.descriptor = descriptor
  }

  /// The next line without its newline; nil at a clean end.
  ///
  /// - Throws: `ControlError`: `malformed` beyond `limit`, `timeout`, `closed` within a line.
  mutating func readLine(
    limit: Int, until deadline: ContinuousClock.Instant?
  ) throws(ControlError) -> [UInt8]? {
    while true {
      if let end = buffer[scanned...].firstIndex(of: UInt8(ascii: "\n")), end < limit {
        let line = Array(buffer[..<end])
        buffer.removeFirst(end + 1)
        scanned = 0
        return line
      }
      scanned = buffer.count
      guard buffer.count < limit else {
        throw ControlError(.malformed, "a line is longer than \(limit) bytes")
      }
      guard try receive(until: deadline) else {
        guard buffer.isEmpty else { throw ControlError(.closed, "the line was cut short") }
        return nil
      }
    }
  }

  /// Appends what has come (`recv`); false at the end of the stream.
  private mutating func receive(
    until deadline: ContinuousClock.Instant?
  ) throws(ControlError) -> Bool {
    while true {
      guard try ControlSocket.wait(descriptor.number, for: POLLIN, until: deadline) else {
        throw ControlError(.timeout, "no answer in time")
      }
      let number = descriptor.number
      var failure: Int32 = 0
      // SAFETY: recv writes at most the capacity into the fresh array and we take what it wrote.
      let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 16_384) { space, count in
        let result = unsafe recv(number, space.baseAddress, space.count, Int32(MSG_DONTWAIT))
        if result < 0 { failure = errno }
        count = max(0, result)
      }
      switch failure {
      case 0:
        buffer += bytes
        return !bytes.isEmpty
      case EINTR, EAGAIN: continue
      case ECONNRESET: return false
      default: throw .system("recv", "a control socket", errno: failure)
      }
    }
  }

  /// Sends all of `bytes` (`send`, without SIGPIPE).
  ///
  /// - Throws: `ControlError`: `closed` when the peer has gone, `timeout`.
  func write(_ bytes: [UInt8], until deadline: ContinuousClock.Instant?) throws(ControlError) {
    var sent = 0
    while sent < bytes.count {
      guard try ControlSocket.wait(descriptor.number, for: POLLOUT, until: deadline) else {
        throw ControlError(.timeout, "the other side does not read")
      }
      // SAFETY: the span lies within the array, which lives through the call.
      let result = unsafe bytes.withUnsafeBytes { all in
        let rest = unsafe UnsafeRawBufferPointer(rebasing: all[sent...])
        return unsafe send(
          descriptor.number, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT)
        )
      }
      if result > 0 {
        sent += result
      } else if errno == EPIPE || errno == ECONNRESET {
        throw ControlError(.closed, "the other side has gone")
      } else if errno != EINTR, errno != EAGAIN {
        throw .system("send", "a control socket")
      }
    }
  }
}
