/// The bytes of a segment object: header, payload, table, footer.
public enum SegmentCodec {
  /// Length of the header, in bytes: where the payload starts.
  public static let headerLength = 64
  /// Length of the footer, in bytes: the object's end.
  public static let footerLength = 40

  static let header = Frame(magic: "RGFSSEGH", what: "segment header", limit: headerLength)
  static let footer = Frame(magic: "RGFSSEGF", what: "segment footer", limit: footerLength)

  /// The header of a segment of `commit`.
  public static func encodeHeader(group: GroupID, epoch: Epoch, commit: CommitNumber) -> [UInt8] {
    ObjectHeader(group: group, epoch: epoch, commit: commit).encode(header, length: headerLength)
  }

  /// What a segment's header says; `bytes` are its first `headerLength` bytes.
  public static func decodeHeader(_ bytes: [UInt8]) throws(FormatError)
    -> (group: GroupID, epoch: Epoch, commit: CommitNumber)
  {
    let found = try ObjectHeader(decoding: bytes, header, length: headerLength)
    return (found.group, found.epoch, found.commit)
  }

  /// The footer of a segment whose table starts at `tableOffset` in the object, right behind the
  /// payload, and is followed by the footer. Offsets and lengths are in bytes, within `Limits`.
  public static func encodeFooter(tableOffset: UInt32, tableLength: UInt32, tableChecksum: UInt32)
    -> [UInt8]
  {
    var writer = footer.begin(capacity: footerLength)
    writer.u32(tableOffset)
    writer.u32(tableLength)
    writer.u32(tableChecksum)
    writer.u32(tableOffset + tableLength + UInt32(footerLength))
    writer.pad(to: footerLength)
    return footer.sealFixed(writer)
  }

  /// What a footer says: where the table is, its CRC-32C, and the length of the whole object. The
  /// caller compares `length` with the object's own.
  public static func decodeFooter(_ bytes: [UInt8]) throws(FormatError)
    -> (tableOffset: UInt32, tableLength: UInt32, tableChecksum: UInt32, length: UInt32)
  {
    var reader = try footer.open(bytes[...])
    let offset = try reader.u32()
    let tableLength = try reader.u32()
    let checksum = try reader.u32()
    let length = try reader.u32()
    try reader.reserved(4)
    try reader.finish()
    try validatePlaces(
      tableOffset: offset, tableLength: tableLength, length: length, what: footer.what)
    return (offset, tableLength, checksum, length)
  }

  /// The table lies between payload and footer and leaves no gap.
  static func validatePlaces(tableOffset: UInt32, tableLength: UInt32, length: UInt32, what: String)
    throws(FormatError)
  {
    guard tableOffset >= headerLength, tableOffset <= headerLength + Limits.segmentPayload,
      tableLength >= 1, tableLength <= Limits.tableLength,
      UInt64(length) == UInt64(tableOffset) + UInt64(tableLength) + UInt64(footerLength)
    else { throw FormatError(.invalid("segment table's place"), what: what) }
  }
}

/// What the headers of segment and checkpoint objects have in common.
struct ObjectHeader: Equatable {
  var group: GroupID
  var epoch: Epoch
  var commit: CommitNumber

  init(group: GroupID, epoch: Epoch, commit: CommitNumber) {
    self.group = group
    self.epoch = epoch
    self.commit = commit
  }

  func encode(_ frame: Frame, length: Int) -> [UInt8] {
    var writer = frame.begin(capacity: length)
    writer.random128(group)
    writer.u64(epoch)
    writer.u64(commit)
    writer.pad(to: length)
    return frame.sealFixed(writer)
  }

  init(decoding bytes: [UInt8], _ frame: Frame, length: Int) throws(FormatError) {
    var reader = try frame.open(bytes[...])
    group = try reader.random128()
    epoch = try reader.u64()
    commit = try reader.u64()
    try reader.reserved(length - Frame.headerLength - 32)
    try reader.finish()
    try reader.require(epoch >= 1, "epoch 0")
  }
}
