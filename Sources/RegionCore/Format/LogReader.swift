extension LogCodec {
  /// What a record's header says, before the body was seen: nothing in it is proven yet.
  public struct RecordHeader: Hashable, Sendable {
    /// Bytes that follow the header, at most `Limits.recordLength`.
    public var bodyLength: Int
    /// The record's place in the log.
    public var sequence: SequenceNumber
    /// The chain value that the whole record must have.
    public var chain: UInt32
    /// Every record up to this one was synced before this one was appended.
    public var synced: SequenceNumber
  }

  /// Parses the first `recordHeaderLength` bytes of a record (more may follow). Throws `.notOurs`
  /// where no record begins, e.g. on zeros.
  public static func decodeHeader(_ bytes: ArraySlice<UInt8>) throws(FormatError) -> RecordHeader {
    var reader = ByteReader(bytes, what: what)
    guard reader.remaining >= recordHeaderLength else { throw FormatError(.truncated, what: what) }
    guard try reader.u16() == magic else { throw FormatError(.notOurs, what: what) }
    guard Kind(rawValue: try reader.u8()) != nil else { throw reader.invalid("unknown kind") }
    let mark = try reader.u8()
    let length = try reader.u32()
    try reader.require(length <= Limits.recordLength, "body of \(length) bytes")
    let sequence = try reader.u64()
    // There must be a number for the record that follows.
    try reader.require(sequence < .max, "sequence out of range")
    guard let synced = SyncMark.decode(mark, before: sequence) else {
      throw reader.invalid("sync mark \(mark)")
    }
    return RecordHeader(
      bodyLength: Int(length), sequence: sequence, chain: try reader.u32(), synced: synced)
  }

  /// Parses the first `recordHeaderLength` bytes of a record.
  public static func decodeHeader(_ bytes: [UInt8]) throws(FormatError) -> RecordHeader {
    try decodeHeader(bytes[...])
  }

  /// Parses a whole record, `recordHeaderLength + bodyLength` bytes, which must be number
  /// `expectedSequence` and continue `previousChain`. Returns the record, where its payload starts
  /// (in bytes from the record's start; the record's end if it has none) and the chain value for
  /// the next record. The checksum is verified before anything in the body is believed.
  public static func decodeRecord(
    _ bytes: ArraySlice<UInt8>, expectedSequence: SequenceNumber, previousChain: UInt32
  ) throws(FormatError) -> (record: LogRecord, payloadOffset: Int, chain: UInt32) {
    let header = try decodeHeader(bytes)
    guard bytes.count >= recordHeaderLength + header.bodyLength else {
      throw FormatError(.truncated, what: what)
    }
    try require(bytes.count == recordHeaderLength + header.bodyLength, "trailing bytes")
    guard chain(previous: previousChain, head: bytes) == header.chain else {
      throw FormatError(.checksum, what: what)
    }
    try require(
      header.sequence == expectedSequence, "number \(header.sequence), not \(expectedSequence)")
    let body = bytes[(bytes.startIndex + recordHeaderLength)...]
    var reader = ByteReader(body, what: what)
    let record: LogRecord
    switch Kind(rawValue: bytes[bytes.startIndex + 2]) {
    case .data: record = .data(try decodeData(from: &reader))
    case .names: record = .names(try decodeNames(from: &reader))
    case nil: throw reader.invalid("unknown kind")
    }
    return (record, recordHeaderLength + reader.consumed, header.chain)
  }

  /// Parses a whole record.
  public static func decodeRecord(
    _ bytes: [UInt8], expectedSequence: SequenceNumber, previousChain: UInt32
  ) throws(FormatError) -> (record: LogRecord, payloadOffset: Int, chain: UInt32) {
    try decodeRecord(
      bytes[...], expectedSequence: expectedSequence, previousChain: previousChain)
  }
}

/// Walks through the records of one log file: keeps count and chain, and does no I/O. What a torn
/// tail or a damaged record means is for the caller to decide; after an error the reader stands
/// where it stood before.
public struct LogReader: Sendable {
  /// The sequence number of the next record.
  public private(set) var nextSequence: SequenceNumber
  /// The chain value that the next record continues.
  public private(set) var chain: UInt32
  /// Records up to this one are known to have been synced.
  public private(set) var synced: SequenceNumber

  /// Starts at the first record of a file.
  public init(_ header: LogFileHeader) {
    nextSequence = header.firstSequence
    chain = header.chain
    synced = header.synced
  }

  /// Starts behind a record that is believed to be whole.
  init(after header: LogCodec.RecordHeader) {
    nextSequence = header.sequence + 1
    chain = header.chain
    synced = 0
  }

  /// How many bytes the next record takes in all, given at least its `LogCodec.recordHeaderLength`
  /// first bytes.
  public func length(ofRecordWith header: ArraySlice<UInt8>) throws(FormatError) -> Int {
    LogCodec.recordHeaderLength + (try LogCodec.decodeHeader(header)).bodyLength
  }

  /// Takes the next record, given exactly its bytes.
  public mutating func read(_ bytes: ArraySlice<UInt8>) throws(FormatError)
    -> (record: LogRecord, payloadOffset: Int)
  {
    let found = try LogCodec.decodeRecord(
      bytes, expectedSequence: nextSequence, previousChain: chain)
    nextSequence += 1
    chain = found.chain
    synced = max(synced, try LogCodec.decodeHeader(bytes).synced)
    return (found.record, found.payloadOffset)
  }
}
