/// The bytes of a `GroupRecord`.
public enum GroupRecordCodec {
  static let frame = Frame(
    magic: "RGFSGRUP", what: "group record", limit: Limits.groupRecordLength)

  /// The record as bytes.
  public static func encode(_ record: GroupRecord) throws(FormatError) -> [UInt8] {
    var writer = frame.begin(capacity: 320)
    writer.random128(record.group)
    writer.u64(record.serial)
    writer.u8(record.kind.rawValue)
    writer.reserved(1)
    writer.u16(UInt16(record.name.bytes.count))
    writer.raw(record.name.bytes)
    return try frame.seal(writer)
  }

  /// The record in `bytes`.
  public static func decode(_ bytes: [UInt8]) throws(FormatError) -> GroupRecord {
    var reader = try frame.open(bytes[...])
    let group = try reader.random128()
    let serial = try reader.u64()
    guard let kind = InodeKind(rawValue: try reader.u8()) else {
      throw reader.invalid("unknown kind of inode")
    }
    try reader.reserved(1)
    let length = Int(try reader.u16())
    guard let name = FileName(try reader.raw(length)) else { throw reader.invalid("name") }
    try reader.finish()
    return GroupRecord(group: group, name: name, kind: kind, serial: serial)
  }
}
