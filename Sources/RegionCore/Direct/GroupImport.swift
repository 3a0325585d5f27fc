import Glibc

/// Why a group could not be written without a mount.
public enum ImportError: Error, Sendable, CustomStringConvertible {
  /// The store.
  case remote(RemoteError)
  /// A local file.
  case local(LocalError)
  /// A limit of the format.
  case format(FormatError)

  /// One line with object or file and cause.
  public var description: String {
    switch self {
    case .remote(let error): error.description
    case .local(let error): error.description
    case .format(let error): error.description
    }
  }
}

/// Makes a new group in the store and fills it from local files, commit by commit, without a mount.
///
/// Until `publish` the group has no name and a note of deletion, so what an abandoned import leaves
/// goes by itself. The note is made anew with each commit: it is never older than one commit takes.
public struct GroupImport: Sendable {
  /// The group.
  public var group: GroupID { objects.group }
  /// What has been committed.
  public private(set) var namespace: Namespace
  private let objects: GroupObjects
  private let map: RemoteMap
  private let catalogue: GroupCatalogue
  private var root: Root
  private var etag: ETag

  private var engine: EngineContext { objects.engine }

  /// Segments of one commit at a time; each holds about 16 MiB of memory while it is made.
  private static let width = 4

  /// Makes the group, empty and held by the engine's writer.
  public static func begin(_ engine: EngineContext) async throws(ImportError) -> GroupImport {
    let id = GroupID.random()
    let objects = GroupObjects(group: id, engine: engine)
    let root = Root(
      group: id, geometry: engine.settings.geometry, claim: .held(engine.writer),
      holder: engine.settings.holder, nonce: .random(), log: .zero, time: engine.clock.wall)
    do throws(RemoteError) {
      let catalogue = GroupCatalogue(engine: engine)
      try await catalogue.markDeleted(id)
      let etag = try await objects.createRoot(root)
      return GroupImport(
        namespace: Namespace(), objects: objects,
        map: RemoteMap(objects: objects, geometry: root.geometry), catalogue: catalogue,
        root: root, etag: etag)
    } catch {
      throw .remote(error)
    }
  }

  /// Goes on with a group that `begin` made and whose maker ended; nil if it is not there any more
  /// or may be on its way out.
  ///
  /// - Parameter noteAge: how old its note of deletion may be, well below the grace time.
  public static func resume(
    _ id: GroupID, _ engine: EngineContext, noteAge: Duration
  ) async throws(ImportError) -> GroupImport? {
    let objects = GroupObjects(group: id, engine: engine)
    let catalogue = GroupCatalogue(engine: engine)
    do throws(RemoteError) {
      guard let age = try await catalogue.deletionAge(id), age < noteAge else { return nil }
      try await catalogue.markDeleted(id)
      let (root, etag) = try await objects.root()
      guard root.claim == .held(engine.writer) else { return nil }
      let tree = try await TreeLoader(objects: objects).load(root)
      let map = RemoteMap(objects: objects, geometry: root.geometry)
      map.reset(to: tree.index, tables: tree.tables)
      return GroupImport(
        namespace: tree.namespace, objects: objects, map: map, catalogue: catalogue, root: root,
        etag: etag)
    } catch {
      if error.isNotFound { return nil }
      throw .remote(error)
    }
  }

  // MARK: Committing

  /// Commits names and the bytes of some files, one segment for each element of `segments` (at most
  /// `Limits.commitSegments` less one, about `Limits.segmentTarget` each).
  public mutating func commit(
    _ segments: [[ImportPart]], names: [NameChange]
  ) async throws(ImportError) {
    precondition(segments.count < Limits.commitSegments, "too many segments for one commit")
    // Names are the last segment's; a commit of names alone has one of its own.
    let count = max(1, segments.count)
    let old = root
    let objects = objects
    let built = await mapConcurrently(Array(0..<count), width: Self.width) { at in
      await Self.upload(
        at < segments.count ? segments[at] : [], at == count - 1 ? names : [], old, objects, at,
        count)
    }
    var new = old
    new.history = Array(([old.commit] + old.history).prefix(Limits.rootHistory))
    new.commit = CommitID(number: old.commit.number + 1, nonce: .random())
    new.committedAt = engine.clock.wall
    var tables: [SegmentTable] = []
    for result in built {
      let (reference, table) = try result.get()
      new.tail.append(reference)
      tables.append(table)
    }
    for name in names { namespace.apply(name) }
    new.nextFileID = namespace.nextFileID
    try await remote { [catalogue] () async throws(RemoteError) in
      try await catalogue.markDeleted(objects.group)
    }
    try await swap(to: new)
    for table in tables { map.apply(table) }
    if root.tail.count >= engine.settings.checkpointSegments { try await checkpoint() }
  }

