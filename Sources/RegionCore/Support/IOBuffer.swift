import Glibc

/// A page-aligned block of memory that I/O fills: fixed capacity, a count of valid bytes.
///
/// One party owns it at a time (the caller, then the transfer it is lent to, then the caller
/// again), which is why handing it across tasks is sound.
@safe public final class IOBuffer: @unchecked Sendable {
  /// Start of the memory, aligned to 4096 bytes.
  public let base: UnsafeMutableRawPointer
  /// Bytes that fit.
  public let capacity: Int
  /// Bytes that are valid, 0 ... capacity.
  public var count: Int {
    didSet { precondition(count >= 0 && count <= capacity, "IOBuffer count out of bounds") }
  }

  /// Allocates `capacity` bytes, not zeroed, none valid.
  public init(capacity: Int) {
    self.capacity = capacity
    self.count = 0
    // SAFETY: freed in `deinit`, nowhere else; never handed out beyond the object's life.
    let alignment = capacity >= Self.hugePage ? Self.hugePage : 4096
    unsafe base = UnsafeMutableRawPointer.allocate(
      byteCount: max(capacity, 1), alignment: alignment)
    if capacity >= Self.hugePage {
      // Advice only: the first touch of a large buffer takes one fault instead of 512.
      unsafe madvise(base, capacity & ~(Self.hugePage - 1), 14 /* MADV_HUGEPAGE */)
    }
  }

  /// Size of a transparent huge page, in bytes.
  private static let hugePage = 2 << 20

  /// A buffer holding a copy of `bytes`, full.
  public convenience init(_ bytes: [UInt8]) {
    self.init(capacity: bytes.count)
    // SAFETY: both sides are `bytes.count` long and distinct.
    unsafe bytes.withUnsafeBytes { source in
      if let start = source.baseAddress {
        unsafe base.copyMemory(from: start, byteCount: source.count)
      }
    }
    count = bytes.count
  }

  deinit { unsafe base.deallocate() }

  /// The valid bytes; do not let the pointer outlive the buffer.
  public var bytes: UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(start: base, count: count)
  }

  /// All of the memory, valid or not; do not let the pointer outlive the buffer.
  public var memory: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(start: base, count: capacity)
  }

  /// A copy of the valid bytes in `range`.
  public func array(_ range: Range<Int>) -> [UInt8] {
    precondition(range.lowerBound >= 0 && range.upperBound <= count, "IOBuffer range")
    return unsafe [UInt8](UnsafeRawBufferPointer(rebasing: bytes[range]))
  }

  /// A copy of all valid bytes.
  public var array: [UInt8] { array(0..<count) }

  /// Appends a copy of `source`; the caller made sure that it fits.
  public func append(_ source: UnsafeRawBufferPointer) {
    precondition(source.count <= capacity - count, "IOBuffer overflow")
    guard let start = source.baseAddress else { return }
    // SAFETY: the precondition bounds the copy; `source` is not inside this buffer's free part.
    unsafe (base + count).copyMemory(from: start, byteCount: source.count)
    count += source.count
  }
}
