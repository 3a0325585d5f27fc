/// The bytes of a checkpoint object: header, then pages of map and names, then the index.
public enum CheckpointCodec {
  /// Length of the header, in bytes: where the first page starts.
  public static let headerLength = 64
  /// Where the last page of a checkpoint object may start, in bytes: an object on S3 has at most 5 TiB.
  static let objectLimit: UInt64 = 5 << 40
  /// Map pages of the largest region with the smallest chunks.
  static let mapPagesPerFile = UInt32((Limits.regionSize >> 16) / Limits.chunksPerMapPage)
  /// Name pages of the largest group.
  static let namePages = UInt32(Limits.fileID / Limits.inodesPerNamePage) + 1

  static let header = Frame(magic: "RGFSCKPT", what: "checkpoint header", limit: headerLength)
  static let index = Frame(
    magic: "RGFSINDX", what: "checkpoint index", limit: Limits.indexLength)

  /// The header of a checkpoint of everything up to `commit`.
  public static func encodeHeader(group: GroupID, epoch: Epoch, commit: CommitNumber) -> [UInt8] {
    ObjectHeader(group: group, epoch: epoch, commit: commit).encode(header, length: headerLength)
  }

  /// What a checkpoint's header says; `bytes` are its first `headerLength` bytes.
  public static func decodeHeader(_ bytes: [UInt8]) throws(FormatError)
    -> (group: GroupID, epoch: Epoch, commit: CommitNumber)
  {
    let found = try ObjectHeader(decoding: bytes, header, length: headerLength)
    return (found.group, found.epoch, found.commit)
  }

  /// The index as bytes; throws if it is not in order, beyond `Limits.indexLength`, or has a value
  /// out of its range.
  public static func encodeIndex(_ index: CheckpointIndex) throws(FormatError) -> [UInt8] {
    try validate(index)
    var objects = ObjectTable()
    for entry in index.mapPages { objects.add(entry.page.object) }
    for entry in index.namePages { objects.add(entry.page.object) }
    var writer = Self.index.begin(
      capacity: 128 + index.mapPages.count * 32 + index.namePages.count * 24)
    writer.random128(index.group)
    writer.commit(index.commit)
    writer.u32(UInt32(index.mapPages.count))
    writer.u32(UInt32(index.namePages.count))
    objects.encode(into: &writer)
    for entry in index.mapPages {
      writer.u64(entry.file)
      writer.u32(entry.number)
      encode(entry.page, objects, into: &writer)
    }
    for entry in index.namePages {
      writer.u32(entry.number)
      encode(entry.page, objects, into: &writer)
    }
    return try Self.index.seal(writer)
  }

  /// The index in `bytes`.
  public static func decodeIndex(_ bytes: [UInt8]) throws(FormatError) -> CheckpointIndex {
    var reader = try index.open(bytes[...])
    var result = CheckpointIndex(
      group: try reader.random128(), commit: try reader.commit(), mapPages: [], namePages: [])
    let mapPages = try reader.u32()
    let namePages = try reader.u32()
    var objects = try ObjectTable(decoding: &reader)
    let mapCount = try reader.count(
      mapPages, limit: Limits.indexLength / 32, minimum: 32, of: "map pages")
    result.mapPages.reserveCapacity(mapCount)
    for _ in 0..<mapCount {
      let (file, number) = (try reader.u64(), try reader.u32())
      let page = try decodeReference(&objects, from: &reader)
      result.mapPages.append(.init(file: file, number: number, page: page))
    }
    let nameCount = try reader.count(
      namePages, limit: Limits.indexLength / 24, minimum: 24, of: "name pages")
    result.namePages.reserveCapacity(nameCount)
    for _ in 0..<nameCount {
      let number = try reader.u32()
      let page = try decodeReference(&objects, from: &reader)
      result.namePages.append(.init(number: number, page: page))
    }
    try objects.finish(reader)
    try reader.finish()
    try validate(result)
    return result
  }

  private static func encode(
    _ page: CheckpointIndex.PageReference, _ objects: ObjectTable, into writer: inout ByteWriter
  ) {
    writer.u32(objects.index(of: page.object))
    writer.u64(page.offset)
    writer.u32(page.length)
    writer.u32(page.checksum)
  }

  private static func decodeReference(_ objects: inout ObjectTable, from reader: inout ByteReader)
    throws(FormatError) -> CheckpointIndex.PageReference
  {
    CheckpointIndex.PageReference(
      object: try objects.object(at: try reader.u32(), reader), offset: try reader.u64(),
      length: try reader.u32(), checksum: try reader.u32())
  }

  private static func validate(_ index: CheckpointIndex) throws(FormatError) {
    func require(_ condition: Bool, _ why: @autoclosure () -> String) throws(FormatError) {
      guard condition else { throw FormatError(.invalid(why()), what: Self.index.what) }
    }
    var previous: (file: FileID, number: UInt32)?
    for entry in index.mapPages {
      try require((1...Limits.fileID).contains(entry.file), "inode number out of range")
      try require(entry.number < mapPagesPerFile, "map page beyond the largest region")
      try require(previous.map { $0 < (entry.file, entry.number) } ?? true, "map pages' order")
      previous = (entry.file, entry.number)
      try validate(entry.page, limit: Limits.mapPageLength)
    }
    var last: UInt32?
    for entry in index.namePages {
      try require(entry.number < namePages, "name page out of range")
      try require(last.map { $0 < entry.number } ?? true, "name pages' order")
      last = entry.number
      try validate(entry.page, limit: Limits.namePageLength)
    }
  }

  private static func validate(_ page: CheckpointIndex.PageReference, limit: Int)
    throws(FormatError)
  {
    guard page.object.epoch >= 1, page.offset >= UInt64(headerLength), page.offset <= objectLimit,
      page.length >= 1, page.length <= limit
    else { throw FormatError(.invalid("a page's place"), what: index.what) }
  }
}
