import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// A store from which objects are gone, and to which new ones may be written, over one that stays as
/// it is.
final class OverlayStore: ObjectStore {
  let base: any ObjectStore
  private let isGone: @Sendable (ObjectKey) -> Bool
  private let written = MemoryStore()

  init(_ base: any ObjectStore, gone: @escaping @Sendable (ObjectKey) -> Bool) {
    self.base = base
    isGone = gone
  }

  var address: String { base.address }

  func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    do {
      return try await written.get(key, range: range, into: buffer, priority: priority)
    } catch {
      guard error.kind == .notFound, !isGone(key) else { throw error }
    }
    return try await base.get(key, range: range, into: buffer, priority: priority)
  }

  func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    guard case .matches(let etag) = condition, try await isOfBase(key, etag) else {
      return try await written.put(key, body, condition: condition, priority: priority)
    }
    return try await written.put(key, body, condition: .absent, priority: priority)
  }

  /// Whether the object was not replaced here and has that version below.
  private func isOfBase(_ key: ObjectKey, _ etag: ETag) async throws(StoreError) -> Bool {
    guard !isGone(key) else { return false }
    let buffer = IOBuffer(capacity: Limits.rootLength)
    return try await base.get(key, range: nil, into: buffer, priority: .demand).etag == etag
  }

  func delete(_ key: ObjectKey) async throws(StoreError) { try await written.delete(key) }

  func list(prefix: String, from token: String?, limit: Int) async throws(StoreError) -> ListPage {
    var page = try await base.list(prefix: prefix, from: token, limit: limit)
    page.keys = page.keys.filter { !isGone($0) }
    return page
  }
}

/// A group whose root and checkpoints are lost is what it was, after `GroupRebuild`.
@Suite struct RebuildTests {
  /// At every root of random histories with crashes and lost answers: without the root, and with the
  /// root but without any checkpoint.
  @Test(arguments: [UInt64(1), 2, 3, 4])
  func everyCommitCanBeRebuiltFromItsSegments(seed: UInt64) async throws {
    let history = try CommitHistory(seed: 7000 + seed)
    let counts = Lock((rebuilt: 0, refused: 0))
    history.onRoot = { [unowned history] root, expected in
      for isRootLost in [true, false] {
        let store = try await Self.withoutTree(history.witness, root, isRootLost: isRootLost)
        do {
          try await Self.rebuild(root, store)
        } catch let error as RebuildError {
          // Uploads of a writer that crashed cannot always be told from what it did after.
          guard case .gap(_, let cause) = error, cause.contains("several attempts") else {
            throw error
          }
          counts.withLock { $0.refused += 1 }
          continue
        }
        try await history.openFromNothing(store, root.group, expected)
        counts.withLock { $0.rebuilt += 1 }
      }
    }
    try await history.run(commits: 15)
    let (rebuilt, refused) = counts.withLock { $0 }
    #expect(rebuilt >= 28 && refused * 20 <= rebuilt, "\(rebuilt) rebuilt, \(refused) refused")
  }

  @Test func aLostSegmentIsAGapAndRollsBackOnlyOnRequest() async throws {
    let history = try CommitHistory(seed: 7100)
    let states = Lock<[(root: Root, expected: CommitHistory.Snapshot)]>([])
    history.onRoot = { root, expected in
      states.withLock { $0.append((root, expected)) }
    }
    try await history.run(commits: 12)
    let all = states.withLock { $0 }
    let last = try #require(all.last).root
    let lost: CommitNumber = 8
    let kept = try #require(all.last { $0.root.commit.number == lost - 1 })
    let segments = try await Self.segments(history.witness, last.group)
    let store = OverlayStore(history.witness) { key in
      key.text.hasSuffix("/root") || segments[key] == lost
    }
    await #expect(throws: RebuildError.self) { try await Self.rebuild(last, store) }
    try await Self.rebuild(last, store, allowRollback: true)
    try await history.openFromNothing(store, last.group, kept.expected)
  }

  @Test func aGroupThatIsHeldIsRebuiltOnlyOnRequest() async throws {
    let world = try World()
    let id = try await world.group(World.pattern(300_000))
    let writer = try world.host(1)
    let group = try await writer.load(id)
    try await group.claim()
    let root = group.state.withLock { $0.root }
    let other = try world.host(2)
    func rebuild(takeover: Bool) async throws {
      _ = try await GroupRebuild(
        id, kind: .directory, engine: other.engine, allowRollback: false, takeover: takeover
      ).run()
    }
    await #expect(throws: RebuildError.self) { try await rebuild(takeover: false) }
    try await rebuild(takeover: true)
    let now = try await GroupObjects(group: id, engine: other.engine).root().root
    #expect(now.epoch == root.epoch + 1 && now.claim == .free)
    group.crash()
    #expect(try await world.elsewhere(id)["f"] == World.pattern(300_000))
  }

  // MARK: Losing things

  private static func rebuild(
    _ root: Root, _ store: any ObjectStore, allowRollback: Bool = false
  ) async throws {
    let daemon = Daemon(store, cache: "/nonexistent", writer: WriterID(high: 5, low: 5)) {
      // Another one than the group's: the rebuild has to find out.
      $0.geometry = .standard
    }
    _ = try await GroupRebuild(
      root.group, kind: .directory, engine: daemon.engine, allowRollback: allowRollback,
      takeover: true
    ).run()
  }

  /// The store as of a root, without checkpoints, and maybe without the root itself.
  private static func withoutTree(
    _ witness: RootWitness, _ root: Root, isRootLost: Bool
  ) async throws -> OverlayStore {
    let segments = try await segments(witness, root.group)
    let past = PastStore(witness, root: try RootCodec.encode(root))
    return OverlayStore(past) { key in
      if key.text.hasSuffix("/root") { return isRootLost }
      return key.text.contains("/map/") || segments[key] ?? 0 > root.commit.number
    }
  }

  /// The commit of each segment.
  private static func segments(
    _ store: any ObjectStore, _ group: GroupID
  ) async throws -> [ObjectKey: CommitNumber] {
    let daemon = Daemon(store, cache: "/nonexistent", writer: WriterID(high: 5, low: 6))
    let objects = GroupObjects(group: group, engine: daemon.engine)
    let prefix = ObjectKeys.segmentPrefix(of: group)
    var commits: [ObjectKey: CommitNumber] = [:]
    for key in try await objects.engine.store.keys(prefix) {
      guard let object = ObjectKeys.object(of: key, prefix: prefix) else { continue }
      commits[key] = try await objects.frame(of: object).reference.commit
    }
    return commits
  }
}
