import CLinux
import Glibc

/// What is to be done to the body that passes, once.
struct BodyEdit {
  enum Kind {
    case flip
    case reset
    /// Close the connection in order: the body is short.
    case close
    /// Drop the rest of the body; the head announced the shorter length.
    case dropRest
    case stall(Nanoseconds?)
  }
  let kind: Kind
  /// Offset in the body.
  let at: Int
  /// The rule to credit.
  let rule: Int
}

/// One direction of a connection: a source socket, the bytes in flight, a sink socket.
final class Lane {
  enum Direction { case up, down }

  let direction: Direction
  let source: Int32
  let sink: Int32
  var line = DelayLine()
  var wire: Link
  var scanner = MessageScanner()
  var edit: BodyEdit?
  /// The current body is dropped instead of forwarded.
  var discards = false
  /// Added to the release of what comes in from now on.
  var extraDelay: Nanoseconds = 0

  /// Edge-triggered readiness: true until a call says EAGAIN.
  var readable = false
  var writable = false
  /// Nothing more will be read: end of stream, or a rule cut it.
  var closedForReading = false
  /// A rule stopped this direction while the sockets stay open.
  var stalled = false
  /// The end was delivered to the sink.
  var finished = false
  /// The wire takes more at this time.
  var wireFreeAt: Nanoseconds?

  private var pipe: SplicePipe?
  private var bytesInPipe = 0
  private var pipeUnavailable = false

  init(_ direction: Direction, from source: Int32, to sink: Int32, bandwidth: UInt64?) {
    self.direction = direction
    self.source = source
    self.sink = sink
    wire = Link(bytesPerSecond: bandwidth)
  }

  deinit { pipe?.closeBoth() }

  enum Transfer {
    case moved(Int)
    case ended
    case wouldBlock
    case failed
  }

  /// Below this a copy costs less than two splices.
  static let spliceThreshold = 32 * 1024

  /// Moves body bytes into the pipe; nil where only a copy will do.
  func spliceIn(limit: Int, capacity: Int) -> Transfer? {
    guard limit >= Self.spliceThreshold, !discards, !pipeUnavailable else { return nil }
    if pipe == nil {
      do { pipe = try SplicePipe(capacity: capacity) } catch { pipeUnavailable = true }
    }
    guard let pipe else { return nil }
    let moved = linux_splice(source, pipe.writeEnd, UInt(limit))
    if moved > 0 {
      bytesInPipe += moved
      return .moved(moved)
    }
    if moved == 0 { return .ended }
    // EAGAIN: either the socket is empty or the pipe is full; a copy tells which.
    if errno == EAGAIN { return bytesInPipe > 0 ? nil : .wouldBlock }
    return errno == EINTR ? .moved(0) : .failed
  }

  /// recv(2) into a block.
  func receive(into block: Block, limit: Int) -> Transfer {
    // SAFETY: at most `block.capacity` bytes are written to the block's memory.
    let count = unsafe recv(source, block.base, min(limit, block.capacity), 0)
    if count > 0 { return .moved(count) }
    if count == 0 { return .ended }
    if errno == EAGAIN { return .wouldBlock }
    return errno == EINTR ? .moved(0) : .failed
  }

  /// Sends the first segment's bytes to the sink.
  func send(_ content: Segment.Content) -> Transfer {
    var sent = 0
    switch content {
    case .memory(let block, let offset, let count):
      // SAFETY: the segment lies within the block.
      sent = unsafe Glibc.send(sink, block.base + offset, count, Int32(MSG_NOSIGNAL))
    case .pipe(let count):
      guard let pipe else { return .failed }
      sent = linux_splice(pipe.readEnd, sink, UInt(count))
      if sent > 0 { bytesInPipe -= sent }
    case .end, .close, .reset: return .moved(0)
    }
    if sent > 0 { return .moved(sent) }
    if sent < 0, errno == EAGAIN { return .wouldBlock }
    return sent < 0 && errno == EINTR ? .moved(0) : .failed
  }
}
