/// How the messages of a connection are followed and the rules applied to them.
extension Proxy {
  /// Takes received bytes apart into heads and bodies and queues what is to be forwarded.
  func take(_ block: Block, count: Int, on lane: Lane, of connection: Connection) {
    // SAFETY: `count` bytes were received into the block, which lives as long as this call.
    let bytes = unsafe Span<UInt8>(
      _unsafeStart: block.base.assumingMemoryBound(to: UInt8.self), count: count)
    var at = 0
    while at < count, !lane.closedForReading, !lane.stalled {
      guard lane.scanner.state == .head else {
        let start = lane.scanner.bodyOffset
        let (used, ended) = lane.scanner.takeBody(bytes, from: at)
        forward(block, at, used, bodyOffset: start, on: lane, of: connection)
        at += used
        if ended { messageEnded(on: lane, of: connection) }
        continue
      }
      let (used, progress) = lane.scanner.takeHead(bytes, from: at)
      at += used
      switch progress {
      case .incomplete: break
      case .complete(let head):
        if lane.direction == .up {
          requestArrived(head, on: connection)
        } else {
          responseArrived(head, on: connection)
        }
      case .notHTTP(let bytes):
        connection.up.scanner.becomeRaw()
        connection.down.scanner.becomeRaw()
        queue(.memory(Block(bytes), offset: 0, count: bytes.count), on: lane, of: connection)
      }
    }
  }

  /// Queues body bytes, edited where a rule says so.
  private func forward(
    _ block: Block, _ offset: Int, _ count: Int, bodyOffset: Int, on lane: Lane,
    of connection: Connection
  ) {
    countBody(count, on: lane, of: connection)
    if lane.discards || count == 0 { return }
    guard let edit = lane.edit, edit.at < bodyOffset + count else {
      queue(.memory(block, offset: offset, count: count), on: lane, of: connection)
      return
    }
    lane.edit = nil
    rules[edit.rule].fired += 1
    let before = max(0, edit.at - bodyOffset)
    if case .flip = edit.kind {
      block.flipBit(at: offset + before)
      queue(.memory(block, offset: offset, count: count), on: lane, of: connection)
      return
    }
    if before > 0 {
      queue(.memory(block, offset: offset, count: before), on: lane, of: connection)
    }
    cut(edit.kind, rest: (block, offset + before, count - before), on: lane, of: connection)
  }

  /// Ends or interrupts a body in its middle.
  private func cut(
    _ kind: BodyEdit.Kind, rest: (Block, Int, Int), on lane: Lane, of connection: Connection
  ) {
    switch kind {
    case .flip: break
    case .dropRest: lane.discards = true
    case .reset:
      queue(.reset, on: lane, of: connection)
      lane.closedForReading = true
    case .close:
      queue(.close, on: lane, of: connection)
      lane.closedForReading = true
    case .stall(let duration?):
      lane.extraDelay += duration
      queue(.memory(rest.0, offset: rest.1, count: rest.2), on: lane, of: connection)
      lane.extraDelay -= duration
    case .stall(nil): lane.stalled = true
    }
  }

  /// Decides about a request and forwards its head.
  private func requestArrived(_ head: HTTPHead, on connection: Connection) {
    let lane = connection.up
    counters.requests[head.method, default: 0] += 1
    log("\(connection.id) \(head.method) \(head.target) \(head.range) \(head.contentLength ?? 0)")
    var exchange = Exchange(method: head.method, target: head.target)
    if let index = pickRule("\(head.method) \(head.target)") {
      apply(rules[index].action, rule: index, to: &exchange, head, on: connection)
    }
    connection.exchanges.append(exchange)
    if lane.closedForReading { return }
    if !lane.discards {
      let block = Block(head.bytes)
      queue(.memory(block, offset: 0, count: head.bytes.count), on: lane, of: connection)
    }
    if exchange.closes {
      // The client waits for leave to send its body; the final status comes instead.
      connection.exchanges[connection.exchanges.count - 1].requestEnded = true
      lane.closedForReading = true
      answerWaiting(on: connection)
    } else if lane.scanner.beginBody(head.requestFraming) {
      messageEnded(on: lane, of: connection)
    }
  }

  private func pickRule(_ request: String) -> Int? {
    rules.indices.first { rules[$0].picks(request, using: &generator) }
  }

  /// Prepares what a rule does to this exchange.
  private func apply(
    _ action: Action, rule: Int, to exchange: inout Exchange, _ head: HTTPHead,
    on connection: Connection
  ) {
    let lane = connection.up
    switch action {
    case .status(let code, let retryAfter):
      rules[rule].fired += 1
      exchange.answer = Answer.bytes(code, retryAfter: retryAfter, to: head)
      exchange.closes = head.expectsContinue
      lane.discards = true
    case .resetRequest:
      rules[rule].fired += 1
      queue(.reset, on: lane, of: connection)
      lane.closedForReading = true
    case .resetRequestBody(let after):
      let at = after ?? (head.contentLength ?? 0) / 2
      lane.edit = BodyEdit(kind: .reset, at: at, rule: rule)
    case .flipRequest(let at):
      lane.edit = BodyEdit(kind: .flip, at: at ?? (head.contentLength ?? 0) / 2, rule: rule)
    case .blackhole:
      rules[rule].fired += 1
      connection.blackholed = true
      lane.discards = true
    default: exchange.onResponse = (action, rule)
    }
  }

