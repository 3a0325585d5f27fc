import RegionTesting
import Testing

@testable import RegionCore

/// What may leave the cache and what may not, one case at a time; `GroupModelTests` has the rest.
@Suite struct EvictionTests {
  private let world: World
  private static let chunk = 1 << 16

  init() throws { world = try World() }

  private func evictAll(_ region: Region) async throws -> [Region.Eviction] {
    try await settle(region)
    return (0..<region.chunkCount).map { region.evict($0) }
  }

  private func settle(_ region: Region) async throws {
    // What a pull is about to bring, or has just brought, stays.
    try await eventually("no pull is under way") {
      region.state.withLock { state in
        state.background.phase != .running && state.filling.isEmpty
          && !(0..<region.chunkCount).contains { state.machine.isPulling($0) }
      }
    }
    // What was read ahead is kept in memory until it is read, and in the data file as long.
    region.engine.hotChunks.removeAll(of: region.chunks)
  }

  /// It kept the caches of its files, and they kept it: a simulation's memory grew with each daemon.
  @Test func whatIsDormantIsNotKeptByItsFiles() throws {
    weak var remains: DormantFiles?
    do {
      let dormant = DormantFiles()
      let id = Random128(high: 1, low: 2)
      let cache = try GroupCache(
        group: id, cacheDirectory: "/cache", disk: SimulatedDisk(), dormant: dormant)
      dormant.closed(DormantFiles.Name(group: id, file: 2), cache, bytes: 4096)
      #expect(dormant.bytes == 4096)
      remains = dormant
    }
    #expect(remains == nil)
  }

  @Test func aCleanChunkGoesAndComesBack() async throws {
    let bytes = World.pattern(4 * Self.chunk)
    let id = try await world.group(bytes)
    let daemon = try world.host(1)
    let group = try await daemon.load(id)
    let region = try group.region("f")
    #expect(try await group.contents("f") == bytes)
    #expect(try await evictAll(region) == Array(repeating: .evicted, count: 4))
    #expect(try region.data.allocatedBytes() == 0)
    #expect(region.chunksPresent.load(ordering: .relaxed) == 0)
    #expect(try await evictAll(region) == Array(repeating: .gone, count: 4))
    #expect(try await group.contents("f") == bytes)
  }

  @Test func anUncommittedChunkStaysUntilItsCommit() async throws {
    let bytes = World.pattern(4 * Self.chunk)
    let id = try await world.group(bytes)
    let group = try await world.host(1).load(id)
    let region = try group.region("f")
    try await group.claim()
    _ = try await group.contents("f")
    try await group.put([1, 2, 3], region, at: Self.chunk + 5)
    #expect(try await evictAll(region) == [.evicted, .kept, .evicted, .evicted])
    try await group.committed()
    try await settle(region)
    #expect(region.evict(1) == .evicted)
    var expected = bytes
    expected.replaceSubrange(Self.chunk + 5..<Self.chunk + 8, with: [1, 2, 3])
    #expect(try await group.contents("f") == expected)
  }

  @Test func pagesWrittenInAnAbsentChunkStayUntilTheirCommit() async throws {
    let bytes = World.pattern(2 * Self.chunk)
    let id = try await world.group(bytes)
    let group = try await world.host(1).load(id)
    let region = try group.region("f")
    try await group.claim()
    try await group.put([UInt8](repeating: 9, count: 4096), region, at: Self.chunk)
    #expect(region.evict(1) == .kept)
    try await group.committed()
    try await settle(region)
    #expect(region.evict(1) == .evicted)
    #expect(try region.data.allocatedBytes() == 0)
    var expected = bytes
    expected.replaceSubrange(Self.chunk..<Self.chunk + 4096, with: repeatElement(9, count: 4096))
    #expect(try await group.contents("f") == expected)
  }

  @Test func aZeroedChunkThatWasReadStaysUntilItsCommit() async throws {
    let id = try await world.group(World.pattern(2 * Self.chunk))
    let group = try await world.host(1).load(id)
    let region = try group.region("f")
    try await group.claim()
    try await group.perform(region) {
      group.zero(region, 0..<UInt64(Self.chunk), size: nil)
    }
    let zeros = [UInt8](repeating: 0, count: Self.chunk)
    #expect(try await region.contents(0..<Self.chunk) == zeros)
    #expect(region.chunks.isPresent(0))
    #expect(region.evict(0) == .kept)
    try await group.committed()
    try await settle(region)
    #expect(region.evict(0) == .evicted)
    #expect(try await region.contents(0..<Self.chunk) == zeros)
  }

