import RegionTesting
import Testing

@testable import RegionCore

/// Reads that are begun before anybody asks.
@Suite struct EarlyReadsTests {
  private let store = MemoryStore()
  private let faults: FaultStore
  private let clock = ManualClock()
  private let early: EarlyReads
  private let key: ObjectKey

  init() throws {
    faults = FaultStore(store)
    early = EarlyReads(faults, from: faults, clock: clock)
    key = try #require(ObjectKey("g/x"))
  }

  private func put(_ text: String, through target: (any ObjectStore)? = nil) async throws {
    _ = try await (target ?? store).put(
      key, IOBuffer(Array(text.utf8)), condition: .none, priority: .demand)
  }

  private func begin(limit: Int = 100, isImmutable: Bool = false) {
    early.begin(key, limit: limit, isImmutable: isImmutable, on: Daemon.executor)
  }

  private func get(_ range: Range<UInt64>? = nil) async throws -> (text: String, info: ObjectInfo) {
    let buffer = IOBuffer(capacity: 100)
    let info = try await early.get(key, range: range, into: buffer, priority: .demand)
    return (String(decoding: buffer.array, as: UTF8.self), info)
  }

  private var gets: Int { faults.requests.count { $0.operation == .get } }

  @Test func servesOneReadAndSaysHowOldItIs() async throws {
    try await put("old")
    let begun = clock.now
    begin()
    clock.advance(by: .milliseconds(500))
    let first = try await get()
    #expect(first.text == "old" && first.info.asOf == begun && gets == 1)
    try await put("new")
    let second = try await get()
    #expect(second.text == "new" && second.info.asOf == nil && gets == 2)
  }

  @Test func isNotServedWhenItIsOld() async throws {
    try await put("old")
    begin()
    try await eventually("the early read is asked for") { gets > 0 }
    try await put("new")
    clock.advance(by: .seconds(1))
    #expect(try await get().text == "new")
    #expect(gets == 2)
  }

  /// Who reads back what became of a change must not see what was there before it.
  @Test func isNotServedAfterAChange() async throws {
    try await put("old")
    begin()
    try await eventually("the early read is asked for") { gets > 0 }
    try await put("new", through: early)
    #expect(try await get().text == "new")
    #expect(gets == 2)
    begin()
    try await early.delete(key)
    await #expect(throws: StoreError.self) { try await get() }
  }

  @Test func whatDidNotComeIsAskedForAgain() async throws {
    begin()
    try await eventually("the early read is asked for") { gets > 0 }
    try await put("made since")
    #expect(try await get().text == "made since")
    begin(limit: 3)
    #expect(try await get().text == "made since", "longer than what may come early")
    faults.add(.init(.failBefore(.unavailable), on: [.get], count: 1))
    begin()
    #expect(try await get().text == "made since")
  }

  @Test func partsOfWhatNeverChangesAreServedOnceEach() async throws {
    try await put("0123456789")
    begin(isImmutable: true)
    #expect(try await get(2..<5).text == "234")
    #expect(try await get(9..<10).text == "9")
    #expect(try await get().text == "0123456789")
    #expect(gets == 1)
    await #expect(throws: StoreError.self, "behind its end") { try await get(8..<11) }
  }

  /// Whose checksum is wrong is asked for again: the same bytes would be wrong for ever.
  @Test func whatCameDamagedIsNotServedAgain() async throws {
    try await put("0123456789")
    for (limit, range) in [(100, nil), (3, 3..<6)] as [(Int, Range<UInt64>?)] {
      faults.add(.init(.flipBit, on: [.get], count: 1))
      early.begin(key, range: range, limit: limit, isImmutable: true, on: Daemon.executor)
      #expect(try await get(3..<6).text.utf8.count == 3)
      let before = gets
      #expect(try await get(3..<6).text == "345")
      #expect(gets == before + 1)
      early.end()
    }
  }

