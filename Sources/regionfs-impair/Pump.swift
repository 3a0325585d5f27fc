import Glibc

/// How bytes move: from the source into the delay line, and from there to the sink when due.
extension Proxy {
  /// Rounds per lane before the others get their turn; of a narrow wire each gets one.
  private static let roundsPerTurn = 4

  /// Moves both directions of a connection.
  func pump(_ connection: Connection, now: Nanoseconds) -> (busy: Bool, next: Nanoseconds) {
    var busy = false
    var next = Nanoseconds.max
    for lane in [connection.up, connection.down] {
      busy = fill(lane, of: connection, now: now) || busy
      if connection.closed { return (busy, next) }
      busy = drain(lane, of: connection, now: now) || busy
      if connection.closed { return (busy, next) }
    }
    // A fill of one direction may queue an answer in the other, so look at both afterwards.
    for lane in [connection.up, connection.down] {
      if let first = lane.line.first, lane.writable || first.release > now {
        if first.release <= now { busy = true } else { next = min(next, first.release) }
      }
      if let free = lane.wireFreeAt { next = min(next, free) }
    }
    if connection.up.finished, connection.down.finished { drop(connection, resetting: false) }
    return (busy, next)
  }

  /// Reads from the source until it is empty or there is enough in flight; true if more waits.
  private func fill(_ lane: Lane, of connection: Connection, now: Nanoseconds) -> Bool {
    let shared = lane.direction == .up ? wires.up : wires.down
    for _ in 0..<(shared.bytesPerSecond == nil ? Self.roundsPerTurn : 1) {
      guard lane.readable, !lane.closedForReading, !lane.stalled else { return false }
      guard lane.line.bytes < bufferLimit else { return false }
      lane.wireFreeAt = [shared.blockedUntil(now), lane.wire.blockedUntil(now)]
        .compactMap { $0 }.max()
      if lane.wireFreeAt != nil {
        if firstDenied == nil, shared.blockedUntil(now) != nil { firstDenied = connection.id }
        return false
      }
      let quantum = min(1 << 20, shared.quantum, lane.wire.quantum)
      switch readSome(lane, of: connection, quantum: quantum) {
      case .moved: continue
      case .wouldBlock:
        lane.readable = false
        return false
      case .ended:
        sourceEnded(lane, of: connection)
        return false
      case .failed:
        drop(connection, resetting: true)
        return false
      }
    }
    return true
  }

  private func readSome(
    _ lane: Lane, of connection: Connection, quantum: Int
  ) -> Lane.Transfer {
    var unseen = min(lane.scanner.unseenLimit, quantum)
    if let edit = lane.edit { unseen = min(unseen, edit.at - lane.scanner.bodyOffset) }
    if let transfer = lane.spliceIn(limit: unseen, capacity: min(bufferLimit, pipeCapacity)) {
      if case .moved(let count) = transfer, count > 0 {
        countBody(count, on: lane, of: connection)
        queue(.pipe(count: count), on: lane, of: connection)
        if lane.scanner.passUnseen(count) { messageEnded(on: lane, of: connection) }
      }
      return transfer
    }
    let block = Block()
    let transfer = lane.receive(into: block, limit: quantum)
    if case .moved(let count) = transfer, count > 0 {
      take(block, count: count, on: lane, of: connection)
    }
    return transfer
  }

  /// A pipe holds what is in flight; without a delay line that is little.
  private var pipeCapacity: Int { roundTrip == 0 ? 1 << 20 : 8 << 20 }

  /// Puts something on the wire: it arrives after the wire's time and half a round trip.
  func queue(_ content: Segment.Content, on lane: Lane, of connection: Connection) {
    let now = monotonicNow()
    let count = Segment(content: content, release: 0).count
    var leaves = lane.wire.send(count, at: now)
    switch lane.direction {
    case .up:
      leaves = max(leaves, wires.up.send(count, at: now))
      counters.bytesUp += count
      if !connection.sawFirstBytes {
        // The handshake would have taken one round trip before any byte could leave.
        connection.sawFirstBytes = true
        leaves += roundTrip
      }
    case .down:
      leaves = max(leaves, wires.down.send(count, at: now))
      counters.bytesDown += count
    }
    lane.line.append(content, release: leaves + roundTrip / 2 + lane.extraDelay)
  }

  /// Credits body bytes to the method of the exchange they belong to.
  func countBody(_ count: Int, on lane: Lane, of connection: Connection) {
    switch lane.direction {
    case .up:
      let method = connection.exchanges.last?.method ?? "?"
      counters.requestBodyBytes[method, default: 0] += count
    case .down:
      let method = connection.exchanges.first?.method ?? "?"
      counters.responseBodyBytes[method, default: 0] += count
    }
  }

  private func sourceEnded(_ lane: Lane, of connection: Connection) {
    lane.closedForReading = true
    // Nobody is left to wait for what a rule holds back.
    if connection.blackholed || connection.up.stalled || connection.down.stalled {
      drop(connection, resetting: false)
      return
    }
    queue(.end, on: lane, of: connection)
  }

  /// Sends what is due; true if more is due but it was another's turn.
  private func drain(_ lane: Lane, of connection: Connection, now: Nanoseconds) -> Bool {
    let now = max(now, monotonicNow())
    for _ in 0..<Self.roundsPerTurn * 4 {
      guard let first = lane.line.first, first.release <= now else { return false }
      switch first.content {
      case .end:
        guard lane.writable else { return false }
        shutdown(lane.sink, Int32(SHUT_WR))
        lane.finished = true
        lane.line.deliver(0)
      case .close, .reset:
        var resetting = false
        if case .reset = first.content { resetting = true }
        drop(connection, resetting: resetting)
        return false
      case .memory, .pipe:
        guard lane.writable else { return false }
        switch lane.send(first.content) {
        case .moved(let count): lane.line.deliver(count)
        case .wouldBlock:
          lane.writable = false
          return false
        case .ended, .failed:
          drop(connection, resetting: true)
          return false
        }
      }
    }
    return true
  }
}