  @Test func anOpenFileWithoutANameKeepsAll() async throws {
    let bytes = World.pattern(2 * Self.chunk)
    let id = try await world.group(bytes)
    let group = try await world.host(1).load(id)
    try await group.claim()
    let file = try group.region("f").file
    let region = try group.open(file, writable: false).region
    #expect(try await region.contents(0..<bytes.count) == bytes)
    try group.unlink("f")
    try await group.committed()
    #expect(try await evictAll(region) == [.kept, .kept])
    group.close(file, writable: false)
  }

  @Test func aChunkThatIsBeingReadStays() async throws {
    let bytes = World.pattern(Self.chunk)
    let group = try await world.host(1).load(try await world.group(bytes))
    let region = try group.region("f")
    _ = try await group.contents("f")
    try await settle(region)
    guard case .entered = region.chunks.enter(0) else { throw Unexpected("chunk 0 is absent") }
    #expect(region.evict(0) == .kept)
    region.chunks.leave(0)
    #expect(region.evict(0) == .evicted)
  }

  /// A killed daemon's replay must mark what it replays: the state file of before says "present".
  @Test func whatIsReplayedAfterACrashStaysUntilItsCommit() async throws {
    let bytes = World.pattern(3 * Self.chunk)
    let id = try await world.group(bytes)
    let daemon = try world.host(1)
    let group = try await daemon.load(id)
    try await group.claim()
    _ = try await group.contents("f")
    try await group.put([7], try group.region("f"), at: Self.chunk)
    await daemon.crash(group)
    let next = try world.host(1)
    let again = try await next.load(id)
    let region = try again.region("f")
    #expect(try await evictAll(region) == [.evicted, .kept, .evicted])
    var expected = bytes
    expected[Self.chunk] = 7
    #expect(try await again.contents("f") == expected)
  }

  /// An evicted chunk must not come back as present zeros.
  @Test func evictedChunksAreAbsentAfterACrashAndAfterARestart() async throws {
    let bytes = World.pattern(4 * Self.chunk)
    let id = try await world.group(bytes)
    var daemon = try world.host(1)
    var group = try await daemon.load(id)
    for isKilled in [true, false] {
      #expect(try await group.contents("f") == bytes)
      try await settle(try group.region("f"))
      #expect(try group.region("f").evict(2) == .evicted)
      if isKilled { await daemon.crash(group) } else { try await world.leave(group) }
      daemon = try world.host(1)
      group = try await daemon.load(id)
      let region = try group.region("f")
      #expect((0..<4).map { region.chunks.isPresent($0) } == [true, true, false, true])
      #expect(try await group.contents("f") == bytes)
    }
  }

  @Test func theBudgetKeepsTheDataFilesWithinTheLimit() async throws {
    let bytes = World.pattern(64 * Self.chunk)
    let id = try await world.group(bytes)
    let limit = UInt64(16 * Self.chunk)
    let daemon = try world.host(1) { $0.cacheLimit = CacheLimit(bytes: limit) }
    let group = try await daemon.load(id)
    let region = try group.region("f")
    for _ in 0..<2 { #expect(try await group.contents("f") == bytes) }
    daemon.engine.cacheBudget.makeRoom()
    try await eventually("the eviction ends") { !daemon.engine.cacheBudget.isAtWork }
    daemon.engine.cacheBudget.makeRoom()
    #expect(try region.data.allocatedBytes() <= limit)
    #expect(daemon.engine.cacheBudget.statistics.evictedChunks > 0)
  }

  @Test func pinnedChunksStayAndAreRemembered() async throws {
    let bytes = World.pattern(8 * Self.chunk)
    let id = try await world.group(bytes)
    let pinned = UInt64(2 * Self.chunk)..<UInt64(3 * Self.chunk + 1)
    let group = try await world.host(1).load(id)
    let file = try group.region("f").file
    try group.pin(file, [pinned])
    _ = try await group.contents("f")
    let stays: [Region.Eviction] = (0..<8).map { $0 == 2 || $0 == 3 ? .kept : .evicted }
    #expect(try await evictAll(try group.region("f")) == stays)
    try await world.leave(group)
    let again = try await world.host(1).load(id)
    #expect(try again.pins(of: file) == [pinned])
    _ = try await again.contents("f")
    #expect(try await evictAll(try again.region("f")) == stays)
    try again.pin(file, [])
    #expect(try again.region("f").evict(2) == .evicted)
  }
}
