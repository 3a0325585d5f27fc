/// What every object and every fixed header of the formats begins with:
/// magic (8 bytes), version (2), reserved (2), length of the whole (4), CRC-32C (4).
///
/// The checksum stands *before* the content. Were it the last field, the CRC of the whole (which
/// references to pages and tables carry, to pin one exact content) would be the same constant for
/// every intact page, and would tell no page from another.
struct Frame {
  /// Eight ASCII characters that name the kind of object.
  let magic: StaticString
  /// The kind of object in words, for errors.
  let what: String
  /// Longest whole, in bytes.
  let limit: Int

  /// Bytes before the content.
  static let headerLength = 20
  /// The version that is written, and the newest that is read.
  static let version: UInt16 = 1
  private static let checksumOffset = 16

  /// A writer that has the header's place; give it to `seal` when the content is written.
  func begin(capacity: Int = 256) -> ByteWriter {
    var writer = ByteWriter(capacity: capacity)
    for index in 0..<8 { unsafe writer.u8(magic.utf8Start[index]) }  // SAFETY: magics have 8 bytes.
    writer.u16(Self.version)
    writer.reserved(2)
    writer.reserved(8)
    return writer
  }

  /// Fills in length and checksum.
  func seal(_ writer: consuming ByteWriter) throws(FormatError) -> [UInt8] {
    guard writer.count <= limit else {
      throw FormatError(
        .invalid("\(writer.count) bytes, more than the limit of \(limit)"), what: what)
    }
    return sealFixed(writer)
  }

  /// As `seal`, for content of a fixed length, which cannot pass the limit.
  func sealFixed(_ writer: consuming ByteWriter) -> [UInt8] {
    var writer = writer
    writer.patch(UInt32(writer.count), at: 12)
    writer.patch(Self.checksum(of: writer.bytes[...]), at: Self.checksumOffset)
    return writer.bytes
  }

  /// Checks all of the header and returns a reader of the content. The version is judged before
  /// length and checksum, which a newer version may place elsewhere.
  func open(_ bytes: ArraySlice<UInt8>) throws(FormatError) -> ByteReader {
    guard bytes.count >= 10 else { throw FormatError(.truncated, what: what) }
    var reader = ByteReader(bytes, what: what)
    let found = try reader.raw(8)
    for index in 0..<8 where unsafe found[index] != magic.utf8Start[index] {
      throw FormatError(.notOurs, what: what)
    }
    let version = try reader.u16()
    guard version <= Self.version else { throw FormatError(.newerVersion(version), what: what) }
    guard bytes.count >= Self.headerLength else { throw FormatError(.truncated, what: what) }
    try reader.require(version == Self.version, "version \(version)")
    try reader.reserved(2)
    let length = Int(try reader.u32())
    try reader.require(length >= Self.headerLength && length <= limit, "length \(length)")
    guard bytes.count >= length else { throw FormatError(.truncated, what: what) }
    try reader.require(bytes.count == length, "trailing bytes")
    guard try reader.u32() == Self.checksum(of: bytes) else {
      throw FormatError(.checksum, what: what)
    }
    return reader
  }

  private static func checksum(of bytes: ArraySlice<UInt8>) -> UInt32 {
    let start = bytes.startIndex
    return CRC32C.checksum(
      bytes[(start + headerLength)...],
      continuing: CRC32C.checksum(bytes[start..<start + checksumOffset]))
  }
}
