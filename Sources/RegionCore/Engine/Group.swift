import Glibc
import Locks

/// A group as this mount has it: its committed tree, its log of uncommitted changes, its cached
/// regions. The unit of ownership and of consistency.
///
/// `state` is the group's lock. It is held while a change is logged and applied (local disk only),
/// never across anything that waits for the store. A region's lock may be taken inside it.
public final class Group: Sendable {
  /// Who may change the group here.
  enum Role {
    /// Nobody: it is read as the store has it.
    case follower
    /// A claim is on its way; those who wait for it.
    case claiming([@Sendable (RegionError?) -> Void])
    /// This daemon.
    case writer
    /// Nobody any more: reads go on, changes answer `error`. The reason in words.
    case stopped(RegionError, reason: String)
  }

  /// A region that is open, or was and is kept.
  struct OpenRegion {
    var region: Region
    var opens = 0
    var writableOpens = 0
  }

  /// A replacement of the root that is under way.
  struct PendingSwap {
    var root: Root
    /// Told the group, which keeps it and would never end if it kept the group.
    var finish: @Sendable (Group, ETag) -> Void
  }

  /// What the lock guards.
  struct State {
    var role = Role.follower
    var root: Root
    var etag: ETag
    /// The root is one that the store has shown. Else it is the cache's copy, and nothing is pushed
    /// before the store was asked (`verify`).
    var isVerified = true
    /// A look for newer commits is under way.
    var isFollowing = false
    var forgetting = Forgetting()
    /// When the root was last known to be the newest.
    var checkedAt: MonotonicTime
    var namespace: Namespace
    /// Removed inodes that are still open.
    var unlinked: [FileID: Inode] = [:]
    var regions: [FileID: OpenRegion] = [:]
    /// Raised when other writers' commits were adopted: what the kernel has cached may be old.
    var generation: UInt64 = 0
    /// The generation at which each file was last opened.
    var openedAt: [FileID: UInt64] = [:]
    var tail = TailChanges()
    var log: WriteLog?
    var push = PushState()
    /// The recipe of the push under way, kept until it is committed.
    var sealed: Recipe?
    /// The entries that it was made of: they are sealed anew if a predecessor's commit comes between.
    var sealedEntries: [LogEntry] = []
    /// A replacement of the root of which the store has not said what became of it.
    var pendingSwap: PendingSwap?
    /// Objects of the root's list of deletions that are gone.
    var collected = Set<Root.PendingDeletion>()
    /// Inodes as they were before the unsealed entries that touch them.
    var before: [FileID: Inode?] = [:]
    var sync = SyncState()
    var space = SpaceGuard()
    var pacing = WritePacing()
    /// Mutations that wait for room in the log or on the disk.
    var spaceWaiters: [@Sendable () -> Void] = []
    /// Somebody will look after them in a moment.
    var isRetryDue = false
    var lastCommitAt: Timestamp?
    /// This mount has committed something.
    var hasCommitted = false
    var lastError: String?
    /// Whose claim the last one took over.
    var takenFrom: String?
    /// What it is called in the top directory, as far as somebody said.
    var name: FileName?
    /// The group lost its name: its uncommitted changes are nobody's loss.
    var isAbandoned = false

    /// Bytes that somebody would miss if they were never committed.
    var bytesToCommit: UInt64 { isAbandoned ? 0 : push.uncommittedBytes }
  }

  /// The group.
  public let id: GroupID
  let engine: EngineContext
  let objects: GroupObjects
  let cache: GroupCache
  let map: RemoteMap
  let bootID: Random128
  let pushSignal = AsyncSignal()
  let trace: GroupTrace
  let state: Lock<State>

  init(
    id: GroupID, engine: EngineContext, objects: GroupObjects, cache: GroupCache, bootID: Random128,
    map: RemoteMap, state: State
  ) {
    self.id = id
    self.engine = engine
    self.objects = objects
    self.cache = cache
    self.bootID = bootID
    self.map = map
    trace = GroupTrace(objects: objects, geometry: map.geometry)
    self.state = Lock(state)
  }

  // MARK: Questions

  /// Chunk size and the like.
  public var geometry: Geometry { map.geometry }

  /// The inode, also if it was removed but is still open.
  public func inode(_ id: FileID) -> Inode? {
    state.withLock { $0.inode(id) }
  }

  /// The inode has lost its name and lives on only because it is open.
  public func isUnlinked(_ id: FileID) -> Bool {
    state.withLock { $0.unlinked[id] != nil || $0.isAbandoned }
  }

