import Locks

/// A group's committed map: which extents hold each chunk. Pages of the checkpoint are fetched when
/// first needed and kept while there is room.
public final class RemoteMap: Sendable {
  private struct PageKey: Hashable {
    var file: FileID
    var number: UInt32
  }

  private struct State {
    /// The checkpoint's pages.
    var index: [PageKey: CheckpointIndex.PageReference] = [:]
    /// Decoded pages by what they are decoded from: equal references share one.
    var pages: [CheckpointIndex.PageReference: DecodedPage] = [:]
    /// When a decoded page was last used, counted in uses.
    var uses: UInt64 = 0
    /// Changes since the checkpoint.
    var files: [FileID: FileMap] = [:]
    /// Pages being fetched.
    var fetches: [CheckpointIndex.PageReference: Task<Result<DecodedPage, RemoteError>, Never>] =
      [:]
  }

  /// A map page, searchable by chunk.
  final class DecodedPage: Sendable {
    let chunks: [UInt16: [Extent]]
    let lastUse = Lock<UInt64>(0)
    init(_ page: MapPage) {
      chunks = Dictionary(page.chunks.map { ($0.index, $0.extents) }, uniquingKeysWith: { $1 })
    }
  }

  /// Decoded pages kept in memory; a full one is a few hundred KiB.
  static let pageLimit = 24

  private let state = Lock(State())
  private let objects: GroupObjects
  let geometry: Geometry

  /// A map of a group whose objects are read through `objects`.
  init(objects: GroupObjects, geometry: Geometry) {
    self.objects = objects
    self.geometry = geometry
  }

  /// Starts over from a checkpoint (nil: an empty map) and the tables since, in one step: a reader
  /// never sees the one without the others. Files in `orphans` keep what they have.
  func reset(to index: CheckpointIndex?, tables: [SegmentTable], keeping orphans: Set<FileID> = [])
  {
    state.withLock { state in
      let kept = state.files.filter { orphans.contains($0.key) }
      let keptPages = state.index.filter { orphans.contains($0.key.file) }
      state.index = keptPages
      state.files = [:]
      for entry in index?.mapPages ?? [] where !orphans.contains(entry.file) {
        state.index[PageKey(file: entry.file, number: entry.number)] = entry.page
      }
      for table in tables { Self.apply(table, to: &state, geometry: geometry, keeping: orphans) }
      for file in orphans { state.files[file] = kept[file] }
    }
  }

  /// Takes over a new checkpoint that holds everything up to what `applied` are the later tables of.
  func rebase(to index: CheckpointIndex, later: [SegmentTable], keeping orphans: Set<FileID>) {
    state.withLock { state in
      let kept = state.files.filter { orphans.contains($0.key) }
      let keptPages = state.index.filter { orphans.contains($0.key.file) }
      state.index = keptPages
      for entry in index.mapPages {
        state.index[PageKey(file: entry.file, number: entry.number)] = entry.page
      }
      state.files = kept
      for table in later { Self.apply(table, to: &state, geometry: geometry, keeping: orphans) }
    }
  }

  /// Adds a committed table. Files in `orphans` are removed but still open here: they keep theirs.
  func apply(_ table: SegmentTable, keeping orphans: Set<FileID> = []) {
    state.withLock { Self.apply(table, to: &$0, geometry: geometry, keeping: orphans) }
  }

  private static func apply(
    _ table: SegmentTable, to state: inout State, geometry: Geometry, keeping orphans: Set<FileID>
  ) {
    for change in table.changes {
      switch change {
      case .data(let file, let extent, _):
        state.files[file, default: FileMap()].apply(extent, geometry: geometry)
      case .zero(let file, let pages):
        state.files[file, default: FileMap()].applyZero(pages, geometry: geometry)
      case .name(.remove(let file)):
        if !orphans.contains(file) { forget(file, in: &state) }
      case .name(.set): break
      }
    }
  }

