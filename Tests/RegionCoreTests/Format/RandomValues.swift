import RegionTesting

@testable import RegionCore

/// Random valid values of every format, all from one seed.
struct RandomValues {
  var generator: SplitMix64
  let geometry: Geometry

  init(seed: UInt64) {
    generator = SplitMix64(seed: seed)
    let shift = UInt64.random(in: 16...23, using: &generator)
    geometry = Geometry(chunkSize: 1 << shift) ?? .standard
  }

  mutating func id() -> Random128 { .random(using: &generator) }
  mutating func number(_ range: ClosedRange<UInt64>) -> UInt64 {
    .random(in: range, using: &generator)
  }
  mutating func count(_ range: ClosedRange<Int>) -> Int { .random(in: range, using: &generator) }
  mutating func word() -> UInt32 { .random(in: 0 ... .max, using: &generator) }
  mutating func time() -> Timestamp {
    Timestamp(nanoseconds: .random(in: .min ... .max, using: &generator))
  }
  mutating func file() -> FileID { number(1...Limits.fileID) }
  mutating func object(epochs: ClosedRange<UInt64> = 1 ... .max) -> ObjectID {
    ObjectID(epoch: number(epochs), random: id())
  }
  mutating func commit() -> CommitID { CommitID(number: number(0 ... .max), nonce: id()) }

  mutating func name(longest: Int = 255) -> FileName {
    while true {
      let bytes = generator.bytes(count(1...longest)).map { $0 == 0 || $0 == 0x2F ? 0x61 : $0 }
      if let name = FileName(bytes) { return name }
    }
  }

  mutating func inode(_ id: FileID) -> Inode {
    let kinds: [InodeKind] = [.file, .directory, .symlink]
    let kind = kinds[count(0...2)]
    let target = kind == .symlink ? generator.bytes(count(1...60)).map { max($0, 1) } : []
    var parent = file()
    while parent == id { parent = file() }
    var inode = Inode(
      id: id, parent: id == 1 ? 0 : parent, name: id == 1 ? nil : name(longest: 40), kind: kind,
      mode: UInt16(count(0...0o7777)), uid: word(), gid: word(),
      size: kind == .file ? number(0...Limits.regionSize) : 0, time: time(), target: target)
    inode.modified = time()
    inode.changed = time()
    for index in 0..<count(0...2) {
      inode.xattrs.append(
        Inode.Xattr(name: [UInt8]("user.\(index)".utf8), value: generator.bytes(count(0...30))))
    }
    return inode
  }

  mutating func change(_ id: FileID) -> NameChange {
    generator.oneIn(3) ? .remove(id) : .set(inode(id))
  }

  mutating func root() -> Root {
    var root = Root(
      group: id(), geometry: geometry, claim: generator.oneIn(2) ? .free : .held(id()),
      holder: generator.oneIn(3) ? "" : "høst:/mnt/\(count(0...99))", nonce: id(), log: id(),
      time: time())
    root.epoch = number(1 ... .max)
    root.commit = CommitID(number: number(1000 ... .max), nonce: id())
    root.cut = number(0 ... .max)
    root.nextFileID = number(2...Limits.fileID)
    var newer = root.commit.number
    for _ in 0..<count(0...5) {
      newer -= number(0...2)
      root.history.append(CommitID(number: newer, nonce: id()))
    }
    if generator.oneIn(2) { root.checkpoint = checkpointReference(in: root) }
    root.tail = tail(of: root)
    for _ in 0..<count(0...3) {
      root.pendingDeletion.append(
        .init(
          isSegment: generator.oneIn(2), object: object(epochs: 1...root.epoch), droppedAt: time()))
    }
    for _ in 0..<count(0...1) { root.snapshots.append(commit()) }
    for _ in 0..<count(0...1) { root.clonePins.append(id()) }
    return root
  }

  private mutating func checkpointReference(in root: Root) -> Root.CheckpointReference {
    Root.CheckpointReference(
      object: object(epochs: 1...root.epoch), indexOffset: number(64...1 << 40),
      indexLength: UInt32(count(1...Limits.indexLength)), indexChecksum: word(),
      commit: CommitID(number: number(0...root.commit.number - 500), nonce: id()))
  }

  private mutating func tail(of root: Root) -> [Root.SegmentReference] {
    var tail: [Root.SegmentReference] = []
    var commit = root.commit.number - 400
    for _ in 0..<count(0...4) {
      let place = UInt32(count(64...1 << 24))
      let table = UInt32(count(1...Limits.tableLength))
      tail.append(
        .init(
          object: object(epochs: 1...root.epoch), commit: commit,
          length: place + table + UInt32(SegmentCodec.footerLength), tableOffset: place,
          tableLength: table, tableChecksum: word()))
      commit += number(0...2)
    }
    return tail
  }

  /// A unit extent of some pages of the chunk whose first page is `chunk`, at page `page` of it.
  mutating func extent(chunk: PageIndex, page: UInt64, count pages: UInt64, segment: ObjectID)
    -> Extent
  {
    let unitPages = number(pages...geometry.pagesPerChunk)
    let unit = StoredUnit(
      segment: segment, offset: number(64...10 << 20), storedLength: UInt32(unitPages * 4096),
      pageCount: UInt32(unitPages), checksum: word())
    return Extent(
      firstPage: chunk + page, pageCount: pages,
      source: .unit(unit, firstPageInUnit: UInt32(number(0...unitPages - pages))))
  }

