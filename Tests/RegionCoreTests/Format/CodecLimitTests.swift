import RegionTesting
import Testing

@testable import RegionCore

/// What is out of range is refused, by writers as by readers (they share their checks).
@Suite struct CodecLimitTests {
  private func root(_ change: (inout Root) -> Void) throws -> [UInt8] {
    var values = RandomValues(seed: 4)
    var root = values.root()
    root.checkpoint = nil
    root.tail = []
    root.pendingDeletion = []
    root.history = []
    change(&root)
    return try RootCodec.encode(root)
  }

  private func segment(_ epoch: Epoch = 1, _ low: UInt64 = 1, commit: CommitNumber = 1)
    -> Root.SegmentReference
  {
    .init(
      object: ObjectID(epoch: epoch, random: Random128(high: 0, low: low)), commit: commit,
      length: 140, tableOffset: 64, tableLength: 36, tableChecksum: 0)
  }

  @Test func roots() throws {
    _ = try root { _ in }
    _ = try root { $0.tail = [segment(), segment(1, 2)] }
    let commit = CommitID(number: 0, nonce: .zero)
    let tooMany: [(inout Root) -> Void] = [
      { $0.holder = String(repeating: "x", count: 256) },
      { $0.history = Array(repeating: commit, count: Limits.rootHistory + 1) },
      { $0.snapshots = Array(repeating: commit, count: Limits.rootPins + 1) },
      { $0.clonePins = Array(repeating: .zero, count: Limits.rootPins + 1) },
      { root in
        root.tail = (0...UInt64(Limits.tailSegments)).map { self.segment(1, $0) }
      },
      { $0.epoch = 0 }, { $0.nextFileID = 1 }, { $0.nextFileID = Limits.fileID + 1 },
      { $0.claim = .held(.zero) },
      { $0.history = [commit, commit] }, { $0.history = [$0.commit] },
      { $0.history = [CommitID(number: $0.commit.number + 1, nonce: .zero)] },
      { $0.history = [commit, CommitID(number: 1, nonce: .zero)] },
      { $0.tail = [segment(), segment()] },
      { $0.tail = [segment(1, 1, commit: 5), segment(1, 2, commit: 4)] },
      { $0.tail = [segment(1, 1, commit: $0.commit.number + 1)] },
      { root in
        root.epoch = 5
        root.tail = [segment(6)]
      },
      { $0.tail = [segment(0)] },
      { root in
        root.tail = [segment()]
        root.tail[0].length += 1
      },
      { root in
        root.tail = [segment()]
        root.tail[0].tableOffset = 63
        root.tail[0].length -= 1
      },
      { root in
        root.tail = [segment()]
        root.checkpoint = .init(
          object: ObjectID(epoch: 1, random: .zero), indexOffset: 64, indexLength: 1,
          indexChecksum: 0, commit: CommitID(number: 1, nonce: .zero))
      },
      { root in
        root.checkpoint = .init(
          object: ObjectID(epoch: 1, random: .zero), indexOffset: .max, indexLength: 1,
          indexChecksum: 0, commit: CommitID(number: 1, nonce: .zero))
      },
      { root in
        let object = ObjectID(epoch: 1, random: .zero)
        root.pendingDeletion = [1, 2].map {
          .init(isSegment: true, object: object, droppedAt: Timestamp(nanoseconds: $0))
        }
      },
    ]
    for (index, change) in tooMany.enumerated() {
      #expect(throws: FormatError.self, "change \(index)") { try root(change) }
    }
  }

  private func table(_ changes: [SegmentTable.Change], index: UInt16 = 0, count: UInt16 = 1) throws
  {
    let table = SegmentTable(
      group: .zero, epoch: 1, commit: 1, parent: .zero, index: index, count: count, changes: changes
    )
    _ = try SegmentCodec.encodeTable(table, geometry: .standard)
  }

