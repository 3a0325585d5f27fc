@testable import DirectoryStore
@testable import RegionCore

/// The objects of the store and the fixed headers of the cache: one spelling each.
extension FuzzTarget {
  private static let segment = ObjectID(epoch: 7, random: Random128(high: 1, low: 2))
  private static let payloadEnd = UInt64(SegmentCodec.headerLength + Limits.segmentPayload)
  private static let geometry = Geometry.standard

  static let formats: [FuzzTarget] = [
    format("root", { bytes throws(FormatError) in try RootCodec.decode(bytes) }) {
      try RootCodec.encode($0)
    },
    format(
      "segment-table",
      { bytes throws(FormatError) in
        try SegmentCodec.decodeTable(
          bytes, segment: segment, payloadEnd: payloadEnd, geometry: geometry)
      }, { try SegmentCodec.encodeTable($0, geometry: geometry) }, use: ParsedUse.map),
    format(
      "segment-footer",
      { bytes throws(FormatError) in
        let found = try SegmentCodec.decodeFooter(bytes)
        return [found.tableOffset, found.tableLength, found.tableChecksum]
      },
      {
        SegmentCodec.encodeFooter(tableOffset: $0[0], tableLength: $0[1], tableChecksum: $0[2])
      }),
    format(
      "segment-header",
      { bytes throws(FormatError) in Header(try SegmentCodec.decodeHeader(bytes)) },
      { SegmentCodec.encodeHeader(group: $0.group, epoch: $0.epoch, commit: $0.commit) }),
    format(
      "checkpoint-header",
      { bytes throws(FormatError) in Header(try CheckpointCodec.decodeHeader(bytes)) },
      { CheckpointCodec.encodeHeader(group: $0.group, epoch: $0.epoch, commit: $0.commit) }),
    format(
      "checkpoint-index",
      { bytes throws(FormatError) in try CheckpointCodec.decodeIndex(bytes) },
      { try CheckpointCodec.encodeIndex($0) }),
    format(
      "map-page",
      { bytes throws(FormatError) in try CheckpointCodec.decodeMapPage(bytes, geometry: geometry) },
      { try CheckpointCodec.encodeMapPage($0, geometry: geometry) }),
    format(
      "name-page", { bytes throws(FormatError) in try CheckpointCodec.decodeNamePage(bytes) },
      { try CheckpointCodec.encodeNamePage($0) }, use: ParsedUse.names),
    format(
      "group-record", { bytes throws(FormatError) in try GroupRecordCodec.decode(bytes) },
      { try GroupRecordCodec.encode($0) }),
    format(
      "access-trace", { bytes throws(FormatError) in try AccessTraceCodec.decode(bytes) },
      { try AccessTraceCodec.encode($0) },
      // A few bytes name many chunks, which are merged one by one.
      allowance: usualAllowance + 4096 * Limits.traceChunks, use: ParsedUse.trace),
    format(
      "start-hint", { bytes throws(FormatError) in try StartHintCodec.decode(bytes) },
      { try StartHintCodec.encode($0) }),
    format(
      "state-file-header", { bytes throws(FormatError) in try StateFileCodec.decode(bytes) },
      { StateFileCodec.encode($0) }),
    format(
      "log-file-header", { bytes throws(FormatError) in try LogCodec.decodeFileHeader(bytes) },
      { LogCodec.encodeFileHeader($0) }),
    groupNames, objectKeys, cacheTexts, trailer,
  ]

  /// What headers of segments and checkpoints say.
  private struct Header: Equatable {
    var group: GroupID
    var epoch: Epoch
    var commit: CommitNumber

    init(_ found: (group: GroupID, epoch: Epoch, commit: CommitNumber)) {
      (group, epoch, commit) = found
    }
  }

