import Glibc

/// Talks to one daemon. One request at a time.
public struct ControlClient: ~Copyable {
  private var channel: LineChannel
  /// The daemon's process as the kernel vouches.
  public let peer: PeerCredentials

  /// Connects to a socket.
  ///
  /// - Throws: `ControlError`: `noDaemon` when nobody listens, `notPermitted`, `system`.
  public init(socketPath: String) throws(ControlError) {
    let descriptor = try ControlSocket.make()
    // SAFETY: the address is used during the call only.
    let result = unsafe try ControlSocket.withAddress(of: socketPath) { address, length in
      unsafe connect(descriptor.number, address, length)
    }
    if result != 0 {
      switch errno {
      case ECONNREFUSED, ENOENT:
        throw ControlError(.noDaemon, "no daemon listens on \(socketPath)")
      case EAGAIN: throw ControlError(.busy, "the daemon is too busy to answer")
      case EACCES, EPERM:
        throw ControlError(.notPermitted, "\(socketPath) belongs to another user")
      default: throw .system("connect", socketPath)
      }
    }
    let peer = try ControlSocket.peer(of: descriptor)
    // Root may ask anyone's daemon; everyone else believes only their own and root's.
    guard geteuid() == 0 || PeerCredentials.isTrusted(uid: peer.uid, by: geteuid()) else {
      throw ControlError(.notPermitted, "\(socketPath) is another user's")
    }
    self.peer = peer
    channel = LineChannel(descriptor)
  }

  /// Asks who is there.
  ///
  /// - Throws: `ControlError`.
  public mutating func hello(timeout: Duration = .seconds(5)) throws(ControlError) -> MountStatus {
    let deadline = ContinuousClock.now + timeout
    try send(ControlRequest(.hello), until: deadline)
    let reply = try next(until: deadline)
    guard reply.kind == .hello, let mount = reply.mount else { throw Self.unexpected }
    return mount
  }

  /// Asks for the report, of the whole mount or of one path under it, with maps of at most so many
  /// cells.
  ///
  /// - Throws: `ControlError`.
  public mutating func status(
    path: String? = nil, mapCells: Int? = nil, timeout: Duration = .seconds(10)
  ) throws(ControlError) -> StatusReport {
    let deadline = ContinuousClock.now + timeout
    var request = ControlRequest(.status, path: path)
    request.mapCells = mapCells
    try send(request, until: deadline)
    var regions: [RegionStatus] = []
    while true {
      let reply = try next(until: deadline)
      switch (reply.kind, reply.regions, reply.status) {
      case (.regions, .some(let some), _):
        guard regions.count + some.count <= ControlProtocol.regionLimit else {
          throw Self.unexpected
        }
        regions += some
      case (.status, _, .some(var report)):
        report.regions = regions
        return report
      default: throw Self.unexpected
      }
    }
  }

  /// Waits until everything accepted before is committed.
  ///
  /// - Parameter progress: called with each line of progress; false gives up (code `closed`).
  /// - Throws: `ControlError`: `timeout` when `timeout` has passed; the daemon's own.
  public mutating func sync(
    path: String? = nil, timeout: Duration? = nil, progress: (SyncProgress) -> Bool = { _ in true }
  ) throws(ControlError) {
    try follow(ControlRequest(.sync, path: path), timeout: timeout, progress: progress)
  }

  /// Waits until bytes of the open file at `path` are on its host.
  ///
  /// - Parameters:
  ///   - start, end: which bytes; nil: from the beginning, to the end.
  ///   - priority: 0 ... 9; nil: 5.
  ///   - progress: as in `sync`.
  /// - Throws: `ControlError`: `timeout` when `timeout` has passed; the daemon's own.
  public mutating func pull(
    path: String, start: UInt64? = nil, end: UInt64? = nil, priority: Int? = nil,
    timeout: Duration? = nil, progress: (SyncProgress) -> Bool = { _ in true }
  ) throws(ControlError) {
    var request = ControlRequest(.pull, path: path)
    (request.start, request.end, request.priority) = (start, end, priority)
    try follow(request, timeout: timeout, progress: progress)
  }

  /// Makes the mount the writer of the group that holds `path`, whoever is; returns what was done, in
  /// words.
  ///
  /// - Throws: `ControlError`.
  public mutating func takeOver(path: String, timeout: Duration? = nil) throws(ControlError)
    -> String
  {
    let deadline = timeout.map { ContinuousClock.now + $0 }
    try send(ControlRequest(.takeover, path: path), until: deadline)
    let reply = try next(until: deadline)
    guard reply.kind == .done, let message = reply.message else { throw Self.unexpected }
    return message
  }