  /// A data change of `pages` pages from `first`, in a unit with these properties.
  private func data(
    _ first: PageIndex, _ pages: UInt64 = 1, file: FileID = 2, offset: UInt64 = 64,
    unitPages: UInt32 = 4, length: UInt32? = nil, inUnit: UInt32 = 0, checksums: Int? = nil
  ) -> SegmentTable.Change {
    let unit = StoredUnit(
      segment: FormatUnderTest.segment, offset: offset, storedLength: length ?? unitPages * 4096,
      pageCount: unitPages, checksum: 0)
    let extent = Extent(
      firstPage: first, pageCount: pages, source: .unit(unit, firstPageInUnit: inUnit))
    return .data(
      file, extent, pageChecksums: Array(repeating: 0, count: checksums ?? Int(pages)))
  }

  @Test func segmentTables() throws {
    try table([data(0), data(1), data(63), .zero(2, 2..<10), .zero(3, 0..<Limits.pageCount)])
    try table([data(60, 4)])
    let bad: [[SegmentTable.Change]] = [
      [data(62, 4)], [data(0, 5)], [data(0, 4, inUnit: 1)], [data(0, 0)],
      [data(0, unitPages: 65)], [data(0, unitPages: 0)], [data(0, length: 4096)],
      [data(0, offset: 63)], [data(0, offset: .max - 1)],
      [data(0, offset: UInt64(Limits.segmentPayload))], [data(0, checksums: 2)],
      [data(Limits.pageCount)], [data(.max)], [data(0, file: 0)],
      [data(0, file: Limits.fileID + 1)], [data(0), data(0)], [data(0, 2), .zero(2, 1..<2)],
      [.zero(2, 5..<5)], [.zero(2, 0..<Limits.pageCount + 1)], [.zero(2, 0..<2), .zero(2, 1..<3)],
      [.name(.remove(0))], [.name(.remove(3)), .name(.remove(3))],
      [.data(2, Extent(firstPage: 0, pageCount: 1, source: .zero), pageChecksums: [0])],
    ]
    for (index, changes) in bad.enumerated() {
      #expect(throws: FormatError.self, "changes \(index)") { try table(changes) }
    }
    #expect(throws: FormatError.self) { try table([], index: 1, count: 1) }
    #expect(throws: FormatError.self) { try table([], index: 0, count: 0) }
    #expect(throws: FormatError.self) {
      try table([], count: UInt16(Limits.commitSegments) + 1)
    }
  }

  @Test func unitsEndWhereThePayloadEnds() throws {
    let whole = SegmentTable(
      group: .zero, epoch: 1, commit: 1, parent: .zero, index: 0, count: 1, changes: [data(0)])
    let bytes = try SegmentCodec.encodeTable(whole, geometry: .standard)
    for (end, isGood) in [(64 + 4 * 4096, true), (64 + 4 * 4096 - 1, false), (0, false)] {
      let found = try? SegmentCodec.decodeTable(
        bytes, segment: FormatUnderTest.segment, payloadEnd: UInt64(end), geometry: .standard)
      #expect((found == whole) == isGood, "payload end \(end)")
    }
  }

  private func inode(_ change: (inout Inode) -> Void) throws {
    var inode = Inode(
      id: 5, parent: 1, name: FileName("a"), kind: .file, mode: 0o644, uid: 0, gid: 0,
      time: Timestamp(nanoseconds: 0))
    change(&inode)
    _ = try CheckpointCodec.encodeNamePage(NamePage(inodes: [inode]))
  }

  @Test func inodes() throws {
    try inode { $0.size = Limits.regionSize }
    try inode { $0.xattrs = [.init(name: [1], value: []), .init(name: [1, 1], value: [])] }
    let bad: [(inout Inode) -> Void] = [
      { $0.id = 0 }, { $0.id = Limits.fileID + 1 }, { $0.id = 1 }, { $0.parent = 0 },
      { $0.parent = 5 }, { $0.name = nil }, { $0.mode = 0o10000 },
      { $0.size = Limits.regionSize + 1 }, { $0.target = [1] }, { $0.kind = .symlink },
      {
        $0.kind = .directory
        $0.size = 1
      },
      {
        $0.kind = .symlink
        $0.target = [1, 0]
        $0.size = 2
      },
      {
        $0.kind = .symlink
        $0.target = Array(repeating: 1, count: Limits.symlinkLength + 1)
        $0.size = UInt64($0.target.count)
      },
      { $0.xattrs = [.init(name: [], value: [])] }, { $0.xattrs = [.init(name: [0], value: [])] },
      { $0.xattrs = [.init(name: [2], value: []), .init(name: [1], value: [])] },
      { $0.xattrs = [.init(name: [1], value: []), .init(name: [1], value: [])] },
      { $0.xattrs = [.init(name: [1], value: Array(repeating: 0, count: 65_537))] },
      { inode in
        inode.xattrs = (1...3).map { .init(name: [$0], value: Array(repeating: 0, count: 65_536)) }
      },
    ]
    for (index, change) in bad.enumerated() {
      #expect(throws: FormatError.self, "change \(index)") { try inode(change) }
    }
  }

  @Test func namePagesHoldOnePageInOrder() throws {
    func inode(_ id: FileID) -> Inode {
      Inode(
        id: id, parent: 1, name: FileName("a"), kind: .file, mode: 0, uid: 0, gid: 0,
        time: Timestamp(nanoseconds: 0))
    }
    _ = try CheckpointCodec.encodeNamePage(NamePage(inodes: [inode(512), inode(1023)]))
    for ids in [[511, 512], [600, 600], [601, 600]] as [[FileID]] {
      #expect(throws: FormatError.self) {
        try CheckpointCodec.encodeNamePage(NamePage(inodes: ids.map(inode)))
      }
    }
  }

  @Test func mapPages() throws {
    func encode(_ chunks: [(UInt16, [Extent])]) throws {
      _ = try CheckpointCodec.encodeMapPage(
        MapPage(chunks: chunks.map { MapPage.Chunk(index: $0.0, extents: $0.1) }),
        geometry: .standard)
    }
    func extent(_ first: PageIndex, _ pages: UInt64) throws -> Extent {
      guard case .data(_, let extent, _) = data(first, pages) else { throw CancellationError() }
      return extent
    }
    try encode([(0, [extent(0, 4), extent(4, 1)]), (4095, [extent(63, 1)])])
    #expect(throws: FormatError.self) { try encode([(4096, [extent(0, 1)])]) }
    #expect(throws: FormatError.self) { try encode([(0, [])]) }
    #expect(throws: FormatError.self) { try encode([(1, [extent(0, 1)]), (0, [extent(0, 1)])]) }
    #expect(throws: FormatError.self) { try encode([(1, [extent(0, 1)]), (1, [extent(0, 1)])]) }
    #expect(throws: FormatError.self) { try encode([(0, [extent(1, 2), extent(2, 1)])]) }
    #expect(throws: FormatError.self) { try encode([(0, [extent(61, 4)])]) }
    #expect(throws: FormatError.self) { try encode([(0, [extent(64, 1)])]) }
    #expect(throws: FormatError.self) {
      try encode([(0, [Extent(firstPage: 0, pageCount: 1, source: .zero)])])
    }
  }

  private func record(_ record: LogRecord, payloadPages: Int = 0) throws {
    _ = try FormatUnderTest.encodeRecord(
      record, payload: [UInt8](repeating: 0, count: payloadPages * Geometry.pageSize))
  }

  @Test func logRecords() throws {
    func data(_ runs: [PageRun], size: UInt64 = 0, file: FileID = 2) -> LogRecord {
      .data(DataRecord(file: file, size: size, time: Timestamp(nanoseconds: 0), runs: runs))
    }
    try record(data([]))
    try record(data([PageRun(0..<Limits.pageCount, isZero: true)]))
    try record(data([PageRun(0..<2, isZero: false)]), payloadPages: 2)
    #expect(throws: FormatError.self) { try record(data([PageRun(0..<2, isZero: false)])) }
    #expect(throws: FormatError.self) { try record(data([]), payloadPages: 1) }
    #expect(throws: FormatError.self) { try record(data([], file: 0)) }
    #expect(throws: FormatError.self) { try record(data([], size: Limits.regionSize + 1)) }
    #expect(throws: FormatError.self) { try record(data([PageRun(3..<3, isZero: true)])) }
    #expect(throws: FormatError.self) {
      try record(data([PageRun(0..<2, isZero: true), PageRun(1..<3, isZero: true)]))
    }
    #expect(throws: FormatError.self) {
      try record(data([PageRun(Limits.pageCount..<Limits.pageCount + 1, isZero: true)]))
    }
    #expect(throws: FormatError.self) {
      try record(data((0...UInt64(Limits.recordRuns)).map { PageRun($0..<$0 + 1, isZero: true) }))
    }
    #expect(throws: FormatError.self) {
      try record(data([PageRun(0..<1024, isZero: false)]), payloadPages: 1024)
    }
    #expect(throws: FormatError.self) { try record(.names([])) }
    #expect(throws: FormatError.self) {
      try record(.names(Array(repeating: .remove(2), count: Limits.recordNameChanges + 1)))
    }
    #expect(throws: FormatError.self) { try record(.names([.remove(2)]), payloadPages: 1) }
  }

  @Test func accessTraces() throws {
    let end = Limits.regionSize >> Geometry.standard.chunkShift
    func encode(_ entries: [AccessTrace.Entry]) throws -> [UInt8] {
      var trace = AccessTrace(group: .zero, geometry: .standard)
      trace.entries = entries
      return try AccessTraceCodec.encode(trace)
    }
    func entry(_ chunks: Range<ChunkIndex>, file: FileID = 1, unread: UInt8 = 0)
      -> AccessTrace.Entry
    {
      AccessTrace.Entry(file: file, chunks: chunks, unreadStarts: unread)
    }
    _ = try encode([])
    let most = UInt64(Limits.traceChunks)
    _ = try encode([entry(0..<1, unread: 1), entry(1..<2), entry(end - 1..<end)])
    #expect(try encode([entry(0..<most)]).count <= Limits.traceLength)
    let wrong = [
      [entry(0..<most), entry(most + 1..<most + 2)], [entry(0..<1, file: 0)],
      [entry(0..<1, file: Limits.fileID + 1)], [entry(3..<3)], [entry(end..<end + 1)],
      [entry(0..<1), entry(1..<2)], [entry(0..<4), entry(9..<10), entry(3..<5)],
      [entry(0..<1, unread: Limits.traceUnreadStarts)],
    ]
    for entries in wrong {
      #expect(throws: FormatError.self, "\(entries)") { try encode(entries) }
    }
  }

  @Test func logRecordsKnowTheirPlace() throws {
    let bytes = try FormatUnderTest.record.sample(2)
    _ = try LogCodec.decodeRecord(bytes, expectedSequence: 9, previousChain: 0x1234_5678)
    #expect(throws: FormatError.self) {
      try LogCodec.decodeRecord(bytes, expectedSequence: 10, previousChain: 0x1234_5678)
    }
    #expect(throws: FormatError(.checksum, what: "log record")) {
      try LogCodec.decodeRecord(bytes, expectedSequence: 9, previousChain: 0x1234_5679)
    }
    #expect(throws: FormatError(.notOurs, what: "log record")) {
      try LogCodec.decodeHeader([UInt8](repeating: 0, count: 64))
    }
  }

  /// A length beyond the limit is refused by the header alone, before anyone reads that much.
  @Test func recordLengthsAreBounded() throws {
    var bytes = try FormatUnderTest.record.sample(2)
    bytes[7] = 0x7F
    #expect(throws: FormatError.self) { try LogCodec.decodeHeader(bytes) }
  }
}