  /// The entry of a directory.
  public func child(_ name: FileName, of parent: FileID) -> Inode? {
    state.withLock { $0.namespace.child(name, of: parent) }
  }

  /// The entries of a directory with their inodes, in order of name.
  public func entries(of directory: FileID) throws(RegionError) -> [Inode] {
    try state.withLock { (state) throws(RegionError) in
      guard let inode = state.namespace[directory] else { throw .notFound }
      guard inode.kind == .directory else { throw .notDirectory }
      return state.namespace.entries(of: directory).compactMap { state.namespace[$0.id] }
    }
  }

  /// Number of inodes and bytes of all files.
  public var totals: (inodes: Int, bytes: UInt64) {
    state.withLock { state in
      (
        state.namespace.count,
        state.namespace.all.reduce(0) { $0 + ($1.kind == .file ? $1.size : 0) }
      )
    }
  }

  /// Whether this daemon writes the group now.
  public var isWriter: Bool {
    state.withLock { if case .writer = $0.role { true } else { $0.isAbandoned } }
  }

  /// Whether others write the group, so that what is seen of it may change from outside.
  public var isFollower: Bool {
    state.withLock {
      switch $0.role {
      case .follower, .claiming: !$0.isAbandoned
      case .writer, .stopped: false
      }
    }
  }

  // MARK: Regions

  /// The region of a file, opened for the caller, who must `close` it. `keepCache` says whether what
  /// the kernel has of it is still true.
  public func open(_ file: FileID, writable: Bool) throws(RegionError) -> (
    region: Region, keepCache: Bool
  ) {
    try state.withLock { (state) throws(RegionError) in
      let region = try hold(file, &state)
      if writable { state.regions[file]?.writableOpens += 1 }
      let keep = state.openedAt[file] == state.generation
      state.openedAt[file] = state.generation
      return (region, keep)
    }
  }

  /// The region of a file for the daemon's own use, of which the kernel sees nothing. The caller must
  /// `close` it, as one that is not writable.
  func hold(_ file: FileID) throws(RegionError) -> Region {
    try state.withLock { (state) throws(RegionError) in try hold(file, &state) }
  }

  private func hold(_ file: FileID, _ state: inout State) throws(RegionError) -> Region {
    guard let inode = state.inode(file) else { throw .notFound }
    guard inode.kind == .file else { throw inode.kind == .directory ? .isDirectory : .invalid }
    let region = try region(of: inode, &state)
    state.regions[file]?.opens += 1
    return region
  }

  /// Ends what `open` or `hold` began.
  public func close(_ file: FileID, writable: Bool) {
    state.withLock { state in
      state.regions[file]?.opens -= 1
      if writable { state.regions[file]?.writableOpens -= 1 }
      guard state.regions[file]?.opens == 0 else { return }
      if state.unlinked[file] != nil {
        forgetUnlinked(file, &state)
      } else {
        closeIdleRegions(&state)
      }
    }
    if writable { endStaleness() }
    pushSignal.signal()
  }

  /// The file's region, made if it is not there. With the lock held.
  func region(of inode: Inode, _ state: inout State) throws(RegionError) -> Region {
    if let open = state.regions[inode.id] { return open.region }
    do throws(LocalError) {
      let root = state.root
      let tail = state.tail
      let lineage = try cache.lineage()
      let name = DormantFiles.Name(group: id, file: inode.id)
      let cached = try engine.cacheBudget.dormant.opening(name) { () throws(LocalError) in
        try cache.open(
          inode.id, geometry: geometry, commit: root.commit, bootID: bootID
        ) { header in
          Self.trust(header, root: root, lineage: lineage, writer: engine.writer, tail: tail)
        }
      }
      let puller = Puller(
        objects: objects, map: map, describe: { [weak self] in self?.describe($0) ?? "file \($0)" }
      ) { [weak self] in
        await self?.refresh(maxAge: .zero)
      }
      let region = try Region(
        file: inode.id, size: inode.size, engine: engine, map: map, puller: puller, trace: trace,
        cached: cached)
      region.setPins(try Pins(cache).chunks(of: inode.id, geometry: geometry))
      if case .stopped = state.role { region.keepAll(true) }
      state.regions[inode.id] = OpenRegion(region: region)
      return region
    } catch {
      engine.log(.error, "cannot open the cached bytes: \(error)")
      throw error.isOutOfSpace ? .noSpace : .io
    }
  }