  private static func format<Value: Equatable & Sendable>(
    _ name: String, _ parse: @escaping @Sendable ([UInt8]) throws(FormatError) -> Value,
    _ encode: @escaping @Sendable (Value) throws -> [UInt8], allowance: Int = usualAllowance,
    use: @escaping @Sendable (Value) throws(FuzzFinding) -> Void = { _ in }
  ) -> FuzzTarget {
    FuzzTarget(
      name: name, longest: 8192, allowance: allowance, golden: name, reseal: Sealing.frame
    ) { bytes throws(FuzzFinding) in
      guard try check(bytes, canonical: true, parse: parse, encode: encode) else { return false }
      if let value = try? parse(bytes) { try use(value) }
      return true
    }
  }

  /// Keys below `groups/` as names, and names as keys.
  private static let groupNames = FuzzTarget(
    name: "group-name", longest: 1000,
    examples: ["groups/ea", "groups/e_2Ea", "groups/c\(String(repeating: "a", count: 180))/eb"]
      .map { [UInt8]($0) },
    words: ["groups/", "_2F", "/c", "/e", "_"]
  ) { bytes throws(FuzzFinding) in
    // Any bytes may be a name: its key must be read as that name.
    if let name = FileName(bytes), GroupNames.name(of: GroupNames.key(for: name)) != name {
      throw FuzzFinding("a name's key is not read as the name")
    }
    return try check(
      bytes, canonical: true, optional: { ObjectKey($0.text).flatMap(GroupNames.name) },
      encode: { [UInt8](GroupNames.key(for: $0).text) })
  }

  /// Keys of objects, as a listing has them.
  private static let objectKeys = FuzzTarget(
    name: "object-key", longest: 1000,
    examples: [
      ObjectKeys.segment(.zero, segment).text, ObjectKeys.map(.zero, segment).text,
      ObjectKeys.deleted(.zero).text, ObjectKeys.mounts(.zero).text,
    ].map { [UInt8]($0) },
    words: ["g/", "seg/", "map/", "deleted/", "mounts/", "-", "00000000000000000000000000000000"]
  ) { bytes throws(FuzzFinding) in
    try check(
      bytes, canonical: true,
      optional: { bytes -> String? in
        guard let key = ObjectKey(bytes.text) else { return nil }
        for prefix in [ObjectKeys.segmentPrefix(of: .zero), ObjectKeys.mapPrefix(of: .zero)] {
          if let object = ObjectKeys.object(of: key, prefix: prefix) { return prefix + object.name }
        }
        for prefix in [ObjectKeys.deletedPrefix, ObjectKeys.mountsPrefix] {
          if let id = ObjectKeys.identifier(of: key, prefix: prefix) { return prefix + "\(id)" }
        }
        return nil
      }, encode: { [UInt8]($0) })
  }

  /// The cache's text files.
  private static let cacheTexts = FuzzTarget(
    name: "cache-text", longest: 1000,
    examples: [
      [UInt8](
        Lineage(
          since: CommitID(number: 1, nonce: .zero), until: CommitID(number: .max, nonce: .zero),
          log: .zero, writer: .zero
        ).text)
    ],
    words: ["regionfs-lineage", " 1 ", "18446744073709551616", "-1", "\n"]
  ) { bytes throws(FuzzFinding) in
    try check(bytes, optional: { Lineage(text: $0) }, encode: { [UInt8]($0.text) })
  }

  /// The end of an object's file in a directory store. The file's size comes first.
  private static let trailer = FuzzTarget(
    name: "directory-trailer", longest: 64,
    examples: [
      [40, 0, 0, 0, 0, 0, 0, 0] + Trailer(length: 0, version: Random128(high: 1, low: 2)).bytes
    ],
    reseal: { bytes in
      guard bytes.count == 48 else { return }
      Sealing.put(CRC32C.checksum(bytes[24...]), at: 20, of: &bytes)
    }
  ) { bytes throws(FuzzFinding) in
    guard bytes.count >= 8 else { return false }
    let size = bytes[..<8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    return try check(
      bytes, canonical: true, optional: { Trailer(Array($0[8...]), fileSize: size) },
      encode: { Array(bytes[..<8]) + $0.bytes })
  }
}