  mutating func table(segment: ObjectID) -> SegmentTable {
    var table = SegmentTable(
      group: id(), epoch: number(1 ... .max), commit: number(0 ... .max), parent: id(), index: 1,
      count: UInt16(count(2...Limits.commitSegments)))
    let data = file()
    for chunk in 0..<UInt64(count(0...3)) {
      let pages = number(1...4)
      let extent = extent(
        chunk: geometry.firstPage(of: chunk), page: number(0...12), count: pages, segment: segment)
      table.changes.append(.data(data, extent, pageChecksums: (0..<pages).map { _ in word() }))
    }
    let first = number(geometry.firstPage(of: 4)...Limits.pageCount - 1)
    table.changes.append(.zero(data, first..<number(first + 1...Limits.pageCount)))
    for id in 1...FileID(count(1...3)) { table.changes.append(.name(change(id))) }
    table.changes.shuffle(using: &generator)
    return table
  }

  mutating func index() -> CheckpointIndex {
    var index = CheckpointIndex(group: id(), commit: commit(), mapPages: [], namePages: [])
    let objects = (0..<3).map { _ in object() }
    for file in 1...FileID(count(1...3)) {
      for number in 0..<UInt32(count(0...3)) {
        index.mapPages.append(.init(file: file, number: number, page: reference(objects)))
      }
    }
    for number in 0..<UInt32(count(0...3)) {
      index.namePages.append(.init(number: number, page: reference(objects)))
    }
    return index
  }

  private mutating func reference(_ objects: [ObjectID]) -> CheckpointIndex.PageReference {
    .init(
      object: objects[count(0...objects.count - 1)], offset: number(64...1 << 40),
      length: UInt32(count(1...Limits.mapPageLength)), checksum: word())
  }

  mutating func mapPage() -> MapPage {
    var page = MapPage(chunks: [])
    let segments = (0..<2).map { _ in object() }
    var next = 0
    for _ in 0..<count(0...3) {
      next += count(0...1000)
      var chunk = MapPage.Chunk(index: UInt16(next), extents: [])
      next += 1
      var at: UInt64 = 0
      while at < 12, chunk.extents.isEmpty || !generator.oneIn(3) {
        at += number(0...2)
        let pages = number(1...3)
        chunk.extents.append(
          extent(chunk: 0, page: at, count: pages, segment: segments[count(0...1)]))
        at += pages
      }
      page.chunks.append(chunk)
    }
    return page
  }

  mutating func namePage() -> NamePage {
    let first = generator.oneIn(2) ? 1 : Limits.inodesPerNamePage * number(1...1000)
    var ids: Set<FileID> = []
    for _ in 0..<count(0...3) { ids.insert(first + number(0...500)) }
    return NamePage(inodes: ids.sorted().map { inode($0) })
  }

  mutating func logHeader() -> LogFileHeader {
    LogFileHeader(
      group: id(), epoch: number(1 ... .max), writer: id(), log: id(), base: commit(),
      index: word(), firstSequence: number(1 ... .max), chain: word())
  }

  /// A record with its payload.
  mutating func record() -> (LogRecord, payload: [UInt8]) {
    guard generator.oneIn(2) else {
      return (.names((0..<count(1...3)).map { _ in change(file()) }), [])
    }
    var data = DataRecord(file: file(), size: number(0...Limits.regionSize), time: time(), runs: [])
    var at = number(0...Limits.pageCount / 2)
    for _ in 0..<count(0...4) {
      let isZero = generator.oneIn(2)
      let pages = number(1...(isZero ? 1 << 20 : 2))
      data.runs.append(PageRun(at..<at + pages, isZero: isZero))
      at += pages + number(0...3)
    }
    return (.data(data), generator.bytes(Int(data.payloadPages) * Geometry.pageSize))
  }

  mutating func groupRecord() -> GroupRecord {
    GroupRecord(group: id(), name: name(), kind: .directory, serial: number(0 ... .max))
  }

  mutating func accessTrace() -> AccessTrace {
    var trace = AccessTrace(group: id(), geometry: geometry)
    let files = (0..<3).map { _ in file() }
    var next: ChunkIndex = 0
    for _ in 0..<count(0...6) {
      next += number(1...1000)
      let chunks = next..<next + number(1...20)
      next = chunks.upperBound
      trace.entries.append(
        AccessTrace.Entry(
          file: files[count(0...2)], chunks: chunks, unreadStarts: UInt8(count(0...3))))
    }
    trace.entries.shuffle(using: &generator)
    return trace
  }

  mutating func startHint() -> StartHint {
    StartHint(
      (0..<count(0...Limits.startHintEntries)).map { _ in
        let place = StartHint.Place(group: id(), file: file(), chunk: number(0...0xFFFF))
        let start: UInt64 = number(0...0xFFFFF)
        return StartHint.Entry(
          place: place, segment: object(), range: start..<start + number(1...1 << 20))
      })
  }

  mutating func nameList() -> NameList {
    var entries: [FileName: NameList.Entry] = [:]
    for _ in 0..<count(0...6) {
      let record = groupRecord()
      let isKnown = generator.oneIn(2)
      entries[record.name] = NameList.Entry(
        name: record.name, record: isKnown ? record : nil,
        etag: ETag(isKnown ? "\"\(word())\"" : ""))
    }
    return NameList(
      store: "s3://bucket/\(word())", isChecked: generator.oneIn(2),
      entries: entries.values.sorted { $0.name < $1.name })
  }

  mutating func stateHeader() -> StateFileHeader {
    StateFileHeader(
      group: id(), file: file(), geometry: geometry, commit: commit(), bootID: id(),
      isClean: generator.oneIn(2))
  }
}