  /// Whether a page of the map lies in the object.
  func refers(to entry: Root.PendingDeletion) -> Bool {
    guard !entry.isSegment else { return false }
    return state.withLock { state in state.index.values.contains { $0.object == entry.object } }
  }

  /// Drops all that is known of a file.
  func forget(_ file: FileID) { state.withLock { Self.forget(file, in: &$0) } }

  private static func forget(_ file: FileID, in state: inout State) {
    state.files[file] = nil
    let gone = state.index.keys.filter { $0.file == file }
    for key in gone { state.index[key] = nil }
  }

  /// What is known of a chunk without asking the store: its extents (none: it reads as zeros), or
  /// nil if a page of the map has to be fetched.
  func known(_ file: FileID, _ chunk: ChunkIndex) -> [Extent]? {
    state.withLock { state in
      let base: [Extent]?
      if let reference = state.index[Self.key(file, chunk)] {
        base = Self.use(reference, in: &state).map { Self.extents(of: chunk, in: $0, geometry) }
      } else {
        base = []
      }
      guard let files = state.files[file] else { return base }
      return files.resolve(chunk, base: base, geometry: geometry)
    }
  }

  /// The chunk's extents, fetching the page of the map if it has to.
  func extents(
    _ file: FileID, _ chunk: ChunkIndex, priority: TransferPriority
  ) async throws(RemoteError) -> [Extent] {
    while true {
      if let extents = known(file, chunk) { return extents }
      guard let reference = state.withLock({ $0.index[Self.key(file, chunk)] }) else { continue }
      _ = try await page(at: reference, priority: priority)
    }
  }

  /// The first chunk at or after `chunk` that may hold data; nil if there is none. A chunk of a map
  /// page that is not in memory may hold data.
  func nextMapped(_ file: FileID, from chunk: ChunkIndex, below end: ChunkIndex) -> ChunkIndex? {
    guard chunk < end else { return nil }
    return state.withLock { state in
      let patches = state.files[file]?.patches ?? [:]
      // The frequent case: the very next chunk.
      if patches[chunk] != nil { return chunk }
      if let reference = state.index[Self.key(file, chunk)] {
        guard let page = state.pages[reference] else { return chunk }
        if page.chunks[UInt16(chunk % Limits.chunksPerMapPage)] != nil { return chunk }
      }
      var nearest = patches.keys.filter { $0 > chunk }.min() ?? end
      let numbers = state.index.keys.filter {
        $0.file == file && (UInt64($0.number) + 1) * Limits.chunksPerMapPage > chunk
      }.map(\.number).sorted()
      for number in numbers {
        let first = UInt64(number) * Limits.chunksPerMapPage
        guard first < nearest, let reference = state.index[PageKey(file: file, number: number)]
        else {
          break
        }
        guard let page = state.pages[reference] else {
          nearest = min(nearest, max(first, chunk))
          break
        }
        if let next = page.chunks.keys.map({ first + UInt64($0) }).filter({ $0 > chunk }).min() {
          nearest = min(nearest, next)
          break
        }
      }
      return nearest < end ? nearest : nil
    }
  }

  /// What a new checkpoint needs: for each file and page number that changed since the last one the
  /// old reference (if any) and the changes; and the references that stay as they are.
  func checkpointInput() -> (
    unchanged: [CheckpointIndex.MapPageEntry],
    changed: [(file: FileID, number: UInt32, old: CheckpointIndex.PageReference?, map: FileMap)]
  ) {
    state.withLock { state in
      var changed: [(FileID, UInt32, CheckpointIndex.PageReference?, FileMap)] = []
      var touched = Set<PageKey>()
      // Files and pages in order: which page is asked for first depends on no hash.
      for (file, map) in state.files.sorted(by: { $0.key < $1.key }) {
        let keys = Self.touchedPages(of: file, map, state.index, geometry)
        for key in keys.sorted(by: { $0.number < $1.number }) {
          touched.insert(key)
          changed.append((file, key.number, state.index[key], map))
        }
      }
      let unchanged = state.index.filter { !touched.contains($0.key) }.map {
        CheckpointIndex.MapPageEntry(file: $0.key.file, number: $0.key.number, page: $0.value)
      }
      return (unchanged, changed)
    }
  }

