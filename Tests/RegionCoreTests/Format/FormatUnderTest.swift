import RegionCore
import Testing

/// One format, seen as "bytes that decode to something that encodes to the same bytes".
struct FormatUnderTest: Sendable, CustomTestStringConvertible {
  var name: String
  /// What its errors call it.
  var what: String
  /// A random value's bytes.
  var sample: @Sendable (UInt64) throws -> [UInt8]
  /// Decodes bytes (throws `FormatError`) and encodes what was decoded.
  var recode: @Sendable ([UInt8]) throws -> [UInt8]

  var testDescription: String { name }

  static let geometry = Geometry.standard
  static let segment = ObjectID(epoch: 7, random: Random128(high: 1, low: 2))
  static let payloadEnd = UInt64(SegmentCodec.headerLength + Limits.segmentPayload)

  /// Values whose geometry is the standard one.
  static func values(_ seed: UInt64) -> RandomValues {
    var seed = seed
    while true {
      let values = RandomValues(seed: seed)
      if values.geometry == .standard { return values }
      seed &+= 0x1234_5678_9ABC
    }
  }

  /// Every format that stands in a frame of its own.
  static let framed: [FormatUnderTest] = [
    FormatUnderTest(
      name: "root", what: "root",
      sample: { seed in
        var values = RandomValues(seed: seed)
        return try RootCodec.encode(values.root())
      }, recode: { try RootCodec.encode(RootCodec.decode($0)) }),
    FormatUnderTest(
      name: "segment-table", what: "segment table",
      sample: { seed in
        var values = values(seed)
        return try SegmentCodec.encodeTable(values.table(segment: segment), geometry: geometry)
      },
      recode: {
        try SegmentCodec.encodeTable(
          SegmentCodec.decodeTable(
            $0, segment: segment, payloadEnd: payloadEnd, geometry: geometry),
          geometry: geometry)
      }),
    FormatUnderTest(
      name: "segment-header", what: "segment header",
      sample: { seed in
        var values = values(seed)
        return SegmentCodec.encodeHeader(group: values.id(), epoch: 3, commit: values.file())
      },
      recode: {
        let found = try SegmentCodec.decodeHeader($0)
        return SegmentCodec.encodeHeader(
          group: found.group, epoch: found.epoch, commit: found.commit)
      }),
    FormatUnderTest(
      name: "segment-footer", what: "segment footer",
      sample: { seed in
        var values = values(seed)
        return SegmentCodec.encodeFooter(
          tableOffset: UInt32(values.count(64...1 << 20)),
          tableLength: UInt32(values.count(1...1 << 20)), tableChecksum: values.word())
      },
      recode: {
        let found = try SegmentCodec.decodeFooter($0)
        return SegmentCodec.encodeFooter(
          tableOffset: found.tableOffset, tableLength: found.tableLength,
          tableChecksum: found.tableChecksum)
      }),
    FormatUnderTest(
      name: "checkpoint-header", what: "checkpoint header",
      sample: { seed in
        var values = values(seed)
        return CheckpointCodec.encodeHeader(group: values.id(), epoch: 3, commit: values.file())
      },
      recode: {
        let found = try CheckpointCodec.decodeHeader($0)
        return CheckpointCodec.encodeHeader(
          group: found.group, epoch: found.epoch, commit: found.commit)
      }),
    FormatUnderTest(
      name: "checkpoint-index", what: "checkpoint index",
      sample: { seed in
        var values = values(seed)
        return try CheckpointCodec.encodeIndex(values.index())
      }, recode: { try CheckpointCodec.encodeIndex(CheckpointCodec.decodeIndex($0)) }),
    FormatUnderTest(
      name: "map-page", what: "map page",
      sample: { seed in
        var values = values(seed)
        return try CheckpointCodec.encodeMapPage(values.mapPage(), geometry: geometry)
      },
      recode: {
        try CheckpointCodec.encodeMapPage(
          CheckpointCodec.decodeMapPage($0, geometry: geometry), geometry: geometry)
      }),
    FormatUnderTest(
      name: "name-page", what: "name page",
      sample: { seed in
        var values = values(seed)
        return try CheckpointCodec.encodeNamePage(values.namePage())
      }, recode: { try CheckpointCodec.encodeNamePage(CheckpointCodec.decodeNamePage($0)) }),
    FormatUnderTest(
      name: "log-file-header", what: "log",
      sample: { seed in
        var values = values(seed)
        return LogCodec.encodeFileHeader(values.logHeader())
      }, recode: { LogCodec.encodeFileHeader(try LogCodec.decodeFileHeader($0)) }),
    FormatUnderTest(
      name: "group-record", what: "group record",
      sample: { seed in
        var values = values(seed)
        return try GroupRecordCodec.encode(values.groupRecord())
      }, recode: { try GroupRecordCodec.encode(GroupRecordCodec.decode($0)) }),
    FormatUnderTest(
      name: "access-trace", what: "access trace",
      sample: { seed in
        var values = values(seed)
        return try AccessTraceCodec.encode(values.accessTrace())
      }, recode: { try AccessTraceCodec.encode(AccessTraceCodec.decode($0)) }),
    FormatUnderTest(
      name: "start-hint", what: "start hint",
      sample: { seed in
        var values = values(seed)
        return try StartHintCodec.encode(values.startHint())
      }, recode: { try StartHintCodec.encode(StartHintCodec.decode($0)) }),
    FormatUnderTest(
      name: "name-list", what: "list of names",
      sample: { seed in
        var values = values(seed)
        return try NameListCodec.encode(values.nameList())
      }, recode: { try NameListCodec.encode(NameListCodec.decode($0)) }),
    FormatUnderTest(
      name: "state-file-header", what: "state file",
      sample: { seed in
        var values = values(seed)
        return StateFileCodec.encode(values.stateHeader())
      }, recode: { StateFileCodec.encode(try StateFileCodec.decode($0)) }),
  ]

  /// The log record, which has no frame: number 9 after the chain value 0x12345678.
  static let record = FormatUnderTest(
    name: "log-record", what: "log record",
    sample: { seed in
      var values = values(seed)
      let (record, payload) = values.record()
      return try encodeRecord(record, payload: payload)
    },
    recode: { bytes in
      let found = try LogCodec.decodeRecord(bytes, expectedSequence: 9, previousChain: 0x1234_5678)
      return try encodeRecord(found.record, payload: [UInt8](bytes[found.payloadOffset...]))
    })

  static let all = framed + [record]

  static func encodeRecord(
    _ record: LogRecord, payload: [UInt8], sequence: UInt64 = 9, previousChain: UInt32 = 0x1234_5678
  ) throws -> [UInt8] {
    // SAFETY: the payload outlives the call.
    let head = try unsafe payload.withUnsafeBytes {
      try unsafe LogCodec.encodeHead(
        record, sequence: sequence, previousChain: previousChain, payload: $0
      ).head
    }
    return head + payload
  }

  /// Corrects the checksum of changed bytes, so that the parser behind it is reached. It stands at
  /// the same place in frames and log records; the latter's continues the previous record's.
  func reseal(_ bytes: inout [UInt8]) {
    guard bytes.count >= 20 else { return }
    let seed = name == "log-record" ? CRC32C.checksum([0x78, 0x56, 0x34, 0x12]) : 0
    let start = CRC32C.checksum(bytes[..<16], continuing: seed)
    let crc = CRC32C.checksum(bytes[20...], continuing: start)
    for index in 0..<4 { bytes[16 + index] = UInt8(truncatingIfNeeded: crc >> (8 * index)) }
  }
}
