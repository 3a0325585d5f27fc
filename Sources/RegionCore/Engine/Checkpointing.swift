/// Writing checkpoints: once the tail of segments is long, map and names go into pages, so that a
/// mount reads few objects. No content changes.
extension Group {
  /// Bytes of their tables after which one is due.
  private static let tailTableBytes = 8 << 20

  var needsCheckpoint: Bool {
    state.withLock { state in
      state.root.tail.count >= engine.settings.checkpointSegments
        || state.root.tail.reduce(0) { $0 + Int($1.tableLength) } >= Self.tailTableBytes
    }
  }

  /// Whether the tail may not hold another commit's segments. Never with a sealed push at hand: that
  /// was sealed after this was asked, and the tail is as long as it was.
  var needsCheckpointFirst: Bool {
    state.withLock { state in
      state.sealed == nil && state.root.tail.count > Limits.tailSegments - Limits.commitSegments
    }
  }

  /// Writes a checkpoint of the newest commit and makes the root refer to it.
  func checkpoint() async throws(PushError) {
    let (root, names) = state.withLock { ($0.root, committedInodes($0)) }
    let built: CheckpointWriter.Built
    do throws(CheckpointError) {
      built = try await CheckpointWriter.build(
        map, files: Set(names.map(\.id)), names, of: root,
        as: ObjectID(epoch: root.epoch, random: engine.freshID()), priority: .background)
    } catch {
      switch error {
      case .remote(let error): throw .remote(error)
      case .format(let error): throw .format(error)
      }
    }
    try await remote({ () async throws(RemoteError) in
      try await objects.create(objects.mapKey(built.reference.object), built.body)
    })
    keepCopies(built.body, built.reference, built.index)
    var new = root
    new.install(built.reference, index: built.index, at: engine.clock.wall)
    let committed = new
    try await swap(to: committed) { group, etag in
      group.state.withLock { state in
        state.root = committed
        state.etag = etag
        group.map.rebase(to: built.index, later: [], keeping: state.orphans)
        state.tail = TailChanges(after: root.commit.number)
      }
    }
    objects.keeping { () throws(LocalError) in
      try objects.copies?.retain(committed.pieceNames(built.index))
    }
    await collectGarbage()
  }

  /// Keeps copies of the pages of a checkpoint that was uploaded.
  private func keepCopies(
    _ body: IOBuffer, _ reference: Root.CheckpointReference, _ index: CheckpointIndex
  ) {
    let key = objects.mapKey(reference.object)
    objects.keep(key, body, offset: reference.indexOffset, length: reference.indexLength)
    for page in index.mapPages.map(\.page) + index.namePages.map(\.page)
    where page.object == reference.object {
      objects.keep(key, body, offset: page.offset, length: page.length)
    }
  }

  /// The inodes as the newest commit has them: without what was accepted since.
  private func committedInodes(_ state: borrowing State) -> [Inode] {
    var inodes = Dictionary(state.namespace.all.map { ($0.id, $0) }, uniquingKeysWith: { $1 })
    for (id, before) in state.before { inodes[id] = before }
    return inodes.values.sorted { $0.id < $1.id }
  }

  /// Deletes objects that nothing has referred to for the grace time. The root forgets them with the
  /// next commit.
  private func collectGarbage() async {
    let now = engine.clock.wall
    let grace = Int64(clamping: engine.settings.collectionGrace.wholeNanoseconds)
    let due = state.withLock { state in
      state.root.pendingDeletion.filter { now.nanoseconds - $0.droppedAt.nanoseconds >= grace }
    }
    guard !due.isEmpty else { return }
    let fenced: Epoch
    do throws(RemoteError) {
      fenced = try await objects.fencedEpoch() ?? 0
    } catch {
      engine.log(.warning, "cannot tell which objects of group \(id) are not needed: \(error)")
      return
    }
    // Who lost a claim may still save what it had not committed, on top of the map of its time.
    // And a file that was removed may still be open here, with its map in an old checkpoint.
    for entry in due where entry.object.epoch > fenced && !map.refers(to: entry) {
      let key = entry.isSegment ? objects.segmentKey(entry.object) : objects.mapKey(entry.object)
      do throws(StoreError) {
        try await engine.store.delete(key)
        state.withLock { state in _ = state.collected.insert(entry) }
      } catch {
        engine.log(.warning, "cannot delete an object that is not needed any more: \(error)")
      }
    }
  }
}

extension CheckpointIndex {
  /// Whether any page lies in the object.
  func refers(to object: ObjectID) -> Bool {
    mapPages.contains { $0.page.object == object }
      || namePages.contains { $0.page.object == object }
  }
}

/// Why a checkpoint could not be put together.
enum CheckpointError: Error {
  /// A page of the one before could not be read.
  case remote(RemoteError)
  /// A limit of the format.
  case format(FormatError)
}

