/// Why a group was not rebuilt.
public enum RebuildError: Error, Sendable, CustomStringConvertible {
  /// The store, or another writer.
  case remote(RemoteError)
  /// A limit of the format.
  case format(FormatError)
  /// The segments do not lead to the newest commit.
  case gap(reachable: CommitNumber, cause: String)

  /// One line with cause and, where there is one, the remedy.
  public var description: String {
    switch self {
    case .remote(let error): error.description
    case .format(let error): error.description
    case .gap(let reachable, let cause):
      "\(cause); only the state of commit \(reachable) can be rebuilt, which --allow-rollback does"
    }
  }
}

/// Makes a root and a checkpoint for a group from the tables of its segments, where its own are
/// damaged or gone. Segments are only read.
///
/// The new root has a higher epoch and no holder: a mount that still believes in an older one finds
/// its claim gone, and keeps its uncommitted changes aside.
public struct GroupRebuild: Sendable {
  /// What was made.
  public struct Outcome: Sendable {
    /// The commit whose state it is.
    public var commit: CommitNumber
    /// Segments that were used.
    public var segments: Int
    /// Inodes it has.
    public var inodes: Int
    /// What a person should know about it, in words.
    public var notes: [String]
  }

  private let objects: GroupObjects
  private let kind: InodeKind
  private let allowRollback: Bool
  private let takeover: Bool

  private var engine: EngineContext { objects.engine }

  /// - Parameters:
  ///   - kind: what the name record says that the group is.
  ///   - allowRollback: be content with an older commit, where segments of later ones are lost.
  ///   - takeover: also where the root says that somebody writes the group.
  public init(
    _ group: GroupID, kind: InodeKind, engine: EngineContext, allowRollback: Bool, takeover: Bool
  ) {
    objects = GroupObjects(group: group, engine: engine)
    self.kind = kind
    self.allowRollback = allowRollback
    self.takeover = takeover
  }

  /// Rebuilds the group.
  public func run() async throws(RebuildError) -> Outcome {
    var notes: [String] = []
    let old = try await remote { () async throws(RemoteError) in try await oldRoot() }
    if let root = old.root, case .held = root.claim, !takeover {
      throw .remote(.heldByOther(holder: root.holder))
    }
    let (frames, epoch) = try await frames(&notes)
    let (members, geometry) = try members(frames, known: old.root?.geometry)
    let chain = SegmentChain(members, root: old.root)
    if let gap = chain.gap {
      guard allowRollback, chain.newest > 0 else {
        throw .gap(reachable: chain.newest, cause: gap)
      }
      notes.append("\(gap): the state is that of commit \(chain.newest)")
    }
    let (root, inodes) = try await makeTree(chain, geometry, old.root, above: epoch)
    try await install(root, old)
    return Outcome(
      commit: chain.newest, segments: chain.commits.joined().count, inodes: inodes, notes: notes)
  }

  // MARK: What is there

  private struct OldRoot: Sendable {
    /// The root, if it can be read.
    var root: Root?
    /// The version of what is in its place; nil: nothing is.
    var etag: ETag?
  }

  private func oldRoot() async throws(RemoteError) -> OldRoot {
    let buffer = IOBuffer(capacity: Limits.rootLength)
    let etag: ETag
    do throws(RemoteError) {
      etag = try await objects.get(objects.rootKey, range: nil, into: buffer, priority: .demand)
        .etag
    } catch {
      if error.isNotFound { return OldRoot() }
      throw error
    }
    do throws(FormatError) {
      let root = try RootCodec.decode(buffer.array)
      return OldRoot(root: root.group == objects.group ? root : nil, etag: etag)
    } catch {
      if case .newerVersion = error.kind {
        throw .damaged(object: objects.address(objects.rootKey), error)
      }
      return OldRoot(etag: etag)
    }
  }

  /// All segments that are intact, and the highest epoch of any object.
  private func frames(
    _ notes: inout [String]
  ) async throws(RebuildError) -> (frames: [SegmentFrame], epoch: Epoch) {
    let prefix = ObjectKeys.segmentPrefix(of: objects.group)
    let maps = ObjectKeys.mapPrefix(of: objects.group)
    let (keys, mapKeys) = try await remote { () async throws(RemoteError) in
      (try await objects.engine.store.keys(prefix), try await objects.engine.store.keys(maps))
    }
    let segments = keys.compactMap { ObjectKeys.object(of: $0, prefix: prefix) }
    let all = segments + mapKeys.compactMap { ObjectKeys.object(of: $0, prefix: maps) }
    let results = await mapConcurrently(segments, width: GroupAudit.width) { [objects] object in
      await catching { () async throws(RemoteError) in try await objects.frame(of: object) }
    }
    var frames: [SegmentFrame] = []
    for result in results {
      switch result {
      case .success(let frame): frames.append(frame)
      case .failure(let error):
        guard case .damaged = error else {
          if error.isNotFound { continue }
          throw .remote(error)
        }
        notes.append("\(error)")
      }
    }
    return (frames, all.map(\.epoch).max() ?? 0)
  }