  /// What of a cached file is still true, given which commits were ours.
  static func trust(
    _ header: StateFileHeader, root: Root, lineage: Lineage?, writer: WriterID, tail: TailChanges
  ) -> CacheTrust {
    if header.commit == root.commit { return .all }
    if let lineage, lineage.writer == writer,
      root.log == lineage.log || root.commit == lineage.until,
      header.commit.number >= lineage.since.number
    {
      return .all
    }
    let isKnown = root.history.contains(header.commit)
    guard isKnown, let changed = tail.chunks(of: header.file, after: header.commit.number) else {
      return .nothing
    }
    return .allBut(changed)
  }

  /// Regions kept open after their last close: descriptors are not without end.
  private static let idleRegions = 256

  private func closeIdleRegions(_ state: inout State) {
    guard state.regions.count > Self.idleRegions else { return }
    let isClean = state.push.uncommittedBytes == 0
    // A region with pages that only the log and the data file have stays until they are committed.
    for (file, open) in state.regions.sorted(by: { $0.key < $1.key })
    where open.opens == 0 && (isClean || !open.region.hasChunksOfTheLog) {
      retire(open.region, state.root.commit, synced: false)
      state.regions[file] = nil
    }
  }

  /// Closes a region's files and notes what they hold.
  func retire(_ region: Region, _ commit: CommitID, synced: Bool) {
    region.close()
    do throws(LocalError) {
      try region.closeState(commit: commit, bootID: bootID, synced: synced)
    } catch {
      // Only warmth is lost: the chunks are pulled again.
      engine.log(.warning, "\(error)")
    }
  }

  private func forgetUnlinked(_ file: FileID, _ state: inout State) {
    state.unlinked[file] = nil
    state.openedAt[file] = nil
    state.regions.removeValue(forKey: file)?.region.close()
    // As long as the removal is not committed, the next checkpoint needs the file's map; the commit
    // drops it.
    let isRemovalPending =
      (state.before[file] ?? nil) != nil || state.sealed?.names.contains(.remove(file)) == true
    if !isRemovalPending { map.forget(file) }
    do throws(LocalError) {
      try cache.remove(file)
    } catch {
      engine.log(.warning, "\(error)")
    }
  }
}

extension Group.State {
  /// The inode, also if it was removed but is still open.
  func inode(_ id: FileID) -> Inode? { namespace[id] ?? unlinked[id] }

  /// Files that were removed and are still open: the map keeps theirs.
  var orphans: Set<FileID> { Set(unlinked.keys) }
}

/// Which chunks each commit since the checkpoint changed: what of a cache that is some commits
/// behind is old.
struct TailChanges: Sendable {
  private struct Change {
    var commit: CommitNumber
    var file: FileID
    var chunks: Range<ChunkIndex>
  }

  /// The commit that the changes begin after.
  private(set) var base: CommitNumber = 0
  private var changes: [Change] = []

  init(after base: CommitNumber = 0) { self.base = base }

  mutating func note(_ table: SegmentTable, geometry: Geometry) {
    for change in table.changes {
      switch change {
      case .data(let file, let extent, _):
        let chunks = geometry.chunks(touchingPages: extent.pages)
        changes.append(Change(commit: table.commit, file: file, chunks: chunks))
      case .zero(let file, let pages):
        let chunks = geometry.chunks(touchingPages: pages)
        changes.append(Change(commit: table.commit, file: file, chunks: chunks))
      case .name: break
      }
    }
  }

  /// Ranges of the file's chunks that commits after `commit` changed; nil if that is not known.
  func ranges(of file: FileID, after commit: CommitNumber) -> [Range<ChunkIndex>]? {
    guard commit >= base else { return nil }
    return changes.filter { $0.file == file && $0.commit > commit }.map(\.chunks)
  }

  /// Files that commits after `commit` changed bytes of; nil if that is not known.
  func files(after commit: CommitNumber) -> Set<FileID>? {
    guard commit >= base else { return nil }
    return Set(changes.lazy.filter { $0.commit > commit }.map(\.file))
  }

  /// The same as single chunks; nil also if they would be too many to be worth it.
  func chunks(of file: FileID, after commit: CommitNumber) -> [ChunkIndex]? {
    guard let ranges = ranges(of: file, after: commit) else { return nil }
    guard ranges.allSatisfy({ $0.count <= 1 << 20 }) else { return nil }
    return Set(ranges.flatMap { Array($0) }).sorted()
  }
}
