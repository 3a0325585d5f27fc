import Glibc
import Locks

/// What a daemon answers. Called on the server's own threads, several at a time: blocking is fine.
public protocol ControlHandler: Sendable {
  /// Who this daemon is; must not wait for anything.
  func mountStatus() -> MountStatus

  /// Everything there is to tell.
  func status() -> StatusReport

  /// The same with each region's map, of at most so many cells.
  func status(mapCells: Int) -> StatusReport

  /// Returns when everything accepted before the call is committed: of the group that holds `path`
  /// (a path under the mount, no leading slash), or of all groups.
  ///
  /// - Parameter progress: to be called about twice a second, also when nothing moves; false means
  ///   that the client has gone and the call should return soon.
  /// - Throws: `ControlError`: `notFound`, `failed` ….
  func sync(
    path: String?, progress: (SyncProgress) -> Bool
  ) throws(ControlError)

  /// Returns when the bytes of the open file at `path` are here.
  ///
  /// - Parameters:
  ///   - start, end: which bytes; nil: from the beginning, to the end.
  ///   - priority: 0 ... 9.
  ///   - progress: as in `sync`.
  /// - Throws: `ControlError`: `notFound`, `failed` ….
  func pull(
    path: String, start: UInt64?, end: UInt64?, priority: Int, progress: (SyncProgress) -> Bool
  ) throws(ControlError)

  /// Makes this mount the writer of the group that holds `path` (a path under the mount, no leading
  /// slash), whoever is; returns what was done, in words.
  ///
  /// - Throws: `ControlError`: `notFound`, `failed` ….
  func takeOver(path: String) throws(ControlError) -> String

  /// Shows, keeps or removes the recorded trace of the group that holds `path` (a path under the mount,
  /// no leading slash).
  ///
  /// - Throws: `ControlError`: `notFound`, `failed` ….
  func trace(path: String, action: TraceAction) throws(ControlError) -> TraceStatus

  /// Returns when the daemon has drained: unmounted and everything committed.
  ///
  /// - Parameter progress: as in `sync`.
  /// - Throws: `ControlError` when it will not get there.
  func drain(progress: (SyncProgress) -> Bool) throws(ControlError)

  /// Starts unmounting and draining; returns at once.
  ///
  /// - Throws: `ControlError`.
  func requestShutdown() throws(ControlError)

  /// Changes the log level; `level` is a `swift-log` level name.
  ///
  /// - Throws: `ControlError` for an unknown one.
  func setLogLevel(_ level: String) throws(ControlError)
}

extension ControlHandler {
  /// A daemon without maps tells the rest.
  public func status(mapCells: Int) -> StatusReport { status() }

  /// A daemon without groups has no traces.
  public func trace(path: String, action: TraceAction) throws(ControlError) -> TraceStatus {
    throw ControlError(.notFound, "\(path) is not known here: there are no groups")
  }
}

/// Answers the control socket of one daemon, on threads of its own.
///
/// One thread accepts, one more serves each client, at most `ControlProtocol.clientLimit`. `stop()`
/// must be called before the last reference goes.
public final class ControlServer: Sendable {
  /// Path of the socket.
  public let socketPath: String

  private struct State {
    var stopping = false
    /// Descriptors of the clients being served, for `stop()`. Each is taken out before it is
    /// closed, so a number in here is always ours.
    var clients: Set<Int32> = []
    var listening = true
  }

  private let state = Lock(State())
  private let handler: any ControlHandler
  private let listener: Int32
  private let ownUID: UInt32

  /// Makes the socket `<directory>/<mountID>.sock` (mode 0600) and starts to answer.
  ///
  /// - Parameters:
  ///   - directory: from `ControlDirectory.prepare`.
  ///   - mountID: 1 to 64 characters of `A-Z a-z 0-9 _ -`.
  /// - Throws: `ControlError`.
  public init(
    directory: String, mountID: String, handler: any ControlHandler
  ) throws(ControlError) {
    guard (1...64).contains(mountID.utf8.count), mountID.utf8.allSatisfy(Self.isNameByte) else {
      throw ControlError(.malformed, "'\(mountID)' cannot name a socket")
    }
    try ControlDirectory.check(directory, uid: geteuid())
    socketPath = "\(directory)/\(mountID).sock"
    self.handler = handler
    ownUID = geteuid()
    listener = try Self.listen(at: socketPath)
    do throws(ControlError) {
      try DetachedThread.start { [self] in acceptLoop() }
    } catch {
      close(listener)
      // SAFETY: unlink reads the path only during the call.
      _ = unsafe unlink(socketPath)
      throw error
    }
  }

