/// The bytes of a write log: a file header, then records, each chained to the one before by its
/// checksum.
///
/// A record is a header of `recordHeaderLength` bytes {magic, kind, body length, sequence, chain}
/// and a body. The chain value is the CRC-32C of the previous record's chain value, the header's
/// other fields, and the body; so a record proves that everything before it is intact and in place,
/// and what an older log left on a reused disk block never passes for one.
public enum LogCodec {
  /// Length of a log file's header, in bytes: where its first record starts.
  public static let fileHeaderLength = 128
  /// Length of a record's header, in bytes.
  public static let recordHeaderLength = 20
  /// Highest index of a log's file. Nobody writes so many; there is always a next one to go on in.
  static let mostFiles: UInt32 = .max - 1

  static let fileHeader = Frame(magic: "RGFSLOGF", what: "log", limit: fileHeaderLength)
  static let what = "log record"
  static let magic: UInt16 = 0x4C52  // "RL"
  private static let chainOffset = 16
  private static let isZeroBit: UInt32 = 1 << 31

  enum Kind: UInt8 {
    case data = 1
    case names = 2
  }

  /// The header of a log file.
  public static func encodeFileHeader(_ header: LogFileHeader) -> [UInt8] {
    var writer = fileHeader.begin(capacity: fileHeaderLength)
    writer.random128(header.group)
    writer.u64(header.epoch)
    writer.random128(header.writer)
    writer.random128(header.log)
    writer.commit(header.base)
    writer.u32(header.index)
    writer.u64(header.firstSequence)
    writer.u32(header.chain)
    writer.u64(header.boot)
    writer.u8(SyncMark.encode(header.synced, before: header.firstSequence))
    writer.pad(to: fileHeaderLength)
    return fileHeader.sealFixed(writer)
  }

  /// What a log file's first `fileHeaderLength` bytes say.
  public static func decodeFileHeader(_ bytes: [UInt8]) throws(FormatError) -> LogFileHeader {
    var reader = try fileHeader.open(bytes[...])
    var header = LogFileHeader(
      group: try reader.random128(), epoch: try reader.u64(), writer: try reader.random128(),
      log: try reader.random128(), base: try reader.commit(), index: try reader.u32(),
      firstSequence: try reader.u64(), chain: try reader.u32())
    header.boot = try reader.u64()
    let mark = try reader.u8()
    try reader.reserved(fileHeaderLength - reader.consumed)
    try reader.finish()
    try reader.require(header.epoch >= 1, "epoch 0")
    try reader.require(header.index <= mostFiles, "file \(header.index) of a log")
    try reader.require(header.firstSequence >= 1, "sequence 0")
    guard let synced = SyncMark.decode(mark, before: header.firstSequence) else {
      throw reader.invalid("sync mark \(mark)")
    }
    header.synced = synced
    return header
  }

  /// The chain value before a log's very first record: differs from log to log.
  public static func initialChain(of log: LogID) -> UInt32 {
    var writer = ByteWriter(capacity: 16)
    writer.random128(log)
    return CRC32C.checksum(writer.bytes)
  }

  /// What of a record comes before its payload (header, and body but for the payload), and the
  /// chain value for the next record. `payload` holds the pages of a data record's `bytes` runs, and
  /// is written right behind the head; it is empty for names.
  public static func encodeHead(
    _ record: LogRecord, sequence: SequenceNumber, previousChain: UInt32,
    synced: SequenceNumber = 0, payload: UnsafeRawBufferPointer
  ) throws(FormatError) -> (head: [UInt8], chain: UInt32) {
    var head: [UInt8] = []
    let chain = unsafe try encodeHead(
      record, sequence: sequence, previousChain: previousChain, synced: synced, payload: payload,
      into: &head)
    return (head, chain)
  }

