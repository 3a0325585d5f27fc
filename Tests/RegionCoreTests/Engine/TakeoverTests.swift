import RegionTesting
import Testing

@testable import RegionCore

/// What happens to both sides when a claim is taken over, and to what the loser had not committed.
@Suite struct TakeoverTests {
  private let world: World
  private static let chunk = 1 << 16

  init() throws { world = try World() }

  private func write(_ bytes: [UInt8], _ name: String, _ group: Group, at offset: Int = 0)
    async throws
  {
    let named = try #require(FileName(name))
    let id = try group.child(named, of: Namespace.top)?.id ?? group.make(name)
    let region = try group.open(id, writable: true).region
    defer { group.close(id, writable: true) }
    try await group.put(bytes, region, at: offset)
  }

  private func saver(_ daemon: Daemon) -> AsideSaver {
    AsideSaver(engine: daemon.engine, cacheDirectory: daemon.cache, bootID: daemon.boot)
  }

  /// The content of the group with this name.
  private func saved(_ name: String, _ daemon: Daemon) async throws -> [String: [UInt8]] {
    let name = try #require(FileName(name))
    let record = try #require(try await GroupCatalogue(engine: daemon.engine).record(name)?.record)
    return try await world.elsewhere(record.group)
  }

  @Test func theMessageNamesTheHolderAndWhenItWasSeen() async throws {
    let clock = QuickClock()
    let daemon = try world.host(1, clock: clock) { $0.holder = "alpha:/mnt" }
    let first = try await daemon.create()
    try await first.committed()
    let other = try world.host(2, clock: clock)
    let second = try await other.load(first.id)
    await #expect(throws: RegionError.busy(holder: "alpha:/mnt")) { try await second.claim() }
    #expect(
      other.lines.withLock { $0.last }?.contains("alpha:/mnt writes it (it has left no") == true)
    await MountRecords(engine: daemon.engine).beat()
    await #expect(throws: RegionError.busy(holder: "alpha:/mnt")) { try await second.claim() }
    let line = try #require(other.lines.withLock { $0.last })
    #expect(
      line.contains("alpha:/mnt writes it (last seen ") && line.contains(" ago at alpha:/mnt)"))
    await MountRecords(engine: daemon.engine).remove()
    #expect(
      await MountRecords(engine: other.engine).words(daemon.engine.writer).contains("no sign"))
  }

  @Test func aHeartbeatThatLiesIsOnlyWords() async throws {
    let daemon = try world.host(1)
    let key = ObjectKeys.mounts(daemon.engine.writer)
    let texts = [
      "", "x", "regionfs-mount 1 x y", "regionfs-mount 1 99999999999999999999 y",
      "regionfs-mount 1 9223372036854775807 y", "regionfs-mount 1 -9223372036854775808 y",
      "regionfs-mount 1 5 \u{1B}[31mevil\u{202E}", String(repeating: "a", count: 5000),
    ]
    for text in texts {
      _ = try await world.store.put(
        key, IOBuffer(Array(text.utf8)), condition: .none, priority: .demand)
      let words = await MountRecords(engine: daemon.engine).words(daemon.engine.writer)
      #expect(!words.contains("\u{1B}") && !words.contains("\u{202E}") && words.count < 1200)
    }
  }

  @Test func takeOverSaysFromWhom() async throws {
    let first = try await world.host(1) { $0.holder = "alpha:/mnt" }.create()
    try await first.committed()
    let second = try await world.host(2).load(first.id)
    #expect(try await second.takeOver() == "alpha:/mnt")
    #expect(second.isWriter)
    #expect(try await second.takeOver() == nil)
    try await world.leave(second)
    let third = try await world.host(3).load(first.id)
    #expect(try await third.takeOver() == nil)
  }

  /// A bug that was: a writer that lost its claim stayed stopped until it was mounted again, though
  /// nothing was lost.
  @Test func aLoserWithNothingUncommittedFollows() async throws {
    let daemon = try world.host(1)
    let first = try await daemon.create()
    try await write([1, 2, 3], "f", first)
    try await first.committed()
    let second = try await world.host(2).load(first.id)
    _ = try await second.takeOver()
    try await write([9], "f", second)
    try await second.committed()
    #expect(await first.release())
    // As the pusher does after a release.
    first.state.withLock { $0.role = .follower }
    await first.refresh(maxAge: .zero)
    #expect(try await first.contents("f") == [9, 2, 3])
    #expect(try LocalDirectory.names(in: first.cache.logDirectory).isEmpty)
    await #expect(throws: RegionError.busy(holder: "test")) { try await first.claim() }
    try await world.leave(second)
    try await first.claim()
    try await write([7], "f", first)
    try await world.leave(first)
    #expect(try await world.elsewhere(first.id)["f"] == [7, 2, 3])
  }

  @Test func aLoserThatFindsOutWhileAFileIsOpenFollowsWhenItIsClosed() async throws {
    let first = try await world.host(1) { $0.checkpointSegments = 1 }.create()
    let file = try first.make("f")
    let region = try first.open(file, writable: true).region
    try await first.put([1, 2, 3], region, at: 0)
    try await first.committed()
    let second = try await world.host(2).load(first.id)
    _ = try await second.takeOver()
    try await write([9], "f", second)
    try await second.committed()
    // Nothing is uncommitted, but the open file might hand over more.
    first.state.withLock { $0.push.isDraining = true }
    first.pushSignal.signal()
    try await eventually("it finds out") {
      if case .stopped(.stale, _) = first.state.withLock({ $0.role }) { true } else { false }
    }
    await #expect(throws: RegionError.stale) { try await first.put([5], region, at: 0) }
    await #expect(throws: RegionError.stale) { try await first.synced() }
    first.close(file, writable: true)
    try await eventually("it follows") {
      if case .follower = first.state.withLock({ $0.role }) { true } else { false }
    }
    await first.refresh(maxAge: .zero)
    #expect(try await first.contents("f") == [9, 2, 3])
  }

  @Test func whatTheLoserHadNotCommittedIsSavedAsAGroup() async throws {
    let daemon = try world.host(1)
    let first = try await daemon.create()
    first.noteName(try #require(FileName("db")))
    let before = World.pattern(3 * Self.chunk + 100)
    try await write(before, "f", first)
    try await write([1, 2, 3], "gone", first)
    try await first.committed()
    // Partial pages, a new file, a removal, a hole, a new size, a rename: none committed.
    try await write([4, 5, 6], "f", first, at: Self.chunk - 1)
    try await write(World.pattern(5000, 3), "new", first, at: 70_000)
    try first.unlink("gone")
    let f = try first.region("f")
    try await first.perform(f) { first.zero(f, 8192..<20_000, size: nil) }
    try await first.perform(f) { first.resize(f, to: UInt64(3 * Self.chunk + 50)) }
    try first.move("new", "newer")
    let expected = try await first.tree()
    let second = try await world.host(2) { $0.checkpointSegments = 2 }.load(first.id)
    _ = try await second.takeOver()
    for round in 0..<6 {
      try await write([UInt8(round)], "f", second, at: round * Self.chunk / 2)
      try await second.committed()
    }
    #expect(second.state.withLock { $0.root.checkpoint } != nil)
    await #expect(throws: RegionError.stale) { try await first.committed() }
    #expect(try await first.tree() == expected)
    #expect(await first.drain() == false)
    first.closeRegions()
    first.setAsideIfLost()

    let again = try world.host(1)
    let aside = try #require(try SetAsideLog.all(in: again.cache).first)
    #expect(aside.name == FileName("db") && aside.group == first.id && aside.records > 5)
    // The group opens at the new commit, and what is set aside stays.
    let reopened = try await again.load(first.id)
    #expect(try await reopened.tree() == (try await second.tree()))
    reopened.closeRegions()
    #expect(try SetAsideLog.all(in: again.cache) == [aside])

    let name = try #require(FileName("saved"))
    let group = try await saver(again).save(aside, as: name)
    #expect(group != first.id)
    #expect(try await saved("saved", again) == expected)
    #expect(try SetAsideLog.all(in: again.cache).isEmpty)
    #expect(
      try await world.store.list(prefix: "g/\(first.id)/fenced/", from: nil, limit: 9).keys == [])
    #expect(!(try LocalDirectory.names(in: again.cache).contains("recovering")))
    // The name is taken now.
    await #expect(throws: RecoveryError.self) { try await saver(again).save(aside, as: name) }
  }

  @Test func aKilledLoserSavesTheSameAfterTheNextMount() async throws {
    for hasCommitted in [false, true] {
      let daemon = try world.host(10)
      let first = try await daemon.create()
      if hasCommitted {
        try await write(World.pattern(100_000), "f", first)
        try await first.committed()
      }
      try await write([4, 5, 6], "f", first, at: 50_000)
      try await first.synced()
      let expected = try await first.tree()
      await daemon.crash(first)
      let second = try await world.host(11).load(first.id)
      _ = try await second.takeOver()
      try await write([1], "other", second)
      try await world.leave(second)
      let again = try world.host(10)
      let reopened = try await again.load(first.id)
      #expect(try await reopened.tree() == (try await world.elsewhere(first.id)))
      let aside = try #require(try SetAsideLog.all(in: again.cache).first)
      // Only what was in no commit.
      if hasCommitted { #expect(aside.records == 1) }
      _ = try await saver(again).save(aside, as: try #require(FileName("s\(hasCommitted)")))
      #expect(try await saved("s\(hasCommitted)", again) == expected)
    }
  }

  /// A bug that was: records that the loser had committed counted as lost once the other writer had
  /// committed, too.
  @Test func aKilledLoserWithNothingUncommittedSetsNothingAside() async throws {
    let daemon = try world.host(1)
    let first = try await daemon.create()
    try await write([1, 2, 3], "f", first)
    try await first.committed()
    await daemon.crash(first)
    let second = try await world.host(2).load(first.id)
    _ = try await second.takeOver()
    try await write([1], "other", second)
    try await world.leave(second)
    let again = try await world.host(1).load(first.id)
    #expect(try SetAsideLog.all(in: daemon.cache).isEmpty)
    #expect(try LocalDirectory.names(in: again.cache.logDirectory).isEmpty)
    #expect(try await again.tree() == (try await world.elsewhere(first.id)))
  }

  @Test func discardingRemovesWhatIsKept() async throws {
    let daemon = try world.host(1)
    let first = try await daemon.create()
    try await write([1, 2, 3], "f", first)
    try await first.synced()
    await daemon.crash(first)
    let second = try await world.host(2).load(first.id)
    _ = try await second.takeOver()
    try await write([1], "other", second)
    try await world.leave(second)
    let again = try world.host(1)
    _ = try await again.load(first.id)
    let aside = try #require(try SetAsideLog.all(in: again.cache).first)
    try await saver(again).discard(aside)
    #expect(try SetAsideLog.all(in: again.cache).isEmpty)
    #expect(
      try await world.store.list(prefix: "g/\(first.id)/fenced/", from: nil, limit: 9).keys == [])
  }

  @Test func oldCheckpointsStayWhileSomebodyMayNeedThem() async throws {
    let settings: (inout EngineSettings) -> Void = {
      $0.checkpointSegments = 1
      $0.collectionGrace = .zero
    }
    let daemon = try world.host(1, settings)
    let first = try await daemon.create()
    for round in 0..<3 {
      try await write(World.pattern(1000, UInt8(round)), "f", first)
      try await first.committed()
    }
    try await write([7, 7], "f", first, at: 10)
    try await first.synced()
    let expected = try await first.tree()
    await daemon.crash(first)
    let second = try await world.host(2, settings).load(first.id)
    _ = try await second.takeOver()
    for round in 0..<8 {
      try await write(World.pattern(1000, UInt8(20 + round)), "f", second)
      try await write([UInt8(round)], "g\(round)", second)
      try await second.committed()
    }
    try await world.leave(second)
    let again = try world.host(1)
    _ = try await again.load(first.id)
    let aside = try #require(try SetAsideLog.all(in: again.cache).first)
    _ = try await saver(again).save(aside, as: try #require(FileName("s")))
    #expect(try await saved("s", again) == expected)
  }

  /// A bug that was: a swap went on every 50 ms for as long as the store refused it and could be read.
  @Test func aSwapThatIsRefusedIsTriedEverLessOften() async throws {
    let clock = QuickClock(speed: 1000)
    let daemon = try world.host(1, clock: clock) { $0.faultTimeout = .seconds(100) }
    let group = try await daemon.create()
    try await write([1], "f", group)
    try await group.committed()
    daemon.faults.add(.init(.failBefore(.throttled), on: [.put], keyContains: "/root"))
    let before = daemon.faults.requests.count
    let (root, etag) = group.state.withLock { ($0.root, $0.etag) }
    var new = root
    new.commit = CommitID(number: root.commit.number + 1, nonce: .random())
    await #expect(throws: RemoteError.self) {
      try await group.objects.swapRoot(from: root, etag, to: new)
    }
    // Waits of 50 ms, 100 ms … 10 s, each at least half: 100 s hold fewer than forty of them.
    #expect(daemon.faults.requests.count - before < 40 * 5)
    daemon.faults.removeRules()
  }

  @Test func aCommitWhoseAcknowledgementWasLostBeforeATakeoverCounts() async throws {
    let daemon = try world.host(1)
    let first = try await daemon.create()
    try await write([1, 2, 3], "f", first)
    try await first.committed()
    try await write([4], "f", first)
    daemon.faults.add(.init(.blackholeAfter, on: [.put], keyContains: "/root", count: 1))
    let commit = Task { try await first.committed() }
    try await eventually("a request is held up") { daemon.faults.parked > 0 }
    let second = try await world.host(2).load(first.id)
    _ = try await second.takeOver()
    try await write([9], "g", second)
    try await second.committed()
    daemon.faults.release()
    // It is in the store, whoever came after.
    try await commit.value
    try await eventually("it follows") {
      if case .follower = first.state.withLock({ $0.role }) { true } else { false }
    }
    #expect(try await second.contents("f") == [4, 2, 3])
    first.closeRegions()
    first.setAsideIfLost()
    #expect(try SetAsideLog.all(in: daemon.cache).isEmpty)
  }
}
