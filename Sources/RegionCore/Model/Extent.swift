/// How a stored unit is compressed. Only `none` is written in format version 1.
public enum Codec: UInt8, Sendable { case none = 0 }
/// How a stored unit is encrypted. Only `none` is written in format version 1.
public enum Encryption: UInt8, Sendable { case none = 0 }

/// A stored unit: some pages of a file as bytes within a segment, always fetched whole.
///
/// Units hold consecutive pages of one chunk and never cross a chunk's end.
public struct StoredUnit: Hashable, Sendable {
  /// The segment that holds it.
  public var segment: ObjectID
  /// Where it starts in the segment object, in bytes.
  public var offset: UInt64
  /// Its stored length, in bytes.
  public var storedLength: UInt32
  /// Pages it holds once decoded: 1 ... 2,048.
  public var pageCount: UInt32
  /// How it is compressed.
  public var codec: Codec
  /// How it is encrypted.
  public var encryption: Encryption
  /// CRC-32C of the stored bytes.
  public var checksum: UInt32

  /// Describes a unit.
  public init(
    segment: ObjectID, offset: UInt64, storedLength: UInt32, pageCount: UInt32,
    codec: Codec = .none, encryption: Encryption = .none, checksum: UInt32
  ) {
    self.segment = segment
    self.offset = offset
    self.storedLength = storedLength
    self.pageCount = pageCount
    self.codec = codec
    self.encryption = encryption
    self.checksum = checksum
  }

  /// Where the stored bytes lie in the segment object.
  public var range: Range<UInt64> { offset..<offset + UInt64(storedLength) }
}

/// Where the content of some consecutive pages comes from.
public enum ExtentSource: Hashable, Sendable {
  /// They are zero, whatever lay beneath.
  case zero
  /// They are pages of a unit, starting at the unit's page `firstPageInUnit`.
  case unit(StoredUnit, firstPageInUnit: UInt32)
}

/// Consecutive pages of one file and where their content comes from.
public struct Extent: Hashable, Sendable {
  /// The first page.
  public var firstPage: PageIndex
  /// How many pages, at least 1. Data extents stay within one chunk; zero extents may span many.
  public var pageCount: UInt64
  /// Where the content comes from.
  public var source: ExtentSource

  /// Describes an extent.
  public init(firstPage: PageIndex, pageCount: UInt64, source: ExtentSource) {
    self.firstPage = firstPage
    self.pageCount = pageCount
    self.source = source
  }

  /// The pages it covers.
  public var pages: Range<PageIndex> { firstPage..<firstPage + pageCount }

  /// The part of the extent within `range`; nil if they do not meet.
  public func clamped(to range: Range<PageIndex>) -> Extent? {
    let kept = pages.clamped(to: range)
    guard !kept.isEmpty else { return nil }
    switch source {
    case .zero:
      return Extent(firstPage: kept.lowerBound, pageCount: UInt64(kept.count), source: .zero)
    case .unit(let unit, let first):
      return Extent(
        firstPage: kept.lowerBound, pageCount: UInt64(kept.count),
        source: .unit(unit, firstPageInUnit: first + UInt32(kept.lowerBound - firstPage)))
    }
  }
}