  /// As the other `encodeHead`, into memory that the caller keeps: replaces `head`'s content.
  /// Returns the chain value. After an error `head` is empty.
  public static func encodeHead(
    _ record: LogRecord, sequence: SequenceNumber, previousChain: UInt32,
    synced: SequenceNumber = 0, payload: UnsafeRawBufferPointer, into head: inout [UInt8]
  ) throws(FormatError) -> UInt32 {
    let payloadLength = payload.count
    var scratch: [UInt8] = []
    swap(&scratch, &head)
    var writer = ByteWriter(reusing: scratch)
    writer.u16(magic)
    switch record {
    case .data(let data):
      writer.u8(Kind.data.rawValue)
      writer.u8(SyncMark.encode(synced, before: sequence))
      writer.reserved(4 + 8 + 4)
      try encode(data, into: &writer)
      let expected = data.payloadPages * UInt64(Geometry.pageSize)
      try require(expected == UInt64(payloadLength), "payload's length")
    case .names(let changes):
      writer.u8(Kind.names.rawValue)
      writer.u8(SyncMark.encode(synced, before: sequence))
      writer.reserved(4 + 8 + 4)
      try encode(changes, into: &writer)
      try require(payloadLength == 0, "names with a payload")
    }
    let length = writer.count - recordHeaderLength + payloadLength
    try require(length <= Limits.recordLength, "\(length) bytes, more than \(Limits.recordLength)")
    try require(sequence >= 1 && sequence < .max, "sequence out of range")
    writer.patch(UInt32(length), at: 4)
    writer.patch(UInt32(truncatingIfNeeded: sequence), at: 8)
    writer.patch(UInt32(truncatingIfNeeded: sequence >> 32), at: 12)
    let meta = chain(previous: previousChain, head: writer.bytes[...])
    // SAFETY: the caller keeps the payload's memory alive and unchanged during the call.
    let chain = unsafe CRC32C.checksum(payload, continuing: meta)
    writer.patch(chain, at: chainOffset)
    head = writer.bytes
    return chain
  }

  /// CRC-32C over the previous chain value, the header without its chain field, and what follows.
  static func chain(previous: UInt32, head: ArraySlice<UInt8>) -> UInt32 {
    // SAFETY: reads a local's four bytes.
    let seed = unsafe withUnsafeBytes(of: previous.littleEndian) { unsafe CRC32C.checksum($0) }
    let start = head.startIndex
    return CRC32C.checksum(
      head[(start + recordHeaderLength)...],
      continuing: CRC32C.checksum(
        head[start..<start + chainOffset], continuing: seed))
  }

  private static func encode(_ data: DataRecord, into writer: inout ByteWriter) throws(FormatError)
  {
    try validate(data)
    writer.u64(data.file)
    writer.u64(data.size)
    writer.time(data.time)
    writer.u32(UInt32(data.runs.count))
    for run in data.runs {
      writer.u32(UInt32(run.pages.lowerBound) | (run.isZero ? isZeroBit : 0))
      writer.u32(UInt32(run.pages.count))
    }
  }

  private static func encode(_ changes: [NameChange], into writer: inout ByteWriter)
    throws(FormatError)
  {
    try require((1...Limits.recordNameChanges).contains(changes.count), "number of name changes")
    writer.u32(UInt32(changes.count))
    for change in changes { try NameChangeCodec.encode(change, into: &writer, what: what) }
  }

  /// Decodes a data record's body up to its payload.
  static func decodeData(from reader: inout ByteReader) throws(FormatError) -> DataRecord {
    var data = DataRecord(
      file: try reader.u64(), size: try reader.u64(), time: try reader.time(), runs: [])
    let count = try reader.count(
      try reader.u32(), limit: Limits.recordRuns, minimum: 8, of: "runs of pages")
    data.runs.reserveCapacity(count)
    for _ in 0..<count {
      let word = try reader.u32()
      let first = UInt64(word & ~isZeroBit)
      let pages = first..<first + UInt64(try reader.u32())
      data.runs.append(PageRun(pages, isZero: word & isZeroBit != 0))
    }
    try validate(data)
    try reader.require(
      UInt64(reader.remaining) == data.payloadPages * UInt64(Geometry.pageSize), "payload's length")
    return data
  }

  /// Decodes the whole body of a record of names.
  static func decodeNames(from reader: inout ByteReader) throws(FormatError) -> [NameChange] {
    let count = try reader.count(
      try reader.u32(), limit: Limits.recordNameChanges, minimum: NameChangeCodec.minimumLength,
      of: "name changes")
    try reader.require(count >= 1, "no name changes")
    var changes: [NameChange] = []
    changes.reserveCapacity(count)
    for _ in 0..<count {
      changes.append(try NameChangeCodec.decode(kind: try reader.u8(), from: &reader))
    }
    try reader.finish()
    return changes
  }

  private static func validate(_ data: DataRecord) throws(FormatError) {
    try require((1...Limits.fileID).contains(data.file), "inode number out of range")
    try require(data.size <= Limits.regionSize, "size out of range")
    try require(data.runs.count <= Limits.recordRuns, "too many runs of pages")
    var end: PageIndex = 0
    for run in data.runs {
      try require(!run.pages.isEmpty, "an empty run of pages")
      try require(run.pages.lowerBound >= end, "runs overlap or are not in order")
      end = run.pages.upperBound
      try require(end <= Limits.pageCount, "page beyond the largest region")
    }
  }

  static func require(_ condition: Bool, _ why: @autoclosure () -> String) throws(FormatError) {
    guard condition else { throw FormatError(.invalid(why()), what: what) }
  }
}
