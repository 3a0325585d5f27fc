import RegionCore
import RegionTesting
import Testing

/// Values survive the way to bytes and back.
@Suite struct CodecRoundTripTests {
  static let seeds: Range<UInt64> = 0..<200

  @Test func roots() throws {
    for seed in Self.seeds {
      var values = RandomValues(seed: seed)
      let root = values.root()
      #expect(try RootCodec.decode(RootCodec.encode(root)) == root, "seed \(seed)")
    }
  }

  @Test func segmentTables() throws {
    for seed in Self.seeds {
      var values = RandomValues(seed: seed)
      let segment = values.object()
      let table = values.table(segment: segment)
      let bytes = try SegmentCodec.encodeTable(table, geometry: values.geometry)
      let found = try SegmentCodec.decodeTable(
        bytes, segment: segment, payloadEnd: FormatUnderTest.payloadEnd, geometry: values.geometry)
      #expect(found == table, "seed \(seed)")
    }
  }

  @Test func tableUnitsAreOfTheSegmentThatIsRead() throws {
    var values = FormatUnderTest.values(3)
    let extent = values.extent(chunk: 0, page: 0, count: 1, segment: values.object())
    let table = SegmentTable(
      group: .zero, epoch: 1, commit: 1, parent: .zero, index: 0, count: 1,
      changes: [.data(2, extent, pageChecksums: [1])])
    let bytes = try SegmentCodec.encodeTable(table, geometry: values.geometry)
    let read = values.object()
    let found = try SegmentCodec.decodeTable(
      bytes, segment: read, payloadEnd: FormatUnderTest.payloadEnd, geometry: values.geometry)
    guard case .data(_, let extent, _) = found.changes.first,
      case .unit(let unit, _) = extent.source
    else {
      Issue.record("no data change")
      return
    }
    #expect(unit.segment == read)
  }

  @Test func footersAndHeaders() throws {
    let footer = try SegmentCodec.decodeFooter(
      SegmentCodec.encodeFooter(tableOffset: 100, tableLength: 200, tableChecksum: 7))
    #expect(
      footer == (100, 200, 7, 100 + 200 + UInt32(SegmentCodec.footerLength)))
    let group = Random128(high: 1, low: 2)
    let segment = SegmentCodec.encodeHeader(group: group, epoch: 3, commit: 4)
    #expect(segment.count == SegmentCodec.headerLength)
    #expect(try SegmentCodec.decodeHeader(segment) == (group, 3, 4))
    let checkpoint = CheckpointCodec.encodeHeader(group: group, epoch: 3, commit: 4)
    #expect(checkpoint.count == CheckpointCodec.headerLength)
    #expect(try CheckpointCodec.decodeHeader(checkpoint) == (group, 3, 4))
  }

  @Test func checkpoints() throws {
    for seed in Self.seeds {
      var values = RandomValues(seed: seed)
      let index = values.index()
      #expect(try CheckpointCodec.decodeIndex(CheckpointCodec.encodeIndex(index)) == index)
      let map = values.mapPage()
      let bytes = try CheckpointCodec.encodeMapPage(map, geometry: values.geometry)
      #expect(try CheckpointCodec.decodeMapPage(bytes, geometry: values.geometry) == map)
      let names = values.namePage()
      #expect(try CheckpointCodec.decodeNamePage(CheckpointCodec.encodeNamePage(names)) == names)
    }
  }

  @Test func mapPagesTake28BytesAnExtent() throws {
    let unit = StoredUnit(
      segment: FormatUnderTest.segment, offset: 64, storedLength: 4096, pageCount: 1, checksum: 1)
    func page(_ extents: Int) -> MapPage {
      MapPage(chunks: [
        .init(
          index: 0,
          extents: (0..<extents).map {
            Extent(
              firstPage: UInt64($0), pageCount: 1, source: .unit(unit, firstPageInUnit: 0))
          })
      ])
    }
    let one = try CheckpointCodec.encodeMapPage(page(1), geometry: .standard).count
    let many = try CheckpointCodec.encodeMapPage(page(64), geometry: .standard).count
    #expect(many - one == 63 * 28)
  }

  @Test func logFiles() throws {
    for seed in Self.seeds {
      var values = RandomValues(seed: seed)
      let header = values.logHeader()
      let bytes = LogCodec.encodeFileHeader(header)
      #expect(bytes.count == LogCodec.fileHeaderLength)
      #expect(try LogCodec.decodeFileHeader(bytes) == header)
    }
  }

  @Test func logsOfManyRecords() throws {
    for seed in 0..<20 as Range<UInt64> {
      var values = RandomValues(seed: seed)
      var header = values.logHeader()
      header.firstSequence = 1000
      var chain = header.chain
      var log: [UInt8] = []
      var written: [(record: LogRecord, payload: [UInt8])] = []
      for number in 0..<10 as Range<UInt64> {
        let entry = values.record()
        // SAFETY: the payload outlives the call.
        let (head, next) = try unsafe entry.payload.withUnsafeBytes {
          try unsafe LogCodec.encodeHead(
            entry.0, sequence: 1000 + number, previousChain: chain, payload: $0)
        }
        chain = next
        log += head + entry.payload
        written.append((entry.0, entry.payload))
      }
      var reader = LogReader(header)
      var rest = log[...]
      for entry in written {
        let length = try reader.length(ofRecordWith: rest)
        let bytes = rest.prefix(length)
        let found = try reader.read(bytes)
        #expect(found.record == entry.record)
        #expect([UInt8](bytes.dropFirst(found.payloadOffset)) == entry.payload)
        rest = rest.dropFirst(length)
      }
      #expect(rest.isEmpty && reader.chain == chain && reader.nextSequence == 1010)
    }
  }

  @Test func groupRecordsAndStates() throws {
    for seed in Self.seeds {
      var values = RandomValues(seed: seed)
      let record = values.groupRecord()
      #expect(try GroupRecordCodec.decode(GroupRecordCodec.encode(record)) == record)
      let header = values.stateHeader()
      let bytes = StateFileCodec.encode(header)
      #expect(bytes.count == StateFileCodec.headerLength)
      #expect(try StateFileCodec.decode(bytes) == header)
    }
  }

  /// The fullest root that the limits allow fits its limit.
  @Test func theFullestRootFits() throws {
    var values = RandomValues(seed: 1)
    var root = values.root()
    root.epoch = 9
    root.holder = String(repeating: "h", count: 255)
    root.history = (0..<Limits.rootHistory).map { _ in
      CommitID(number: root.commit.number, nonce: values.id())
    }
    root.tail = (0..<Limits.tailSegments).map { _ in
      .init(
        object: ObjectID(epoch: 9, random: values.id()), commit: root.commit.number, length: 140,
        tableOffset: 64, tableLength: 36, tableChecksum: 0)
    }
    root.pendingDeletion = (0..<Limits.pendingDeletions).map { _ in
      .init(
        isSegment: true, object: ObjectID(epoch: 9, random: values.id()),
        droppedAt: values.time())
    }
    root.snapshots = (0..<Limits.rootPins).map { _ in values.commit() }
    root.clonePins = (0..<Limits.rootPins).map { _ in values.id() }
    root.checkpoint = nil
    let bytes = try RootCodec.encode(root)
    #expect(bytes.count <= Limits.rootLength)
    #expect(try RootCodec.decode(bytes) == root)
  }
}
