/// Sizes that are fixed for good or for one group, and the arithmetic on them.
public struct Geometry: Hashable, Sendable {
  /// The unit in which dirt is tracked, in bytes.
  public static let pageSize = 4096
  /// log2 of `pageSize`.
  public static let pageShift: UInt64 = 12

  /// log2 of the chunk size: 16 (64 KiB) ... 23 (8 MiB).
  public let chunkShift: UInt64

  /// The default: 256 KiB chunks.
  public static let standard = Geometry(chunkShift18: ())
  private init(chunkShift18: Void) { chunkShift = 18 }

  /// A geometry with chunks of `chunkSize` bytes; nil unless a power of two from 64 KiB to 8 MiB.
  public init?(chunkSize: UInt64) {
    guard chunkSize >= 1 << 16, chunkSize <= 1 << 23, chunkSize.nonzeroBitCount == 1 else {
      return nil
    }
    chunkShift = UInt64(chunkSize.trailingZeroBitCount)
  }

  /// Bytes in a chunk.
  public var chunkSize: UInt64 { 1 << chunkShift }
  /// Pages in a chunk: 16 ... 2,048.
  public var pagesPerChunk: UInt64 { 1 << (chunkShift - Self.pageShift) }
  /// The chunk that holds byte `offset`.
  public func chunk(ofByte offset: UInt64) -> ChunkIndex { offset >> chunkShift }
  /// The chunk that holds `page`.
  public func chunk(ofPage page: PageIndex) -> ChunkIndex { page >> (chunkShift - Self.pageShift) }
  /// The first page of `chunk`.
  public func firstPage(of chunk: ChunkIndex) -> PageIndex {
    chunk << (chunkShift - Self.pageShift)
  }
  /// The pages of `chunk`.
  public func pages(of chunk: ChunkIndex) -> Range<PageIndex> {
    firstPage(of: chunk)..<firstPage(of: chunk + 1)
  }
  /// The bytes of `chunk`.
  public func bytes(of chunk: ChunkIndex) -> Range<UInt64> {
    chunk << chunkShift..<(chunk + 1) << chunkShift
  }
  /// The bytes of `chunks` below `end`, neighbours together.
  func bytes(of chunks: RangeSet<ChunkIndex>, end: UInt64) -> [Range<UInt64>] {
    chunks.ranges.map {
      ($0.lowerBound << chunkShift..<$0.upperBound << chunkShift).clamped(to: 0..<end)
    }.filter { !$0.isEmpty }
  }
  /// The chunks that `bytes` touches; empty for an empty range.
  public func chunks(touching bytes: Range<UInt64>) -> Range<ChunkIndex> {
    guard let last = bytes.isEmpty ? nil : bytes.upperBound - 1 else {
      let at = chunk(ofByte: bytes.lowerBound)
      return at..<at
    }
    return chunk(ofByte: bytes.lowerBound)..<chunk(ofByte: last) + 1
  }
  /// The chunks that `pages` touches; empty for an empty range.
  public func chunks(touchingPages pages: Range<PageIndex>) -> Range<ChunkIndex> {
    guard !pages.isEmpty else {
      return chunk(ofPage: pages.lowerBound)..<chunk(ofPage: pages.lowerBound)
    }
    return chunk(ofPage: pages.lowerBound)..<chunk(ofPage: pages.upperBound - 1) + 1
  }
  /// Pages needed for `size` bytes.
  public static func pageCount(ofBytes size: UInt64) -> UInt64 {
    (size + UInt64(pageSize) - 1) >> pageShift
  }
  /// The pages that `bytes` touches.
  public static func pages(touching bytes: Range<UInt64>) -> Range<PageIndex> {
    bytes.lowerBound
      >> pageShift..<max(bytes.lowerBound >> pageShift, pageCount(ofBytes: bytes.upperBound))
  }
}
