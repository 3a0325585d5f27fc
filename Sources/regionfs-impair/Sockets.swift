import CLinux
import Glibc

/// A failed system call.
struct SystemError: Error, CustomStringConvertible {
  let call: String
  let code: Int32

  init(_ call: String) {
    self.call = call
    code = errno
  }

  var description: String {
    // SAFETY: strerror returns a static string; this process has one thread.
    unsafe "\(call): \(String(cString: strerror(code)))"
  }
}

/// An IPv4 address and port, as in `127.0.0.1:8333`.
struct Endpoint: CustomStringConvertible {
  let host: String
  let port: UInt16
  private let address: in_addr

  init(_ text: String) throws(UsageError) {
    let parts = text.split(separator: ":")
    guard parts.count == 2, let port = UInt16(parts[1]) else {
      throw UsageError(description: "\(text) is not ADDRESS:PORT")
    }
    host = String(parts[0])
    self.port = port
    var parsed = in_addr()
    // SAFETY: both pointers live for the call; inet_pton writes one in_addr.
    guard unsafe inet_pton(AF_INET, host, &parsed) == 1 else {
      throw UsageError(description: "\(host) is not an IPv4 address")
    }
    address = parsed
  }

  var description: String { "\(host):\(port)" }

  /// Calls `body` with this endpoint in the form of the socket calls.
  func withSocketAddress<Result>(
    _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result
  ) -> Result {
    var raw = sockaddr_in()
    raw.sin_family = sa_family_t(AF_INET)
    raw.sin_port = port.bigEndian
    raw.sin_addr = address
    let length = socklen_t(MemoryLayout<sockaddr_in>.size)
    // SAFETY: sockaddr_in is meant to be passed as sockaddr; the pointer is used in `body` only.
    return unsafe withUnsafePointer(to: &raw) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe body($0, length)
      }
    }
  }
}

/// The socket calls that the proxy makes.
enum Sockets {
  /// socket(2), bind(2), listen(2).
  static func listen(on endpoint: Endpoint) throws(SystemError) -> Int32 {
    let socket = try open()
    set(socket, SOL_SOCKET, SO_REUSEADDR, 1)
    // SAFETY: the address is valid for the call.
    guard unsafe endpoint.withSocketAddress({ unsafe bind(socket, $0, $1) }) == 0 else {
      throw SystemError("bind \(endpoint)")
    }
    guard Glibc.listen(socket, 256) == 0 else { throw SystemError("listen \(endpoint)") }
    return socket
  }

  /// connect(2), not waited for.
  static func connect(to endpoint: Endpoint) throws(SystemError) -> Int32 {
    let socket = try open()
    noDelay(socket)
    // SAFETY: the address is valid for the call.
    let result = unsafe endpoint.withSocketAddress { unsafe Glibc.connect(socket, $0, $1) }
    guard result == 0 || errno == EINPROGRESS else {
      let failure = SystemError("connect \(endpoint)")
      close(socket)
      throw failure
    }
    return socket
  }

  /// accept4(2); nil when nobody waits.
  static func accept(from listener: Int32) -> Int32? {
    let flags = Int32(bitPattern: SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    let socket = linux_accept4(listener, flags)
    guard socket >= 0 else { return nil }
    noDelay(socket)
    return socket
  }

  /// The port that the kernel chose.
  static func port(of socket: Int32) -> UInt16 {
    var raw = sockaddr_in()
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    // SAFETY: getsockname writes at most `length` bytes into `raw`.
    let result = unsafe withUnsafeMutablePointer(to: &raw) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe getsockname(socket, $0, &length)
      }
    }
    return result == 0 ? UInt16(bigEndian: raw.sin_port) : 0
  }

  /// close(2) that sends RST instead of FIN.
  static func reset(_ socket: Int32) {
    var value = linger(l_onoff: 1, l_linger: 0)
    // SAFETY: the option is a linger struct, passed with its size.
    _ = unsafe setsockopt(
      socket, SOL_SOCKET, SO_LINGER, &value, socklen_t(MemoryLayout<linger>.size))
    close(socket)
  }

  private static func open() throws(SystemError) -> Int32 {
    let type = Int32(bitPattern: SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue)
    let socket = socket(AF_INET, type | Int32(bitPattern: SOCK_CLOEXEC.rawValue), 0)
    guard socket >= 0 else { throw SystemError("socket") }
    return socket
  }

  private static func noDelay(_ socket: Int32) { set(socket, Int32(IPPROTO_TCP), TCP_NODELAY, 1) }

  /// setsockopt(2) with an int; a refused tuning is not worth failing for.
  private static func set(_ socket: Int32, _ level: Int32, _ option: Int32, _ value: Int32) {
    var value = value
    // SAFETY: the option is an int, passed with its size.
    _ = unsafe setsockopt(
      socket, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
  }
}

/// A pipe that bodies are spliced through, so that their bytes are never copied.
struct SplicePipe {
  let readEnd: Int32
  let writeEnd: Int32

  /// pipe2(2) and F_SETPIPE_SZ; a smaller pipe than wished for is used as it is.
  init(capacity: Int) throws(SystemError) {
    var ends: [Int32] = [-1, -1]
    // SAFETY: pipe2 writes two ints, the array has two.
    guard unsafe linux_pipe2(&ends, O_NONBLOCK | O_CLOEXEC) == 0 else { throw SystemError("pipe2") }
    readEnd = ends[0]
    writeEnd = ends[1]
    if linux_set_pipe_size(writeEnd, Int32(clamping: capacity)) < 0 {
      _ = linux_set_pipe_size(writeEnd, 1 << 20)
    }
  }

  func closeBoth() {
    close(readEnd)
    close(writeEnd)
  }
}

/// clock_gettime(CLOCK_MONOTONIC).
func monotonicNow() -> Nanoseconds {
  var time = timespec()
  // SAFETY: clock_gettime writes one timespec.
  unsafe clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
