/// Finds where messages begin and end in one direction of a connection. Pure; sees every head byte
/// but of a body only its length, unless it is chunked.
struct MessageScanner {
  enum State: Equatable {
    case head
    case fixed(remaining: Int)
    case chunked(ChunkScanner)
    case untilClose
    /// Not HTTP: passed on unseen until the connection ends.
    case raw
  }

  /// Longest head that is taken for one.
  static let headLimit = 64 * 1024

  private(set) var state = State.head
  /// Bytes of the current body that have gone by.
  private(set) var bodyOffset = 0
  private var head: [UInt8] = []

  enum HeadProgress {
    case incomplete
    case complete(HTTPHead)
    /// These bytes, and all that follow, are not HTTP.
    case notHTTP([UInt8])
  }

  /// Takes bytes into the head; returns how many belong to it and whether it is complete.
  mutating func takeHead(_ bytes: Span<UInt8>, from start: Int) -> (used: Int, HeadProgress) {
    var used = 0
    while start + used < bytes.count {
      let byte = bytes[start + used]
      head.append(byte)
      used += 1
      if byte == 0x0A, endsHead { return (used, finishHead()) }
    }
    // A request or response starts with an upper-case word; anything else is another protocol.
    let looksRight = head.first.map { (0x41...0x5A).contains($0) } ?? true
    if !looksRight || head.count > Self.headLimit { return (used, abandon()) }
    return (used, .incomplete)
  }

  private var endsHead: Bool {
    let count = head.count
    return count >= 4 && head[count - 2] == 0x0D && head[count - 3] == 0x0A
      && head[count - 4] == 0x0D
  }

  private mutating func finishHead() -> HeadProgress {
    guard let parsed = HTTPHead(head) else { return abandon() }
    head.removeAll(keepingCapacity: true)
    return .complete(parsed)
  }

  private mutating func abandon() -> HeadProgress {
    state = .raw
    defer { head = [] }
    return .notHTTP(head)
  }

  /// Gives up on this direction: everything from here on is passed unseen.
  mutating func becomeRaw() { state = .raw }

  /// Enters the body that follows a head. Returns true if there is none, so the message is over.
  mutating func beginBody(_ framing: BodyFraming) -> Bool {
    bodyOffset = 0
    switch framing {
    case .none: state = .head
    case .fixed(let length): state = .fixed(remaining: length)
    case .chunked: state = .chunked(ChunkScanner())
    case .untilClose: state = .untilClose
    }
    return framing == .none
  }

  /// Body bytes that may pass without being looked at.
  var unseenLimit: Int {
    switch state {
    case .head, .chunked: return 0
    case .fixed(let remaining): return remaining
    case .untilClose, .raw: return Int.max
    }
  }

  /// Counts `count` body bytes, at most `unseenLimit`; true if the message ended with them.
  mutating func passUnseen(_ count: Int) -> Bool {
    bodyOffset += count
    guard case .fixed(let remaining) = state else { return false }
    if remaining == count {
      state = .head
      return true
    }
    state = .fixed(remaining: remaining - count)
    return false
  }

  /// Takes body bytes; returns how many belong to this body and whether it ended with them.
  mutating func takeBody(_ bytes: Span<UInt8>, from start: Int) -> (used: Int, ended: Bool) {
    let available = bytes.count - start
    guard case .chunked(var chunks) = state else {
      let used = min(available, unseenLimit)
      return (used, passUnseen(used))
    }
    let (used, ended) = chunks.take(bytes, from: start)
    bodyOffset += used
    state = ended ? .head : .chunked(chunks)
    return (used, ended)
  }
}

/// Follows `Transfer-Encoding: chunked` to its end (RFC 9112, section 7.1).
struct ChunkScanner: Equatable {
  private enum State: Equatable {
    case size(Int)
    case sizeExtension(Int)
    case data(Int)
    case dataEnd
    /// Trailer lines; the count of bytes in the current one.
    case trailer(Int)
  }

  private var state = State.size(0)

  /// Returns how many of the bytes belong to the body, and whether the last chunk was among them.
  mutating func take(_ bytes: Span<UInt8>, from start: Int) -> (used: Int, ended: Bool) {
    var at = start
    while at < bytes.count {
      if case .data(let left) = state {
        let step = min(left, bytes.count - at)
        at += step
        state = left == step ? .dataEnd : .data(left - step)
        continue
      }
      let byte = bytes[at]
      at += 1
      if step(byte) { return (at - start, true) }
    }
    return (at - start, false)
  }

  /// Takes one byte of framing; true after the end of the trailer.
  private mutating func step(_ byte: UInt8) -> Bool {
    switch state {
    case .size(let value):
      if let digit = Self.hexDigit(byte) {
        state = .size((value << 4) | digit)
      } else if byte == 0x0A {
        state = value == 0 ? .trailer(0) : .data(value)
      } else {
        state = .sizeExtension(value)
      }
    case .sizeExtension(let value):
      if byte == 0x0A { state = value == 0 ? .trailer(0) : .data(value) }
    case .dataEnd:
      if byte == 0x0A { state = .size(0) }
    case .trailer(let count):
      if byte == 0x0A {
        if count == 0 { return true }
        state = .trailer(0)
      } else if byte != 0x0D {
        state = .trailer(count + 1)
      }
    case .data: break
    }
    return false
  }

  private static func hexDigit(_ byte: UInt8) -> Int? {
    switch byte {
    case 0x30...0x39: return Int(byte) - 0x30
    case 0x41...0x46: return Int(byte) - 0x41 + 10
    case 0x61...0x66: return Int(byte) - 0x61 + 10
    default: return nil
    }
  }
}
