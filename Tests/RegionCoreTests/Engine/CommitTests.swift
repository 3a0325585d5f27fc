import RegionTesting
import Testing

@testable import RegionCore

/// What commits and checkpoints hold, and that they never grow beyond the formats.
@Suite struct CommitTests {
  private let world: World
  private static let chunk = 1 << 16

  init() throws { world = try World() }

  /// A group with file `f`, committed, and its daemon.
  private func writer(
    _ change: (inout EngineSettings) -> Void = { _ in }
  ) async throws -> (Daemon, Group) {
    let daemon = try world.host(1, change)
    let group = try await daemon.create()
    try group.make("f")
    try await group.put(World.pattern(3 * Self.chunk), try group.region("f"), at: 0)
    try await group.committed()
    return (daemon, group)
  }

  /// Commits record by record, each with its checkpoint, and stops before the second one's segment:
  /// what the first checkpoint holds must not know of what follows. Returns what others see then.
  private func checkpoint(
    _ daemon: Daemon, _ group: Group, _ later: () async throws -> Void
  ) async throws -> [String: [UInt8]] {
    daemon.faults.add(.init(.blackhole, on: [.put], keyContains: "/seg/", skip: 1, count: 1))
    try group.make("first")
    try await later()
    group.commit { _ in }
    try await eventually("a request is held up") { daemon.faults.parked > 0 }
    #expect(group.state.withLock { $0.root.tail.isEmpty && $0.root.checkpoint != nil })
    let found = try await world.elsewhere(group.id)
    daemon.faults.release()
    try await group.committed()
    return found
  }

  @Test func aFileClosedAfterItsRemovalStaysInCheckpointsUntilThatIsCommitted() async throws {
    let (daemon, group) = try await writer {
      $0.checkpointSegments = 1
      $0.commitBytes = 1
    }
    let name = try #require(FileName("f"))
    let file = try #require(group.child(name, of: Namespace.top)).id
    let found = try await checkpoint(daemon, group) {
      try group.unlink("f")
      group.close(file, writable: true)
    }
    #expect(found == ["f": World.pattern(3 * Self.chunk), "first": []])
    #expect(try await world.elsewhere(group.id) == ["first": []])
  }

  @Test func checkpointsHoldTheCommitAndNothingLater() async throws {
    let (daemon, group) = try await writer {
      $0.checkpointSegments = 1
      $0.commitBytes = 1
    }
    let region = try group.region("f")
    let found = try await checkpoint(daemon, group) {
      try await group.put([1, 1, 1], region, at: 77)
      try await group.perform(region) { group.resize(region, to: 100) }
      try group.make("later")
      try group.move("f", "moved")
    }
    #expect(found == ["f": World.pattern(3 * Self.chunk), "first": []])
    var expected = Array(World.pattern(3 * Self.chunk)[..<100])
    expected.replaceSubrange(77..<80, with: [1, 1, 1])
    #expect(try await world.elsewhere(group.id) == ["moved": expected, "later": [], "first": []])
  }

  /// A bug that was: a checkpoint that failed was tried again with the next commit only, and there may be
  /// none.
  @Test func aCheckpointThatFailedIsTriedAgain() async throws {
    let (daemon, group) = try await writer { $0.checkpointSegments = 1 }
    let before = group.state.withLock { $0.root.checkpoint?.object }
    daemon.faults.add(.init(.failBefore(.accessDenied), on: [.put], keyContains: "/map/", count: 3))
    try group.make("g")
    try await group.committed()
    try await eventually("a new checkpoint") {
      group.state.withLock { $0.root.checkpoint?.object != before && $0.root.tail.isEmpty }
    }
    #expect(daemon.faults.faults == 3)
    #expect(try await world.elsewhere(group.id).keys.sorted() == ["f", "g"])
  }

  @Test func theTailNeverOutgrowsARoot() async throws {
    let (daemon, group) = try await writer { $0.checkpointSegments = 4 }
    // As if no checkpoint had succeeded for hundreds of commits.
    group.state.withLock { state in
      let last = state.root.tail
      let filler = (0...Limits.tailSegments - Limits.commitSegments).map { _ in
        Root.SegmentReference(
          object: ObjectID(epoch: 1, random: .random()), commit: 1, length: 1 << 20,
          tableOffset: 1 << 19, tableLength: 64, tableChecksum: 0)
      }
      state.root.tail = last + filler
    }
    daemon.faults.add(.init(.failBefore(.accessDenied), on: [.put], keyContains: "/map/"))
    let before = daemon.faults.requests.count { $0.operation == .put && $0.key.contains("/seg/") }
    try group.make("g")
    group.commit { _ in }
    try await eventually("five requests have failed") { daemon.faults.faults >= 5 }
    let after = daemon.faults.requests.count { $0.operation == .put && $0.key.contains("/seg/") }
    #expect(after == before)
    daemon.comeUp()
    try await group.committed()
    #expect(group.state.withLock { $0.root.tail.count } <= 1)
    #expect(try await world.elsewhere(group.id).keys.sorted() == ["f", "g"])
  }