  /// Applies the exchange's rule to a response and forwards its head.
  private func responseArrived(_ head: HTTPHead, on connection: Connection) {
    let lane = connection.down
    if head.status / 100 != 1 { counters.responses["\(head.status)", default: 0] += 1 }
    log("\(connection.id) \(head.status) \(head.range) \(head.contentLength ?? -1)")
    var bytes = head.bytes
    let exchange = connection.exchanges.first
    if head.status / 100 != 1, let (action, rule) = exchange?.onResponse {
      apply(action, rule: rule, toResponse: head, &bytes, on: connection)
      if lane.closedForReading { return }
    }
    queue(.memory(Block(bytes), offset: 0, count: bytes.count), on: lane, of: connection)
    if head.status / 100 == 1 { return }
    if lane.scanner.beginBody(head.responseFraming(to: exchange?.method ?? "GET")) {
      messageEnded(on: lane, of: connection)
    }
  }

  private func apply(
    _ action: Action, rule: Int, toResponse head: HTTPHead, _ bytes: inout [UInt8],
    on connection: Connection
  ) {
    let lane = connection.down
    let half = (head.contentLength ?? 0) / 2
    switch action {
    case .resetResponse:
      rules[rule].fired += 1
      queue(.reset, on: lane, of: connection)
      lane.closedForReading = true
    case .resetResponseBody(let after):
      lane.edit = BodyEdit(kind: .reset, at: after ?? half, rule: rule)
    case .truncate(let after):
      lane.edit = BodyEdit(kind: .close, at: after ?? half, rule: rule)
    case .shorten(let after):
      guard let length = head.contentLength, length > 0 else { return }
      let at = min(after ?? half, length - 1)
      lane.edit = BodyEdit(kind: .dropRest, at: at, rule: rule)
      bytes = head.announcing(length: at)
    case .flip(let at):
      lane.edit = BodyEdit(kind: .flip, at: at ?? randomOffset(head.contentLength), rule: rule)
    case .stall(let after, let duration):
      lane.edit = BodyEdit(kind: .stall(duration), at: after ?? half, rule: rule)
    case .delay(let duration):
      rules[rule].fired += 1
      lane.extraDelay = duration
    default: break
    }
  }

  private func randomOffset(_ length: Int?) -> Int {
    guard let length, length > 0 else { return 0 }
    return Int.random(in: 0..<length, using: &generator)
  }

  /// Called after the last byte of a message.
  func messageEnded(on lane: Lane, of connection: Connection) {
    lane.edit = nil
    if !(lane.direction == .up && connection.blackholed) { lane.discards = false }
    switch lane.direction {
    case .up:
      if let last = connection.exchanges.indices.last {
        connection.exchanges[last].requestEnded = true
      }
      answerWaiting(on: connection)
    case .down:
      lane.extraDelay = 0
      if !connection.exchanges.isEmpty { connection.exchanges.removeFirst() }
      answerWaiting(on: connection)
    }
  }

  /// Sends the proxy's own answers whose turn has come.
  private func answerWaiting(on connection: Connection) {
    let lane = connection.down
    while let exchange = connection.exchanges.first, let answer = exchange.answer,
      exchange.requestEnded
    {
      connection.exchanges.removeFirst()
      // The request would have travelled half a round trip before anyone could answer it.
      lane.extraDelay += roundTrip / 2
      queue(
        .memory(Block(answer), offset: 0, count: answer.count), on: lane, of: connection)
      if exchange.closes { queue(.close, on: lane, of: connection) }
      lane.extraDelay -= roundTrip / 2
    }
  }
}

/// The answers that the proxy gives in a server's stead.
enum Answer {
  static func bytes(_ code: Int, retryAfter: Int?, to head: HTTPHead) -> [UInt8] {
    let (reason, name) = words[code] ?? ("Injected", "Injected")
    let body =
      head.method == "HEAD"
      ? ""
      : "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>\(name)</Code>"
        + "<Message>\(reason)</Message><RequestId>0000000000000000</RequestId></Error>"
    var text = "HTTP/1.1 \(code) \(reason)\r\nContent-Type: application/xml\r\n"
    text += "Content-Length: \(body.utf8.count)\r\n"
    if let retryAfter { text += "Retry-After: \(retryAfter)\r\n" }
    if head.expectsContinue { text += "Connection: close\r\n" }
    return Array((text + "\r\n" + body).utf8)
  }

  private static let words: [Int: (String, String)] = [
    400: ("Bad Request", "RequestTimeout"),
    403: ("Forbidden", "AccessDenied"),
    404: ("Not Found", "NoSuchKey"),
    409: ("Conflict", "ConditionalRequestConflict"),
    412: ("Precondition Failed", "PreconditionFailed"),
    429: ("Too Many Requests", "TooManyRequests"),
    500: ("Internal Server Error", "InternalError"),
    502: ("Bad Gateway", "BadGateway"),
    503: ("Slow Down", "SlowDown"),
    504: ("Gateway Timeout", "GatewayTimeout"),
  ]
}