  @Test func aPartThatWasReadEarlyServesWhoAsksForIt() async throws {
    try await put("0123456789")
    early.begin(key, range: 3..<6, limit: 3, isImmutable: true, on: Daemon.executor)
    #expect(try await get(3..<6).text == "345")
    #expect(gets == 1)
    #expect(try await get(3..<5).text == "34", "another part")
    #expect(try await get().text == "0123456789")
    #expect(gets == 3)
    early.begin(key, range: 3..<6, limit: 3, isImmutable: true, on: Daemon.executor)
    try await put("abcdefghij", through: early)
    #expect(try await get(3..<6).text == "def", "changed through this store")
  }

  @Test func whatNobodyAskedForIsForgotten() async throws {
    try await put("old")
    faults.add(.init(.blackhole, on: [.get], count: 1))
    begin()
    try await eventually("a request is held up") { faults.parked > 0 }
    early.end()
    #expect(try await get().text == "old")
  }
}

/// What a mount reads at its beginning.
@Suite struct FirstReadsTests {
  private let world: World
  init() throws { world = try World() }

  /// A group with a name, whose checkpoint holds all of it, or that has none.
  private func named(
    _ name: String, _ bytes: [UInt8], checkpointed: Bool = true
  ) async throws -> GroupID {
    let maker = try world.host(0) { if checkpointed { $0.checkpointSegments = 1 } }
    let id = try await world.group(bytes)
    // The checkpoint follows the next commit.
    let group = try await maker.load(id)
    try await group.claim()
    try group.make("g")
    try await group.committed()
    try await world.leave(group)
    let record = GroupRecord(
      group: group.id, name: try #require(FileName(name)), kind: .directory, serial: 0)
    _ = try await GroupCatalogue(engine: maker.engine).add(record)
    return group.id
  }

  /// Name, root, checkpoint and map are there before anybody asks; the data is what is left to fetch.
  @Test func allButTheDataIsReadEarly() async throws {
    let bytes = World.pattern(1 << 18)
    let id = try await named("a", bytes)
    let faults = FaultStore(world.store)
    let early = EarlyReads(faults, from: faults, clock: ManualClock())
    let first = FirstReads(store: faults, early: early, executor: Daemon.executor)
    _ = try await first.names()
    await first.groups()
    let begun = { faults.requests.filter { $0.operation == .get } }
    try await eventually("three reads have begun") { begun().count >= 3 }
    let reader = Daemon(
      early, cache: try world.scratch.directory("reader"), writer: WriterID(high: 9, low: 9))
    let name = try #require(FileName("a"))
    let record = try #require(try await GroupCatalogue(engine: reader.engine).record(name))
    #expect(record.record.group == id)
    let group = try await reader.load(id)
    #expect(try await group.contents("f") == bytes)
    let later = begun().dropFirst(3).map(\.key)
    #expect(later.allSatisfy { $0.contains("/seg/") }, "\(later)")
    try await world.leave(group)
  }

  /// So are the tables of what no checkpoint has yet: they wait for their root, nobody for them.
  @Test func tablesAreReadEarly() async throws {
    let bytes = World.pattern(1 << 18)
    let id = try await named("a", bytes, checkpointed: false)
    let faults = FaultStore(world.store)
    let early = EarlyReads(faults, from: faults, clock: ManualClock())
    let first = FirstReads(store: faults, early: early, executor: Daemon.executor)
    await first.groups()
    let gets = { faults.requests.filter { $0.operation == .get }.map(\.key) }
    try await eventually("root and tables are asked for") { gets().count >= 3 }
    let tables = gets().dropFirst()
    #expect(tables.allSatisfy { $0.contains("/seg/") }, "\(tables)")
    let reader = Daemon(
      early, cache: try world.scratch.directory("reader"), writer: WriterID(high: 9, low: 9))
    let group = try await reader.load(id)
    #expect(gets().count == tables.count + 1, "loading asks for nothing else")
    #expect(try await group.contents("f") == bytes)
    try await world.leave(group)
  }

  /// Of a warm cache the newest states are asked for beside the listing of the names, and nothing else.
  @Test func whatTheCacheKnowsIsAskedForAtOnce() async throws {
    let id = try await named("a", World.pattern(1 << 14))
    let faults = FaultStore(world.store)
    let early = EarlyReads(faults, from: faults, clock: ManualClock())
    let first = FirstReads(store: faults, early: early, executor: Daemon.executor)
    let name = try #require(FileName("a"))
    first.start(known: [GroupRecord(group: id, name: name, kind: .directory, serial: 0)])
    let expected = Set([GroupNames.key(for: name), ObjectKeys.root(of: id)].map(\.text))
    try await eventually("both reads have begun") { faults.requests.count == 2 }
    _ = try await first.names()
    let gets = faults.requests.filter { $0.operation == .get }.map(\.key)
    #expect(Set(gets) == expected && gets.count == 2)
    #expect(faults.requests.count == 3)
  }

  /// A bug that was: groups that were removed in the last hour, whose objects are still there, counted, and
  /// a store that was used for a while had no early reads.
  @Test func removedGroupsDoNotCount() async throws {
    for number in 0..<9 {
      let id = try await named("n\(number)", World.pattern(1 << 14))
      guard number > 0 else { continue }
      _ = try await world.store.put(
        ObjectKeys.deleted(id), IOBuffer([1]), condition: .none, priority: .demand)
    }
    let faults = FaultStore(world.store)
    let early = EarlyReads(faults, from: faults, clock: ManualClock())
    let first = FirstReads(store: faults, early: early, executor: Daemon.executor)
    await first.groups()
    let roots = { faults.requests.filter { $0.operation == .get && $0.key.hasSuffix("/root") } }
    try await eventually("the root of the one that is left is read") { roots().count == 1 }
    #expect(roots().count == 1)
  }

  /// In a store of many groups nobody can know which is wanted.
  @Test func ofManyGroupsNoneIsReadEarly() async throws {
    for number in 0..<9 { _ = try await named("n\(number)", World.pattern(1 << 14)) }
    let faults = FaultStore(world.store)
    let early = EarlyReads(faults, from: faults, clock: ManualClock())
    let first = FirstReads(store: faults, early: early, executor: Daemon.executor)
    _ = try await first.names()
    await first.groups()
    let buffer = IOBuffer(capacity: 100_000)
    let key = GroupNames.key(for: try #require(FileName("n0")))
    _ = try await early.get(key, range: nil, into: buffer, priority: .demand)
    let gets = faults.requests.filter { $0.operation == .get }.map(\.key)
    #expect(gets == [key.text])
  }

  /// The checks that a mount makes of its store do not hold it up: who needs them waits.
  @Test func aClaimWaitsForTheCheckOfConditionalWrites() async throws {
    let id = try await named("a", World.pattern(1 << 14))
    let daemon = try world.host(1)
    daemon.engine.health.beginCheck()
    let group = try await daemon.load(id)
    let isClaimed = Flag()
    let claim = Task {
      try await group.claim()
      isClaimed.raise()
    }
    #expect(try await group.contents("f") == World.pattern(1 << 14))
    #expect(!isClaimed.isRaised)
    #expect(daemon.faults.requests.allSatisfy { $0.operation == .get })
    daemon.engine.health.endCheck(isHonoured: true)
    try await claim.value
    try await world.leave(group)
    let refused = try world.host(2)
    refused.engine.health.beginCheck()
    let other = try await refused.load(id)
    let refusal = Task { try await other.claim() }
    refused.engine.health.endCheck(isHonoured: false)
    await #expect(throws: RegionError.io) { try await refusal.value }
    #expect(refused.faults.requests.allSatisfy { $0.operation == .get })
  }
}