  /// The decoded tables. The chunk size stands in the root only; where that is gone, any with which
  /// no extent crosses a chunk's end serves as well.
  private func members(
    _ frames: [SegmentFrame], known: Geometry?
  ) throws(RebuildError) -> (members: [SegmentChain.Member], geometry: Geometry) {
    let sizes = (16...23).compactMap { Geometry(chunkSize: 1 << $0) }
    var problem = FormatError(.invalid("no chunk size fits them"), what: "segment tables")
    for geometry in known.map({ [$0] }) ?? [engine.settings.geometry] + sizes {
      do throws(FormatError) {
        var members: [SegmentChain.Member] = []
        for frame in frames { members.append(try member(frame, geometry)) }
        return (members, geometry)
      } catch {
        problem = error
      }
    }
    throw .format(problem)
  }

  private func member(
    _ frame: SegmentFrame, _ geometry: Geometry
  ) throws(FormatError) -> SegmentChain.Member {
    let table = try SegmentCodec.decodeTable(
      frame.table, segment: frame.reference.object, payloadEnd: frame.payloadEnd,
      geometry: geometry)
    guard table.group == objects.group, table.commit == frame.reference.commit else {
      throw FormatError(.invalid("it belongs to another commit"), what: "segment table")
    }
    return SegmentChain.Member(reference: frame.reference, table: table)
  }

  // MARK: What is made

  /// Uploads a checkpoint of the chain's last commit. The root that refers to it has that commit's
  /// number and a nonce of its own, so that no cache takes its chunks for what they were.
  private func makeTree(
    _ chain: SegmentChain, _ geometry: Geometry, _ old: Root?, above epoch: Epoch
  ) async throws(RebuildError) -> (root: Root, inodes: Int) {
    let tables = chain.commits.joined().map(\.table)
    let map = RemoteMap(objects: objects, geometry: geometry)
    map.reset(to: nil, tables: tables)
    var namespace = Namespace(nextFileID: old?.nextFileID ?? 2)
    for table in tables {
      for case .name(let change) in table.changes { namespace.apply(change) }
    }
    namespace.addMissingTop(kind, at: engine.clock.wall)
    var root = Root(
      group: objects.group, geometry: geometry, claim: .free, holder: "",
      nonce: engine.freshID(), log: .zero, time: engine.clock.wall)
    root.epoch = max(epoch, old?.epoch ?? 0) + 1
    root.commit.number = chain.newest
    root.nextFileID = namespace.nextFileID
    let inodes = namespace.all.sorted { $0.id < $1.id }
    let built: CheckpointWriter.Built
    do throws(CheckpointError) {
      built = try await CheckpointWriter.build(
        map, files: Set(inodes.filter { $0.kind == .file }.map(\.id)), inodes, of: root,
        as: ObjectID(epoch: root.epoch, random: engine.freshID()), priority: .background)
    } catch {
      switch error {
      case .remote(let error): throw .remote(error)
      case .format(let error): throw .format(error)
      }
    }
    try await remote { () async throws(RemoteError) in
      try await objects.create(objects.mapKey(built.reference.object), built.body)
    }
    root.install(built.reference, index: built.index, at: engine.clock.wall)
    return (root, inodes.count)
  }

  /// Puts the new root in the place of the old one, or of what is left of it.
  private func install(_ root: Root, _ old: OldRoot) async throws(RebuildError) {
    try await remote { () async throws(RemoteError) in
      guard let etag = old.etag else {
        _ = try await objects.createRoot(root)
        return
      }
      if let previous = old.root {
        if previous.claim != .free { try await objects.keepFenced(previous) }
        if case .lost(let current, _) = try await objects.swapRoot(from: previous, etag, to: root) {
          throw .heldByOther(holder: current.holder)
        }
        return
      }
      // What is in its place is no root: whether this happened, the next look at it tells.
      _ = try await objects.putRoot(root, .matches(etag))
    }
  }

  private func remote<Value>(
    _ body: () async throws(RemoteError) -> Value
  ) async throws(RebuildError) -> Value {
    do throws(RemoteError) { return try await body() } catch { throw .remote(error) }
  }
}
