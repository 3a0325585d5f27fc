/// The bytes of a `Root`.
public enum RootCodec {
  static let frame = Frame(magic: "RGFSROOT", what: "root", limit: Limits.rootLength)

  /// The root as bytes; throws if a value is out of its range or the whole is longer than
  /// `Limits.rootLength`.
  public static func encode(_ root: Root) throws(FormatError) -> [UInt8] {
    try validate(root)
    var writer = frame.begin(capacity: 1024)
    writer.random128(root.group)
    writer.u8(UInt8(root.geometry.chunkShift))
    switch root.claim {
    case .free:
      writer.u8(0)
      writer.random128(.zero)
    case .held(let holder):
      writer.u8(1)
      writer.random128(holder)
    }
    writer.u64(root.epoch)
    writer.commit(root.commit)
    writer.time(root.committedAt)
    writer.random128(root.log)
    writer.u64(root.cut)
    writer.u64(root.nextFileID)
    encodeCounts(root, into: &writer)
    writer.raw(root.holder.utf8)
    if let checkpoint = root.checkpoint { encode(checkpoint, into: &writer) }
    for commit in root.history { writer.commit(commit) }
    for segment in root.tail { encode(segment, into: &writer) }
    for deletion in root.pendingDeletion {
      writer.u8(deletion.isSegment ? 1 : 0)
      writer.object(deletion.object)
      writer.time(deletion.droppedAt)
    }
    for snapshot in root.snapshots { writer.commit(snapshot) }
    for pin in root.clonePins { writer.random128(pin) }
    return try frame.seal(writer)
  }

  /// The root in `bytes`.
  public static func decode(_ bytes: [UInt8]) throws(FormatError) -> Root {
    var reader = try frame.open(bytes[...])
    let group = try reader.random128()
    let geometry = try Geometry(decoding: &reader)
    let claim = try decodeClaim(from: &reader)
    let epoch = try reader.u64()
    let commit = try reader.commit()
    var root = Root(
      group: group, geometry: geometry, claim: claim, holder: "", nonce: commit.nonce, log: .zero,
      time: try reader.time())
    root.epoch = epoch
    root.commit = commit
    root.log = try reader.random128()
    root.cut = try reader.u64()
    root.nextFileID = try reader.u64()
    try decodeLists(into: &root, from: &reader)
    try reader.finish()
    try validate(root)
    return root
  }

  private static func encodeCounts(_ root: Root, into writer: inout ByteWriter) {
    writer.u16(UInt16(root.holder.utf8.count))
    writer.u16(root.checkpoint == nil ? 0 : 1)
    writer.u16(UInt16(root.history.count))
    writer.u16(UInt16(root.tail.count))
    writer.u16(UInt16(root.pendingDeletion.count))
    writer.u16(UInt16(root.snapshots.count))
    writer.u16(UInt16(root.clonePins.count))
    writer.reserved(2)  // Groups that this one was cloned from.
    writer.reserved(8)
  }

  private static func decodeLists(into root: inout Root, from reader: inout ByteReader)
    throws(FormatError)
  {
    var counts: [Int] = []
    for _ in 0..<7 { counts.append(Int(try reader.u16())) }
    try reader.reserved(10)
    try reader.require(counts[0] <= 255, "holder's length")
    guard let holder = String(validating: try reader.raw(counts[0]), as: UTF8.self) else {
      throw reader.invalid("holder is not UTF-8")
    }
    root.holder = holder
    try reader.require(counts[1] <= 1, "checkpoint flag")
    if counts[1] == 1 { root.checkpoint = try decodeCheckpoint(from: &reader) }
    for _
      in 0..<(try reader.count(counts[2], limit: Limits.rootHistory, minimum: 24, of: "commits"))
    {
      root.history.append(try reader.commit())
    }
    for _
      in 0..<(try reader.count(counts[3], limit: Limits.tailSegments, minimum: 48, of: "segments"))
    {
      root.tail.append(try decodeSegment(from: &reader))
    }
    let deletions = try reader.count(
      counts[4], limit: Limits.pendingDeletions, minimum: 33, of: "pending deletions")
    for _ in 0..<deletions {
      let kind = try reader.u8()
      try reader.require(kind <= 1, "kind of a pending deletion")
      root.pendingDeletion.append(
        Root.PendingDeletion(
          isSegment: kind == 1, object: try reader.object(), droppedAt: try reader.time()))
    }
    for _ in 0..<(try reader.count(counts[5], limit: Limits.rootPins, minimum: 24, of: "snapshots"))
    {
      root.snapshots.append(try reader.commit())
    }
    for _ in 0..<(try reader.count(counts[6], limit: Limits.rootPins, minimum: 16, of: "clones")) {
      root.clonePins.append(try reader.random128())
    }
  }

  private static func decodeClaim(from reader: inout ByteReader) throws(FormatError) -> Root.Claim {
    let kind = try reader.u8()
    let holder = try reader.random128()
    switch kind {
    case 0:
      try reader.require(holder == .zero, "a free claim has a holder")
      return .free
    case 1: return .held(holder)
    default: throw reader.invalid("unknown kind of claim")
    }
  }

  private static func encode(_ checkpoint: Root.CheckpointReference, into writer: inout ByteWriter)
  {
    writer.object(checkpoint.object)
    writer.u64(checkpoint.indexOffset)
    writer.u32(checkpoint.indexLength)
    writer.u32(checkpoint.indexChecksum)
    writer.commit(checkpoint.commit)
  }

  private static func decodeCheckpoint(from reader: inout ByteReader)
    throws(FormatError) -> Root.CheckpointReference
  {
    Root.CheckpointReference(
      object: try reader.object(), indexOffset: try reader.u64(), indexLength: try reader.u32(),
      indexChecksum: try reader.u32(), commit: try reader.commit())
  }

  private static func encode(_ segment: Root.SegmentReference, into writer: inout ByteWriter) {
    writer.object(segment.object)
    writer.u64(segment.commit)
    writer.u32(segment.length)
    writer.u32(segment.tableOffset)
    writer.u32(segment.tableLength)
    writer.u32(segment.tableChecksum)
  }

  private static func decodeSegment(from reader: inout ByteReader)
    throws(FormatError) -> Root.SegmentReference
  {
    Root.SegmentReference(
      object: try reader.object(), commit: try reader.u64(), length: try reader.u32(),
      tableOffset: try reader.u32(), tableLength: try reader.u32(), tableChecksum: try reader.u32())
  }
}

extension Geometry {
  /// Reads one byte, log2 of the chunk size.
  init(decoding reader: inout ByteReader) throws(FormatError) {
    let shift = try reader.u8()
    guard (16...23).contains(shift), let geometry = Geometry(chunkSize: 1 << UInt64(shift)) else {
      throw reader.invalid("chunk size")
    }
    self = geometry
  }
}
