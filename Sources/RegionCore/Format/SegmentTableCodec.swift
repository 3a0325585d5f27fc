/// The table of a segment: 36 bytes an extent, 4 more a page.
extension SegmentCodec {
  static let table = Frame(magic: "RGFSTABL", what: "segment table", limit: Limits.tableLength)
  private static let data: UInt8 = 1
  private static let zero: UInt8 = 2

  /// The table as bytes; throws if a value is out of its range. The `segment` of units is not
  /// written: they are all in the table's own segment.
  public static func encodeTable(_ table: SegmentTable, geometry: Geometry)
    throws(FormatError) -> [UInt8]
  {
    try validate(
      table, payloadEnd: UInt64(headerLength + Limits.segmentPayload), geometry: geometry)
    var writer = Self.table.begin(capacity: 128 + table.changes.count * 64)
    writer.random128(table.group)
    writer.u64(table.epoch)
    writer.u64(table.commit)
    writer.random128(table.parent)
    writer.u16(table.index)
    writer.u16(table.count)
    writer.u32(UInt32(table.changes.count))
    writer.reserved(8)
    for change in table.changes { try encode(change, into: &writer) }
    return try Self.table.seal(writer)
  }

  /// The table in `bytes`, of the segment `segment`, whose payload ends (in bytes from the object's
  /// start) at `payloadEnd`, which is where the table begins.
  public static func decodeTable(
    _ bytes: [UInt8], segment: ObjectID, payloadEnd: UInt64, geometry: Geometry
  ) throws(FormatError) -> SegmentTable {
    var reader = try table.open(bytes[...])
    var result = SegmentTable(
      group: try reader.random128(), epoch: try reader.u64(), commit: try reader.u64(),
      parent: try reader.random128(), index: try reader.u16(), count: try reader.u16())
    let changes = try reader.u32()
    try reader.reserved(8)
    let count = try reader.count(
      changes, limit: Limits.tableChanges, minimum: NameChangeCodec.minimumLength, of: "changes")
    result.changes.reserveCapacity(count)
    for _ in 0..<count {
      result.changes.append(try decodeChange(from: &reader, segment: segment))
    }
    try reader.finish()
    try validate(result, payloadEnd: payloadEnd, geometry: geometry)
    return result
  }

  private static func encode(_ change: SegmentTable.Change, into writer: inout ByteWriter)
    throws(FormatError)
  {
    switch change {
    case .data(let file, let extent, let checksums):
      guard case .unit(let unit, let first) = extent.source else {
        throw FormatError(.invalid("a data change without a unit"), what: table.what)
      }
      writer.u8(data)
      writer.u8(unit.codec.rawValue)
      writer.u8(unit.encryption.rawValue)
      writer.reserved(1)
      writer.u64(file)
      writer.u32(UInt32(extent.firstPage))
      writer.u16(UInt16(extent.pageCount))
      writer.u16(UInt16(first))
      writer.u16(UInt16(unit.pageCount))
      writer.reserved(2)
      writer.u32(UInt32(unit.offset))
      writer.u32(unit.storedLength)
      writer.u32(unit.checksum)
      for checksum in checksums { writer.u32(checksum) }
    case .zero(let file, let pages):
      writer.u8(zero)
      writer.reserved(3)
      writer.u64(file)
      writer.u32(UInt32(pages.lowerBound))
      writer.u32(UInt32(pages.count))
    case .name(let change):
      try NameChangeCodec.encode(change, into: &writer, what: table.what)
    }
  }

  private static func decodeChange(from reader: inout ByteReader, segment: ObjectID)
    throws(FormatError) -> SegmentTable.Change
  {
    switch try reader.u8() {
    case data: return try decodeData(from: &reader, segment: segment)
    case zero:
      try reader.reserved(3)
      let file = try reader.u64()
      let first = UInt64(try reader.u32())
      return .zero(file, first..<first + UInt64(try reader.u32()))
    case let kind: return .name(try NameChangeCodec.decode(kind: kind, from: &reader))
    }
  }

  private static func decodeData(from reader: inout ByteReader, segment: ObjectID)
    throws(FormatError) -> SegmentTable.Change
  {
    let (codec, encryption) = try decodeTransforms(from: &reader)
    try reader.reserved(1)
    let file = try reader.u64()
    let firstPage = UInt64(try reader.u32())
    let pageCount = UInt64(try reader.u16())
    let firstPageInUnit = UInt32(try reader.u16())
    let unitPages = UInt32(try reader.u16())
    try reader.reserved(2)
    let unit = StoredUnit(
      segment: segment, offset: UInt64(try reader.u32()), storedLength: try reader.u32(),
      pageCount: unitPages, codec: codec, encryption: encryption, checksum: try reader.u32())
    let count = try reader.count(
      pageCount, limit: Limits.extentsPerChunk, minimum: 4, of: "pages in an extent")
    var checksums: [UInt32] = []
    checksums.reserveCapacity(count)
    for _ in 0..<count { checksums.append(try reader.u32()) }
    let extent = Extent(
      firstPage: firstPage, pageCount: pageCount,
      source: .unit(unit, firstPageInUnit: firstPageInUnit))
    return .data(file, extent, pageChecksums: checksums)
  }

  /// Two bytes: how a unit is compressed and encrypted.
  static func decodeTransforms(from reader: inout ByteReader) throws(FormatError)
    -> (Codec, Encryption)
  {
    guard let codec = Codec(rawValue: try reader.u8()) else {
      throw reader.invalid("unknown compression")
    }
    guard let encryption = Encryption(rawValue: try reader.u8()) else {
      throw reader.invalid("unknown encryption")
    }
    return (codec, encryption)
  }
}