  private static func upload(
    _ parts: [ImportPart], _ names: [NameChange], _ root: Root, _ objects: GroupObjects,
    _ index: Int, _ count: Int
  ) async -> Result<(Root.SegmentReference, SegmentTable), ImportError> {
    let built: (body: IOBuffer, table: SegmentTable, reference: Root.SegmentReference)
    do throws(LocalError) {
      let segment = try ImportSegment(
        parts, names: names, group: objects.group, root: root, index: index, count: count)
      do throws(FormatError) {
        built = try segment.finish()
      } catch {
        return .failure(.format(error))
      }
    } catch {
      return .failure(.local(error))
    }
    do throws(RemoteError) {
      try await objects.create(objects.segmentKey(built.reference.object), built.body)
      return .success((built.reference, built.table))
    } catch {
      return .failure(.remote(error))
    }
  }

  private mutating func swap(to new: Root) async throws(ImportError) {
    let (objects, old, etag) = (objects, root, etag)
    let result = try await remote { () async throws(RemoteError) in
      try await objects.swapRoot(from: old, etag, to: new)
    }
    switch result {
    case .done(let etag): (root, self.etag) = (new, etag)
    case .lost(let current, _): throw .remote(.claimLost(holder: current.holder))
    }
  }

  /// Moves the tail of segments into pages of the map, as a mount does.
  private mutating func checkpoint() async throws(ImportError) {
    let inodes = namespace.all.sorted { $0.id < $1.id }
    let built: CheckpointWriter.Built
    do throws(CheckpointError) {
      built = try await CheckpointWriter.build(
        map, files: Set(inodes.map(\.id)), inodes, of: root,
        as: ObjectID(epoch: root.epoch, random: engine.freshID()), priority: .demand)
    } catch {
      switch error {
      case .remote(let error): throw .remote(error)
      case .format(let error): throw .format(error)
      }
    }
    let objects = objects
    try await remote { () async throws(RemoteError) in
      try await objects.create(objects.mapKey(built.reference.object), built.body)
    }
    var new = root
    new.install(built.reference, index: built.index, at: engine.clock.wall)
    try await swap(to: new)
    map.rebase(to: built.index, later: [], keeping: [])
  }

  // MARK: The end

  /// What became of giving the group its name.
  public enum Publication: Sendable {
    /// It has it.
    case done
    /// The name stands for another group.
    case taken
  }

  /// Gives the claim back and the group its name.
  ///
  /// - Parameter replacing: the record at which the name may be taken from another group, whose
  ///   claim the caller holds; nil: the name must be free.
  public mutating func publish(
    _ name: FileName, kind: InodeKind, replacing old: (record: GroupRecord, etag: ETag)? = nil
  ) async throws(ImportError) -> Publication {
    var new = root
    new.claim = .free
    try await swap(to: new)
    let record = GroupRecord(group: group, name: name, kind: kind, serial: old?.record.serial ?? 0)
    let (catalogue, group) = (catalogue, group)
    return try await remote { () async throws(RemoteError) in
      if let old {
        // The note first, as where a mount removes a group: a crash in between leaves a note on a
        // group that has a name, and that is withdrawn by whoever finds it.
        try await catalogue.markDeleted(old.record.group)
        _ = try await catalogue.replace(record, at: old.etag)
      } else if try await catalogue.add(record) == nil {
        return .taken
      }
      try await catalogue.withdrawDeletion(group)
      return .done
    }
  }

  /// Removes what was made; for an import that cannot be published.
  public func discard() async throws(ImportError) {
    let (catalogue, group) = (catalogue, group)
    try await remote { () async throws(RemoteError) in try await catalogue.purge(group) }
  }

  private func remote<Value>(
    _ body: () async throws(RemoteError) -> Value
  ) async throws(ImportError) -> Value {
    do throws(RemoteError) { return try await body() } catch { throw .remote(error) }
  }
}

extension GroupObjects {
  /// Claims the group, so that nobody writes it any more, because it is about to lose its name.
  ///
  /// - Throws: `.heldByOther` where a writer holds it.
  func claimForRemoval() async throws(RemoteError) {
    let (old, etag) = try await root()
    if case .held(let writer) = old.claim, writer != engine.writer {
      throw .heldByOther(holder: old.holder)
    }
    var new = old
    new.epoch += 1
    new.claim = .held(engine.writer)
    new.holder = engine.settings.holder
    if case .lost(let current, _) = try await swapRoot(from: old, etag, to: new) {
      throw .heldByOther(holder: current.holder)
    }
  }
}

extension GroupCatalogue {
  /// Throws `.heldByOther` where a mount holds the group now.
  public func checkNotHeld(_ group: GroupID, engine: EngineContext) async throws(RemoteError) {
    let (root, _) = try await GroupObjects(group: group, engine: engine).root()
    if case .held(let writer) = root.claim, writer != engine.writer {
      throw .heldByOther(holder: root.holder)
    }
  }

  /// Makes sure that nobody writes the group any more: its name is about to be given away.
  ///
  /// - Throws: `.heldByOther` where a mount holds it.
  public func claimForRemoval(_ group: GroupID, engine: EngineContext) async throws(RemoteError) {
    try await GroupObjects(group: group, engine: engine).claimForRemoval()
  }
}