/// Puts a checkpoint object together.
struct CheckpointWriter {
  /// The object, and how a root refers to it.
  typealias Built = (
    body: IOBuffer, reference: Root.CheckpointReference, index: CheckpointIndex
  )

  /// The checkpoint of a root's commit: the map's pages of `files`, of which those that did not change
  /// are referred to, and the names.
  static func build(
    _ map: RemoteMap, files: Set<FileID>, _ inodes: [Inode], of root: Root, as object: ObjectID,
    priority: TransferPriority
  ) async throws(CheckpointError) -> Built {
    var writer = CheckpointWriter(
      group: root.group, object: object, commit: root.commit, geometry: root.geometry)
    let input = map.checkpointInput()
    for (file, number, old, changes) in input.changed where files.contains(file) {
      var base: RemoteMap.DecodedPage?
      if let old {
        do throws(RemoteError) {
          base = try await map.page(at: old, priority: priority)
        } catch {
          throw .remote(error)
        }
      }
      do throws(FormatError) {
        try writer.addMapPage(file, number, base: base, changes: changes)
      } catch {
        throw .format(error)
      }
    }
    for entry in input.unchanged where files.contains(entry.file) { writer.keep(entry) }
    do throws(FormatError) {
      try writer.addNames(inodes)
      return try writer.finish()
    } catch {
      throw .format(error)
    }
  }

  private let group: GroupID
  private let commit: CommitID
  private let geometry: Geometry
  private let object: ObjectID
  private var bytes: [UInt8]
  private var index: CheckpointIndex

  init(group: GroupID, object: ObjectID, commit: CommitID, geometry: Geometry) {
    self.group = group
    self.commit = commit
    self.geometry = geometry
    self.object = object
    bytes = CheckpointCodec.encodeHeader(group: group, epoch: object.epoch, commit: commit.number)
    index = CheckpointIndex(group: group, commit: commit, mapPages: [], namePages: [])
  }

  /// A page that stays as it is, in an older object.
  private mutating func keep(_ entry: CheckpointIndex.MapPageEntry) { index.mapPages.append(entry) }

  /// A page of the map: the old one (nil: none) with the changes applied.
  mutating func addMapPage(
    _ file: FileID, _ number: UInt32, base: RemoteMap.DecodedPage?, changes: FileMap
  ) throws(FormatError) {
    let first = UInt64(number) * Limits.chunksPerMapPage
    let range = first..<first + Limits.chunksPerMapPage
    var chunks = Set((base?.chunks.keys).map { $0.map { first + UInt64($0) } } ?? [])
    chunks.formUnion(changes.patches.keys.filter { range.contains($0) })
    var page = MapPage(chunks: [])
    for chunk in chunks.sorted() {
      let old = base.map { RemoteMap.extents(of: chunk, in: $0, geometry) } ?? []
      let extents = (changes.resolve(chunk, base: old, geometry: geometry) ?? []).map {
        Extent(
          firstPage: $0.firstPage - geometry.firstPage(of: chunk), pageCount: $0.pageCount,
          source: $0.source)
      }
      if !extents.isEmpty {
        page.chunks.append(MapPage.Chunk(index: UInt16(chunk - first), extents: extents))
      }
    }
    guard !page.chunks.isEmpty else { return }
    let reference = append(try CheckpointCodec.encodeMapPage(page, geometry: geometry))
    index.mapPages.append(
      CheckpointIndex.MapPageEntry(file: file, number: number, page: reference))
  }

  /// The pages of names.
  mutating func addNames(_ inodes: [Inode]) throws(FormatError) {
    let pages = Dictionary(grouping: inodes) { $0.id / Limits.inodesPerNamePage }
    for (number, inodes) in pages.sorted(by: { $0.key < $1.key }) {
      let page = NamePage(inodes: inodes.sorted { $0.id < $1.id })
      let reference = append(try CheckpointCodec.encodeNamePage(page))
      index.namePages.append(CheckpointIndex.NamePageEntry(number: UInt32(number), page: reference))
    }
  }

  private mutating func append(_ page: [UInt8]) -> CheckpointIndex.PageReference {
    defer { bytes += page }
    return CheckpointIndex.PageReference(
      object: object, offset: UInt64(bytes.count), length: UInt32(page.count),
      checksum: CRC32C.checksum(page))
  }

  /// The finished object.
  mutating func finish() throws(FormatError) -> Built {
    index.mapPages.sort { ($0.file, $0.number) < ($1.file, $1.number) }
    let encoded = try CheckpointCodec.encodeIndex(index)
    let reference = Root.CheckpointReference(
      object: object, indexOffset: UInt64(bytes.count), indexLength: UInt32(encoded.count),
      indexChecksum: CRC32C.checksum(encoded), commit: commit)
    return (IOBuffer(bytes + encoded), reference, index)
  }
}
