import RegionCore

/// What follows an object's bytes in its file: their length and the object's version.
///
/// The version is 128 random bits, fresh for every write, and is the ETag. Inode numbers, times and
/// sizes would not do: a replaced object of equal length may get the freed inode within one tick of
/// the clock, and two writers would both pass a compare-and-swap. An extended attribute is not
/// kept by every file system and copying program, and a file beside the object could not be replaced
/// in the same step; a trailer is renamed into place together with the bytes. It also
/// shows a file that was cut short, e.g. by a disk that lied about a sync.
struct Trailer: Equatable {
  /// Bytes of the object before the trailer.
  var length: UInt64
  /// The version.
  var version: Random128

  /// Length in the file, in bytes: magic (8), format version (2), reserved (2), CRC-32C of the rest
  /// (4), length (8), version (16).
  static let size = 40
  private static let magic = [UInt8]("RGFSOBJT".utf8)
  private static let formatVersion: UInt16 = 1

  init(length: UInt64, version: Random128) {
    self.length = length
    self.version = version
  }

  var etag: ETag { ETag(version.description) }

  var bytes: [UInt8] {
    let fields = [length, version.low, version.high].flatMap(Self.littleEndian)
    let checksum = CRC32C.checksum(fields)
    return Self.magic + Self.littleEndian(Self.formatVersion) + [0, 0]
      + Self.littleEndian(checksum) + fields
  }

  /// The trailer in the last `size` bytes of a file of `fileSize` bytes; nil if it is damaged or
  /// none.
  init?(_ bytes: [UInt8], fileSize: UInt64) {
    guard bytes.count == Self.size, bytes.starts(with: Self.magic) else { return nil }
    length = Self.integer(bytes[16..<24])
    version = Random128(high: Self.integer(bytes[32..<40]), low: Self.integer(bytes[24..<32]))
    guard bytes == self.bytes, fileSize >= UInt64(Self.size),
      length == fileSize - UInt64(Self.size)
    else { return nil }
  }

  private static func littleEndian(_ value: some FixedWidthInteger) -> [UInt8] {
    (0..<value.bitWidth / 8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  private static func integer(_ bytes: ArraySlice<UInt8>) -> UInt64 {
    bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
  }
}
