/// The bytes of a `StartHint`.
public enum StartHintCodec {
  static let frame = Frame(magic: "RGFSHINT", what: "start hint", limit: Limits.startHintLength)
  private static let entryLength = 64
  private static let payloadEnd = UInt64(SegmentCodec.headerLength + Limits.segmentPayload)

  /// The hint as bytes.
  public static func encode(_ hint: StartHint) throws(FormatError) -> [UInt8] {
    var writer = frame.begin(capacity: Limits.startHintLength)
    writer.u32(UInt32(hint.entries.count))
    for entry in hint.entries {
      writer.random128(entry.place.group)
      writer.u64(entry.place.file)
      writer.u32(UInt32(entry.place.chunk))
      writer.u32(UInt32(entry.range.count))
      writer.object(entry.segment)
      writer.u64(entry.range.lowerBound)
    }
    return try frame.seal(writer)
  }

  /// The hint in `bytes`.
  public static func decode(_ bytes: [UInt8]) throws(FormatError) -> StartHint {
    var reader = try frame.open(bytes[...])
    let count = try reader.count(
      try reader.u32(), limit: Limits.startHintEntries, minimum: entryLength, of: "entries")
    var entries: [StartHint.Entry] = []
    for _ in 0..<count { entries.append(try entry(&reader)) }
    try reader.finish()
    let hint = StartHint(entries)
    try reader.require(hint.entries == entries, "an entry comes twice")
    return hint
  }

  private static func entry(_ reader: inout ByteReader) throws(FormatError) -> StartHint.Entry {
    let group = try reader.random128()
    let file = try reader.u64()
    try reader.require((1...Limits.fileID).contains(file), "inode number out of range")
    let chunk = ChunkIndex(try reader.u32())
    let length = try reader.u32()
    try reader.require(1...Limits.startHintRange ~= Int(length), "length of a range")
    let segment = try reader.object()
    try reader.require(segment.epoch >= 1, "object of epoch 0")
    let offset = try reader.u64()
    try reader.require(offset <= payloadEnd - UInt64(length), "offset of a range")
    return StartHint.Entry(
      place: StartHint.Place(group: group, file: file, chunk: chunk), segment: segment,
      range: offset..<offset + UInt64(length))
  }
}
