import Glibc

/// One client's connection: requests are answered one after the other.
struct ControlSession: ~Copyable {
  private var channel: LineChannel
  private let handler: any ControlHandler
  private let ownUID: UInt32

  init(channel: consuming LineChannel, handler: any ControlHandler, ownUID: UInt32) {
    self.channel = channel
    self.handler = handler
    self.ownUID = ownUID
  }

  /// The connection, when all is said.
  consuming func finish() -> LineChannel { channel }

  /// Serves until the client leaves, errs or is too slow.
  mutating func run() {
    do throws(ControlError) {
      let peer = try ControlSocket.peer(of: channel.descriptor)
      guard PeerCredentials.isTrusted(uid: peer.uid, by: ownUID) else {
        throw ControlError(.notPermitted, "this mount belongs to another user")
      }
      while let line = try nextLine() {
        try answer(try ControlCoding.value(ControlRequest.self, from: line))
      }
    } catch {
      // After an error the stream's position means nothing: say why, then hang up.
      var reply = ControlReply(.error)
      reply.error = error
      try? send(reply)
    }
  }

  private mutating func nextLine() throws(ControlError) -> [UInt8]? {
    try channel.readLine(
      limit: ControlProtocol.requestLimit, until: .now + ControlProtocol.lineTimeout)
  }

  private func send(_ reply: ControlReply) throws(ControlError) {
    let line = try ControlCoding.line(reply, limit: ControlProtocol.replyLimit)
    try channel.write(line, until: .now + ControlProtocol.lineTimeout)
  }

  private func answer(_ request: ControlRequest) throws(ControlError) {
    do throws(ControlError) {
      try perform(request)
    } catch {
      // What the handler could not do is an answer, and the client may ask for something else.
      guard error.code != .closed else { throw error }
      var reply = ControlReply(.error)
      reply.error = error
      try send(reply)
    }
  }

  private func perform(_ request: ControlRequest) throws(ControlError) {
    switch request.operation {
    case .hello:
      var reply = ControlReply(.hello)
      reply.mount = handler.mountStatus()
      try send(reply)
    case .status:
      let cells = request.mapCells.map { min(max(1, $0), ChunkMapStatus.cellLimit) }
      let report = cells.map { handler.status(mapCells: $0) } ?? handler.status()
      try sendReport(report, path: request.path)
    case .sync:
      try handler.sync(path: request.path) { report($0) }
      try send(ControlReply(.done))
    case .pull:
      guard let path = request.path, !path.isEmpty, request.start ?? 0 <= request.end ?? .max else {
        throw ControlError(.malformed, "pull needs a path and a range that does not end too early")
      }
      try handler.pull(
        path: path, start: request.start, end: request.end, priority: request.priority ?? 5
      ) { report($0) }
      try send(ControlReply(.done))
    case .trace:
      guard let path = request.path, !path.isEmpty, let action = request.traceAction else {
        throw ControlError(.malformed, "trace needs a path and an action")
      }
      try sendTrace(try handler.trace(path: path, action: action))
    case .takeover:
      guard let path = request.path, !path.isEmpty else {
        throw ControlError(.malformed, "takeover needs a path")
      }
      var reply = ControlReply(.done)
      reply.message = try handler.takeOver(path: path)
      try send(reply)
    case .drain:
      try handler.drain { report($0) }
      try send(ControlReply(.done))
    case .shutdown:
      try handler.requestShutdown()
      try send(ControlReply(.done))
    case .setLog:
      guard let level = request.level else {
        throw ControlError(.malformed, "setLog needs a level")
      }
      try handler.setLogLevel(level)
      try send(ControlReply(.done))
    }
  }

  private func sendTrace(_ trace: TraceStatus) throws(ControlError) {
    var left = trace
    while !left.parts.isEmpty {
      var some = TraceStatus()
      some.parts = Array(left.parts.prefix(ControlProtocol.tracePartsPerLine))
      left.parts.removeFirst(some.parts.count)
      var reply = ControlReply(.traceParts)
      reply.trace = some
      try send(reply)
    }
    var reply = ControlReply(.done)
    reply.trace = left
    try send(reply)
  }

  /// Sends progress; false once the client has gone.
  private func report(_ progress: SyncProgress) -> Bool {
    var reply = ControlReply(.progress)
    reply.progress = progress
    do throws(ControlError) {
      try send(reply)
      return true
    } catch {
      return false
    }
  }

  private func sendReport(_ report: StatusReport, path: String?) throws(ControlError) {
    var regions = report.regions
    if let path, !path.isEmpty {
      regions = regions.filter { $0.name == path || $0.name.hasPrefix(path + "/") }
    }
    var rest = regions[...]
    while !rest.isEmpty {
      var reply = ControlReply(.regions)
      reply.regions = Array(rest.prefix(ControlProtocol.regionsPerLine))
      rest = rest.dropFirst(ControlProtocol.regionsPerLine)
      try send(reply)
    }
    var reply = ControlReply(.status)
    reply.status = report
    reply.status?.regions = []
    try send(reply)
  }
}