  /// The longest root that limits allow, and so every root that the engine makes.
  @Test func theLongestRootFits() throws {
    let object = { ObjectID(epoch: 1, random: .random()) }
    var root = Root(
      group: .random(), geometry: .standard, claim: .held(.random()),
      holder: String(repeating: "h", count: 255), nonce: .random(), log: .random(),
      time: Timestamp(nanoseconds: 1))
    root.commit.number = 1 << 40
    root.nextFileID = Limits.fileID
    root.history = (1...Limits.rootHistory).map {
      CommitID(number: root.commit.number - UInt64($0), nonce: .random())
    }
    root.checkpoint = Root.CheckpointReference(
      object: object(), indexOffset: 1 << 20, indexLength: 1 << 20, indexChecksum: 1,
      commit: root.history[0])
    root.tail = (0..<Limits.tailSegments).map { _ in
      Root.SegmentReference(
        object: object(), commit: root.commit.number,
        length: (1 << 20) + (1 << 10) + UInt32(SegmentCodec.footerLength), tableOffset: 1 << 20,
        tableLength: 1 << 10, tableChecksum: 1)
    }
    root.pendingDeletion = (0..<Limits.pendingDeletions).map { _ in
      Root.PendingDeletion(isSegment: true, object: object(), droppedAt: Timestamp(nanoseconds: 1))
    }
    root.snapshots = Array(root.history.prefix(Limits.rootPins))
    root.clonePins = (0..<Limits.rootPins).map { _ in .random() }
    #expect(try RootCodec.encode(root).count <= Limits.rootLength)
  }

  @Test func aCommitWithManyLargeAttributesIsSplit() async throws {
    let daemon = try world.host(1)
    let group = try await daemon.create()
    let value = [UInt8](repeating: 7, count: 60_000)
    let attributes = ["user.a", "user.b"].map { Inode.Xattr(name: Array($0.utf8), value: value) }
    for number in 0..<170 {
      let file = try group.make("file\(number)")
      _ = try group.editInode(file) { (inode, _) throws(RegionError) in inode.xattrs = attributes }
    }
    try await group.committed()
    let segments = daemon.faults.requests.filter {
      $0.operation == .put && $0.key.contains("/seg/")
    }
    #expect(segments.count > 1)
    let other = try await world.host(2).load(group.id)
    let found = try other.entries(of: Namespace.top)
    #expect(found.count == 170 && found.allSatisfy { $0.xattrs == attributes })
  }

  /// Seals that stop in the middle of what is there: each commit is a prefix.
  @Test func partialCutsAreStatesOfTheGroup() async throws {
    let daemon = try world.host(1) { $0.commitBytes = 9000 }
    let group = try await daemon.create()
    var states: [SequenceNumber: [String: [UInt8]]] = [:]
    func note() async throws {
      let last = group.state.withLock { $0.log?.lastSequence ?? 0 }
      states[last] = try await group.tree()
    }
    try await note()
    try group.make("a")
    try await note()
    let region = try group.region("a")
    for number in 0..<40 {
      switch number % 5 {
      case 0:
        try await group.put(
          [UInt8](repeating: UInt8(number), count: 5000), region, at: number * 900)
      case 1: try group.make("n\(number)")
      case 2: try group.move("n\(number - 1)", "m")
      case 3: try await group.perform(region) { group.resize(region, to: UInt64(number * 700)) }
      default: try group.unlink("m")
      }
      try await note()
    }
    // Stops before each commit, to look at the one before.
    var stop = FaultStore.Rule(.blackhole, on: [.put], keyContains: "/seg/", count: 1)
    daemon.faults.add(stop)
    // The one that was stopped is sent again.
    stop.skip = 1
    group.commit { _ in }
    var cuts: Set<SequenceNumber> = []
    while group.uncommittedBytes > 0 {
      try await eventually("a commit begins, or everything is committed") {
        daemon.faults.parked > 0 || group.uncommittedBytes == 0
      }
      guard daemon.faults.parked > 0 else { break }
      let cut = group.state.withLock { $0.root.cut }
      cuts.insert(cut)
      #expect(try await world.elsewhere(group.id) == (cut == 0 ? [:] : states[cut]))
      daemon.faults.add(stop)
      daemon.faults.release()
    }
    #expect(cuts.count > 5)
    #expect(try await world.elsewhere(group.id) == (try await group.tree()))
  }

  /// A bug that was: only memory knew the time of a write(2) of the bytes that were there already.
  @Test func aWriteOfWhatIsThereKeepsItsTime() async throws {
    let (daemon, group) = try await writer()
    let region = try group.region("f")
    let file = region.file
    func time(_ group: Group) throws -> Timestamp { try #require(group.inode(file)).modified }
    let first = try time(group)
    try await group.put(Array(World.pattern(3 * Self.chunk)[..<5000]), region, at: 0)
    let second = try time(group)
    #expect(second > first)
    try await group.committed()
    let elsewhere = try await world.host(2).load(group.id)
    #expect(try time(elsewhere) == second)
    elsewhere.closeRegions()
    try await group.put(Array(World.pattern(3 * Self.chunk)[..<5000]), region, at: 0)
    let third = try time(group)
    await daemon.crash(group)
    let next = try await world.host(1).load(group.id)
    #expect(try time(next) == third && third > second)
    next.closeRegions()
  }

  /// A bug that was: a group whose daemon stopped while it replaced the root was kept for good, by what
  /// it had noted to do then.
  @Test func aGroupThatStopsWithinACommitEnds() async throws {
    let daemon = try world.host(1)
    weak var remains: Group?
    do {
      let group = try await daemon.create()
      try group.make("f")
      daemon.faults.add(.init(.blackhole, on: [.put], keyContains: "/root", count: 1))
      group.commit { _ in }
      try await eventually("a request is held up") { daemon.faults.parked > 0 }
      await daemon.crash(group)
      #expect(group.state.withLock { $0.pendingSwap != nil })
      remains = group
    }
    try await eventually("nobody has the group any more") { remains == nil }
  }
}