  /// Pages of the map that a file's changes reach. Zeros reach only pages that exist.
  private static func touchedPages(
    of file: FileID, _ map: FileMap, _ index: [PageKey: CheckpointIndex.PageReference],
    _ geometry: Geometry
  ) -> Set<PageKey> {
    var keys = Set(map.patches.keys.map { key(file, $0) })
    for range in map.zeroed.ranges {
      let chunks = geometry.chunks(touchingPages: range)
      let first = chunks.lowerBound / Limits.chunksPerMapPage
      let last = (chunks.upperBound - 1) / Limits.chunksPerMapPage
      for key in index.keys where key.file == file && (first...last).contains(UInt64(key.number)) {
        keys.insert(key)
      }
    }
    return keys
  }

  /// The decoded page at `reference`, from memory or the store; several callers share one fetch.
  func page(
    at reference: CheckpointIndex.PageReference, priority: TransferPriority
  ) async throws(RemoteError) -> DecodedPage {
    let task: Task<Result<DecodedPage, RemoteError>, Never>? = state.withLock { state in
      if Self.use(reference, in: &state) != nil { return nil }
      if let running = state.fetches[reference] { return running }
      let task = Task(executorPreference: objects.engine.executor) {
        await self.fetch(reference, priority: priority)
      }
      state.fetches[reference] = task
      return task
    }
    guard let task else {
      if let page = state.withLock({ Self.use(reference, in: &$0) }) { return page }
      return try await page(at: reference, priority: priority)
    }
    return try await task.value.get()
  }

  private func fetch(
    _ reference: CheckpointIndex.PageReference, priority: TransferPriority
  ) async -> Result<DecodedPage, RemoteError> {
    let result: Result<DecodedPage, RemoteError>
    do throws(RemoteError) {
      let bytes = try await objects.page(reference, what: "map page", priority: priority)
      let page = try objects.parsing(objects.mapKey(reference.object)) { () throws(FormatError) in
        try CheckpointCodec.decodeMapPage(bytes, geometry: geometry)
      }
      result = .success(DecodedPage(page))
    } catch {
      result = .failure(error)
    }
    state.withLock { state in
      state.fetches[reference] = nil
      guard case .success(let page) = result else { return }
      Self.makeRoom(in: &state)
      state.pages[reference] = page
      _ = Self.use(reference, in: &state)
    }
    return result
  }

  private static func makeRoom(in state: inout State) {
    guard state.pages.count >= pageLimit else { return }
    let oldest = state.pages.min { a, b in
      a.value.lastUse.withLock { $0 } < b.value.lastUse.withLock { $0 }
    }
    if let oldest { state.pages[oldest.key] = nil }
  }

  private static func use(
    _ reference: CheckpointIndex.PageReference, in state: inout State
  ) -> DecodedPage? {
    guard let page = state.pages[reference] else { return nil }
    state.uses += 1
    let now = state.uses
    page.lastUse.withLock { $0 = now }
    return page
  }

  private static func key(_ file: FileID, _ chunk: ChunkIndex) -> PageKey {
    PageKey(file: file, number: UInt32(chunk / Limits.chunksPerMapPage))
  }

  /// A page's extents of one chunk, with pages counted from the file's start.
  static func extents(of chunk: ChunkIndex, in page: DecodedPage, _ geometry: Geometry) -> [Extent]
  {
    let first = geometry.firstPage(of: chunk)
    let relative = page.chunks[UInt16(chunk % Limits.chunksPerMapPage)] ?? []
    return relative.map {
      Extent(firstPage: first + $0.firstPage, pageCount: $0.pageCount, source: $0.source)
    }
  }
}
