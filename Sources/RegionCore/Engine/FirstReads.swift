/// What a mount reads before anybody asks, for whoever mounts mostly opens a file at once.
///
/// To a first byte leads a chain of objects: name, root, checkpoint or tables, chunk. In a store of few
/// groups the listings of the mount's beginning say which these may be, and all but the last are then
/// read side by side; only the tables wait for their root. Beside the listings comes what the last mounts
/// asked for first (`StartHint`), so that a chunk can come beside the root that leads to it, and the traces of
/// these groups, so that a replay begins when a file is opened. Where a former mount left its cache, that
/// says which groups there are, and the checkpoint is there. Nothing is loaded or believed for it: a read
/// that nobody asks for is forgotten.
public struct FirstReads: Sendable {
  /// Names, and groups, of which not one more is there.
  private static let most = 8
  /// Checkpoints of a group.
  private static let mostCheckpoints = 2
  /// The longest checkpoint that is read whole, in bytes: its index, names and a few pages of its map.
  private static let checkpointLimit = 512 << 10
  /// Tables of a group, and the longest one, in bytes.
  private static let mostTables = 8
  private static let tableLimit = 64 << 10
  /// Keys that are listed in search of groups.
  private static let listed = 400
  /// Connections that are opened, by a request each: the reads that follow find them open, and so do
  /// the first transfers.
  private static let connections = 16
  /// Nobody has it: asking for it costs less than a listing.
  private static let nothing = ObjectKey("mounts/none")

  private let store: any ObjectStore
  private let early: EarlyReads
  private let executor: any TaskExecutor
  private let replays: Bool

  /// Lists in `store`, which gives up soon, and reads through `early`. `replays`: recorded traces will be
  /// asked for.
  public init(
    store: any ObjectStore, early: EarlyReads, executor: any TaskExecutor, replays: Bool = true
  ) {
    self.store = store
    self.early = early
    self.executor = executor
    self.replays = replays
  }

  /// The listing that the mount waits for: the names at the top.
  public func names() async throws(StoreError) -> ListPage {
    let page = try await store.list(prefix: "groups/", from: nil, limit: Self.most + 1)
    guard page.next == nil, page.keys.count <= Self.most else { return page }
    for key in page.keys { begin(key) }
    return page
  }

  /// Looks for groups and opens connections, for which nobody waits. Of the names that a former mount
  /// left in the cache (`known`) the newest state is asked for at once, beside the listing.
  public func start(known: [GroupRecord] = []) {
    guard known.isEmpty || known.count > Self.most else { return known.forEach(begin) }
    executor.spawn { await self.groups() }
    // What a former mount asked for first it has in its cache.
    executor.spawn { known.isEmpty ? await self.hinted() : await self.connect() }
    for _ in 3..<Self.connections { executor.spawn { await self.connect() } }
  }

  private func connect() async {
    guard let nothing = Self.nothing else { return }
    _ = try? await store.get(nothing, range: nil, into: IOBuffer(capacity: 1), priority: .demand)
  }

  private func begin(_ known: GroupRecord) {
    begin(GroupNames.key(for: known.name))
    begin(root: known.group)
  }

  private func begin(_ name: ObjectKey) {
    early.begin(name, limit: Limits.groupRecordLength, isImmutable: false, on: executor)
  }

  /// The root of a group, and the tables it refers to.
  private func begin(_ group: GroupID) {
    begin(root: group) { beginTables(of: $0.array) }
  }

  private func begin(root group: GroupID, then: (@Sendable (IOBuffer) -> Void)? = nil) {
    early.begin(
      ObjectKeys.root(of: group), limit: Limits.rootLength, isImmutable: false, on: executor,
      then: then)
  }

  /// The tables that a root refers to. What is wrong with a root, who asks for it hears.
  private func beginTables(of root: [UInt8]) {
    guard let root = try? RootCodec.decode(root), root.tail.count <= Self.mostTables else { return }
    for segment in root.tail where 1...Self.tableLimit ~= Int(segment.tableLength) {
      early.begin(
        ObjectKeys.segment(root.group, segment.object), range: segment.tableRange,
        limit: Int(segment.tableLength), isImmutable: true, on: executor)
    }
  }

  private func beginTrace(of group: GroupID) {
    early.begin(
      ObjectKeys.trace(of: group), limit: Limits.traceLength, isImmutable: false, on: executor)
  }

  /// Asks for what former mounts asked for first.
  func hinted() async {
    let hint = await StartHint.read(from: store)
    for group in Set(hint.entries.map(\.place.group)) {
      begin(group)
      if replays { beginTrace(of: group) }
    }
    for entry in hint.entries {
      early.begin(
        ObjectKeys.segment(entry.place.group, entry.segment), range: entry.range,
        limit: entry.range.count, isImmutable: true, on: executor)
    }
  }

  /// Forgets what nobody asked for.
  public func end() { early.end() }

  /// Looks which groups there are. The objects of removed ones stay for a while, and are nobody's to read.
  func groups() async {
    async let removed = deletedGroups()
    // Who cannot list them has no early reads, and hears of it from the listing of the names.
    guard let page = try? await store.list(prefix: "g/", from: nil, limit: Self.listed) else {
      return
    }
    let groups = Set(page.keys.compactMap { ObjectKeys.group(of: $0) }).subtracting(await removed)
    guard groups.count <= Self.most else { return }
    for group in groups {
      begin(group)
      let prefix = ObjectKeys.mapPrefix(of: group)
      let objects = page.keys.compactMap { ObjectKeys.object(of: $0, prefix: prefix) }
      let newest = objects.filter { $0.epoch == objects.map(\.epoch).max() }
      guard newest.count <= Self.mostCheckpoints else { continue }
      for object in newest {
        early.begin(
          ObjectKeys.map(group, object), limit: Self.checkpointLimit, isImmutable: true,
          on: executor)
      }
    }
  }

  /// Groups without a name; those that cannot be listed count as there.
  private func deletedGroups() async -> Set<GroupID> {
    let prefix = ObjectKeys.deletedPrefix
    guard let page = try? await store.list(prefix: prefix, from: nil, limit: Self.listed) else {
      return []
    }
    return Set(page.keys.compactMap { ObjectKeys.identifier(of: $0, prefix: prefix) })
  }
}
