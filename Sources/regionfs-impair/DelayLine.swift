import Glibc

/// Memory that received bytes lie in until they are sent; shared by the segments cut from it.
@safe final class Block {
  static let capacity = 64 * 1024
  let base: UnsafeMutableRawPointer
  let capacity: Int

  init(capacity: Int = Block.capacity) {
    self.capacity = capacity
    // SAFETY: freed in `deinit` only; segments keep the block alive while they point into it.
    unsafe base = UnsafeMutableRawPointer.allocate(byteCount: max(capacity, 1), alignment: 16)
  }

  convenience init(_ bytes: [UInt8]) {
    self.init(capacity: bytes.count)
    // SAFETY: `base` has room for exactly these bytes.
    unsafe bytes.withUnsafeBytes { source in
      if let start = source.baseAddress {
        unsafe base.copyMemory(from: start, byteCount: source.count)
      }
    }
  }

  deinit { unsafe base.deallocate() }

  /// Inverts one bit.
  func flipBit(at offset: Int) {
    precondition(offset >= 0 && offset < capacity)
    // SAFETY: in bounds by the line above; the byte was received, hence initialised.
    unsafe base.storeBytes(
      of: base.load(fromByteOffset: offset, as: UInt8.self) ^ 0x10, toByteOffset: offset,
      as: UInt8.self)
  }
}

/// Something on its way through the proxy.
struct Segment {
  enum Content {
    case memory(Block, offset: Int, count: Int)
    /// Bytes waiting in the lane's pipe.
    case pipe(count: Int)
    /// The orderly end of this direction.
    case end
    /// The orderly end of the whole connection.
    case close
    /// The reset of the whole connection.
    case reset
  }

  var content: Content
  /// When it may be delivered.
  let release: Nanoseconds

  var count: Int {
    switch content {
    case .memory(_, _, let count), .pipe(let count): return count
    case .end, .close, .reset: return 0
    }
  }
}

/// The bytes in flight in one direction, in order. Nothing overtakes: a release time is never
/// earlier than that of what entered before.
struct DelayLine {
  private var segments: [Segment] = []
  private var head = 0
  private var lastRelease: Nanoseconds = 0
  /// Bytes in flight.
  private(set) var bytes = 0

  var first: Segment? { head < segments.count ? segments[head] : nil }

  mutating func append(_ content: Segment.Content, release: Nanoseconds) {
    lastRelease = max(lastRelease, release)
    if case .pipe(let count) = content, head < segments.count,
      case .pipe(let before) = segments[segments.count - 1].content,
      segments[segments.count - 1].release == lastRelease
    {
      segments[segments.count - 1].content = .pipe(count: before + count)
      bytes += count
      return
    }
    let segment = Segment(content: content, release: lastRelease)
    bytes += segment.count
    segments.append(segment)
  }

  /// Removes `count` delivered bytes from the first segment, and the segment once it is empty.
  mutating func deliver(_ count: Int) {
    bytes -= count
    let left = segments[head].count - count
    guard left == 0 else {
      switch segments[head].content {
      case .memory(let block, let offset, _):
        segments[head].content = .memory(block, offset: offset + count, count: left)
      default: segments[head].content = .pipe(count: left)
      }
      return
    }
    segments[head].content = .end
    head += 1
    if head == segments.count {
      segments.removeAll(keepingCapacity: true)
      head = 0
    } else if head >= 64, head * 2 > segments.count {
      segments.removeFirst(head)
      head = 0
    }
  }
}