  /// Stops accepting, lets answers under way be finished for at most `grace`, removes the socket.
  ///
  /// The handler's `sync` and `drain` should have returned, or return soon, when this is called.
  public func stop(grace: Duration = .seconds(2)) {
    let first = state.withLock { state in
      defer { state.stopping = true }
      // Only the reading side: what is being answered still goes out.
      for client in state.clients { shutdown(client, Int32(SHUT_RD)) }
      // Wakes the accepting thread, which closes the number only after it has said so here.
      if state.listening { shutdown(listener, Int32(SHUT_RDWR)) }
      return !state.stopping
    }
    guard first else { return }
    // SAFETY: unlink reads the path only during the call.
    _ = unsafe unlink(socketPath)
    let deadline = ContinuousClock.now + grace
    while ContinuousClock.now < deadline {
      let idle = state.withLock { $0.clients.isEmpty && !$0.listening }
      if idle { return }
      usleep(2_000)
    }
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "-"):
      true
    default: false
    }
  }

  /// Binds under another name and renames once it listens: a socket that refuses connections is
  /// then always a dead one, never one that is about to listen.
  private static func listen(at path: String) throws(ControlError) -> Int32 {
    let descriptor = try ControlSocket.make()
    let early = "\(path).\(getpid())"
    // SAFETY: paths are read only during the calls.
    _ = unsafe unlink(early)
    let bound = unsafe try ControlSocket.withAddress(of: early) { address, length in
      unsafe bind(descriptor.number, address, length)
    }
    guard bound == 0 else { throw .system("bind", early) }
    guard unsafe chmod(early, 0o600) == 0, Glibc.listen(descriptor.number, 64) == 0,
      unsafe rename(early, path) == 0
    else {
      let error = ControlError.system("listen", path)
      _ = unsafe unlink(early)
      throw error
    }
    let number = fcntl(descriptor.number, F_DUPFD_CLOEXEC, 0)
    guard number >= 0 else {
      let error = ControlError.system("fcntl", path)
      _ = unsafe unlink(path)
      throw error
    }
    return number
  }

  private func acceptLoop() {
    defer {
      state.withLock { $0.listening = false }
      close(listener)
    }
    while !state.withLock({ $0.stopping }) {
      guard (try? ControlSocket.wait(listener, for: POLLIN, until: nil)) == true else { return }
      let number = accept(listener, nil, nil)
      guard number >= 0 else {
        // Out of descriptors or a client that went at once: breathe and go on.
        if errno != EINTR, errno != EAGAIN, errno != ECONNABORTED { usleep(10_000) }
        continue
      }
      // accept4 is not in the Glibc module; a child forked in between keeps one connection.
      _ = fcntl(number, F_SETFD, FD_CLOEXEC)
      admit(Descriptor(number))
    }
  }

  private func admit(_ descriptor: consuming Descriptor) {
    let number = descriptor.number
    let refusal = state.withLock { state in
      let refusal = Self.refusal(isStopping: state.stopping, clients: state.clients.count)
      if refusal == nil { state.clients.insert(number) }
      return refusal
    }
    if let refusal { return refuse(LineChannel(descriptor), refusal) }
    let box = ChannelBox(LineChannel(descriptor))
    do throws(ControlError) {
      try DetachedThread.start { [self] in
        guard let channel = box.take() else { return }
        serve(channel)
      }
    } catch {
      guard let channel = box.take() else { return }
      forget(channel)
    }
  }

  /// Why a client is not served; nil: it is. To one that comes while the server stops there is no
  /// daemon any more: `regionfs umount` once took that for a busy one and said that changes were left.
  static func refusal(isStopping: Bool, clients: Int) -> ControlError? {
    if isStopping { return ControlError(.noDaemon, "the daemon is ending") }
    guard clients < ControlProtocol.clientLimit else {
      return ControlError(.busy, "too many clients; try again")
    }
    return nil
  }

  private func refuse(_ channel: consuming LineChannel, _ error: ControlError) {
    var reply = ControlReply(.error)
    reply.error = error
    guard let line = try? ControlCoding.line(reply, limit: ControlProtocol.replyLimit) else {
      return
    }
    // A refused client that does not read is not waited for.
    try? channel.write(line, until: .now)
  }

  private func forget(_ channel: consuming LineChannel) {
    let number = channel.descriptor.number
    state.withLock { _ = $0.clients.remove(number) }
  }

  private func serve(_ channel: consuming LineChannel) {
    var session = ControlSession(channel: channel, handler: handler, ownUID: ownUID)
    session.run()
    forget(session.finish())
  }
}

/// Hands a channel to the thread that serves it.
private final class ChannelBox: Sendable {
  private let channel: Lock<LineChannel?>

  init(_ channel: consuming LineChannel) {
    self.channel = Lock(channel)
  }

  func take() -> LineChannel? {
    channel.withLock { $0.take() }
  }
}