  /// Shows, keeps or removes the recorded trace of the group that holds `path`.
  ///
  /// - Throws: `ControlError`.
  public mutating func trace(
    path: String, action: TraceAction, timeout: Duration = .seconds(60)
  ) throws(ControlError) -> TraceStatus {
    let deadline = ContinuousClock.now + timeout
    var request = ControlRequest(.trace, path: path)
    request.traceAction = action
    try send(request, until: deadline)
    var parts: [TracePart] = []
    while true {
      let reply = try next(until: deadline)
      guard var trace = reply.trace else { throw Self.unexpected }
      switch reply.kind {
      case .traceParts:
        guard parts.count + trace.parts.count <= ControlProtocol.tracePartLimit else {
          throw Self.unexpected
        }
        parts += trace.parts
      case .done:
        trace.parts = parts
        return trace
      default: throw Self.unexpected
      }
    }
  }

  /// Follows until the daemon has drained.
  ///
  /// - Throws: `ControlError`: `closed` when the daemon ended without saying that it had drained.
  public mutating func drain(
    timeout: Duration? = nil, progress: (SyncProgress) -> Bool = { _ in true }
  ) throws(ControlError) {
    try follow(ControlRequest(.drain), timeout: timeout, progress: progress)
  }

  /// Asks the daemon to unmount, drain and end.
  ///
  /// - Throws: `ControlError`.
  public mutating func requestShutdown() throws(ControlError) {
    try follow(ControlRequest(.shutdown), timeout: .seconds(10)) { _ in true }
  }

  /// Changes the daemon's log level.
  ///
  /// - Throws: `ControlError`.
  public mutating func setLogLevel(_ level: String) throws(ControlError) {
    try follow(ControlRequest(.setLog, level: level), timeout: .seconds(10)) { _ in true }
  }

  private mutating func follow(
    _ request: ControlRequest, timeout: Duration?, progress: (SyncProgress) -> Bool
  ) throws(ControlError) {
    let deadline = timeout.map { ContinuousClock.now + $0 }
    try send(request, until: deadline)
    while true {
      let reply = try next(until: deadline)
      switch (reply.kind, reply.progress) {
      case (.done, _): return
      case (.progress, .some(let state)):
        guard progress(state) else { throw ControlError(.closed, "given up") }
      default: throw Self.unexpected
      }
    }
  }

  private func send(
    _ request: ControlRequest, until deadline: ContinuousClock.Instant?
  ) throws(ControlError) {
    let line = try ControlCoding.line(request, limit: ControlProtocol.requestLimit)
    do throws(ControlError) {
      try channel.write(line, until: deadline)
    } catch {
      // A server that refuses says why before it hangs up.
      guard error.code == .closed else { throw error }
    }
  }

  private mutating func next(
    until deadline: ContinuousClock.Instant?
  ) throws(ControlError) -> ControlReply {
    guard let line = try channel.readLine(limit: ControlProtocol.replyLimit, until: deadline)
    else { throw ControlError(.closed, "the daemon ended before it had answered") }
    let reply = try ControlCoding.value(ControlReply.self, from: line)
    guard reply.kind != .error else { throw reply.error ?? Self.unexpected }
    return reply
  }

  private static var unexpected: ControlError {
    ControlError(.malformed, "the daemon's answer does not fit the question")
  }
}

/// A daemon that was found by its socket.
public struct FoundDaemon: Equatable, Sendable {
  /// Its socket.
  public var socketPath: String
  /// What it says of itself.
  public var mount: MountStatus
  /// What the kernel says of it.
  public var peer: PeerCredentials
}

extension ControlClient {
  /// The daemons that listen in these directories, ordered by mountpoint.
  ///
  /// Sockets that nobody listens on any more are removed: a daemon's socket listens before it gets
  /// its name, so one that refuses is always dead. What does not answer properly is passed over and
  /// named in `problems`.
  public static func findDaemons(
    in directories: [String], problems: inout [ControlError]
  ) -> [FoundDaemon] {
    var found: [FoundDaemon] = []
    for path in directories.flatMap(ControlDirectory.sockets(in:)) {
      do throws(ControlError) {
        var client = try ControlClient(socketPath: path)
        found.append(
          FoundDaemon(socketPath: path, mount: try client.hello(), peer: client.peer))
      } catch {
        // SAFETY: unlink reads the path only during the call.
        if error.code == .noDaemon { _ = unsafe unlink(path) } else { problems.append(error) }
      }
    }
    return found.sorted { $0.mount.mountpoint < $1.mount.mountpoint }
  }

  /// The daemon that serves a mounted file system: by device number, because paths differ between
  /// mount namespaces. Among those that drain, a device number may have been used again.
  public static func findDaemon(
    for entry: MountListEntry, environment: [String: String], problems: inout [ControlError]
  ) -> FoundDaemon? {
    var directories = ControlDirectory.searchPaths(environment: environment)
    if let owner = entry.ownerUID, owner != getuid() {
      directories += ControlDirectory.searchPaths(environment: environment, uid: owner)
    }
    let found = findDaemons(in: directories, problems: &problems)
    return found.first { $0.mount.device == entry.device && $0.mount.state == .running }
      ?? found.first { $0.mount.device == entry.device }
  }
}
