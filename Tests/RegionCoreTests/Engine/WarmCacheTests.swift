import RegionTesting
import Testing

@testable import RegionCore

/// What a cache may be believed after a restart: no more, and no less.
@Suite struct WarmCacheTests {
  private let world: World
  private static let chunk = 1 << 16

  init() throws { world = try World() }

  /// Host 1 has read all of `f` and was unmounted in order.
  private func warm(_ bytes: [UInt8]) async throws -> GroupID {
    let id = try await world.group(bytes)
    let group = try await world.host(1).load(id)
    #expect(try await group.contents("f") == bytes)
    try await world.leave(group)
    return id
  }

  @Test func nothingIsPulledAgainAfterARestart() async throws {
    let bytes = World.pattern(8 * Self.chunk)
    let id = try await warm(bytes)
    let daemon = try world.host(1)
    let group = try await daemon.load(id)
    let tables = daemon.segmentReads
    #expect(try await group.contents("f") == bytes)
    #expect(daemon.segmentReads == tables)
    // Nor after a killed one, whatever it wrote.
    try await group.claim()
    try await group.put([1, 2, 3], try group.region("f"), at: 3 * Self.chunk - 1)
    await daemon.crash(group)
    let next = try world.host(1) { $0.checkpointSegments = 1 }
    let again = try await next.load(id)
    let reads = next.segmentReads
    #expect(try await again.contents("f")[3 * Self.chunk] == 2)
    #expect(next.segmentReads == reads)
    // Nor after its commit and a checkpoint.
    try await again.committed()
    try await eventually("a checkpoint is made") { again.state.withLock { $0.root.tail.isEmpty } }
    try await world.leave(again)
    let last = try world.host(1)
    let final = try await last.load(id)
    #expect(try await final.contents("f")[3 * Self.chunk - 1] == 1)
    #expect(last.segmentReads == 0)
  }

  /// A bug that was, found by the simulation (seed 69734): after a power loss in the midst of a removal
  /// the state file was there without the data file, was believed, and its chunks read as zeros.
  @Test func aStateWithoutItsBytesIsNotBelieved() async throws {
    let bytes = World.pattern(4 * Self.chunk)
    let id = try await warm(bytes)
    let daemon = try world.host(1)
    let data = "\(daemon.cache)/\(id)/data"
    for name in try LocalDirectory.names(in: data) {
      try LocalDirectory.removeFile("\(data)/\(name)")
    }
    let group = try await daemon.load(id)
    #expect(try await group.contents("f") == bytes)
    group.closeRegions()
  }

  @Test func aBootWithoutAnOrderlyEndForgetsTheCache() async throws {
    let bytes = World.pattern(2 * Self.chunk)
    let id = try await warm(bytes)
    let daemon = try world.host(1)
    let group = try await daemon.load(id)
    try await group.claim()
    try await group.put([5], try group.region("f"), at: 0)
    await daemon.crash(group)
    let next = Daemon(
      world.store, cache: daemon.cache, writer: daemon.engine.writer,
      boot: Random128(high: 2, low: 2))
    let again = try await next.load(id)
    let region = try again.region("f")
    #expect(!region.chunks.isPresent(1))
    var expected = bytes
    expected[0] = 5
    #expect(try await again.contents("f") == expected)
    // An orderly one is believed by any boot.
    try await world.leave(again)
    let third = Daemon(
      world.store, cache: daemon.cache, writer: daemon.engine.writer,
      boot: Random128(high: 3, low: 3))
    #expect(try await third.load(id).region("f").chunks.isPresent(1))
  }

  /// Another host changes a page, a range of zeros and the size.
  private func changeElsewhere(_ id: GroupID) async throws -> [UInt8] {
    let group = try await world.host(2).load(id)
    try await group.claim()
    let region = try group.region("f")
    try await group.put([0xAA, 0xBB], region, at: 3 * Self.chunk + 5)
    try await group.perform(region) {
      group.zero(region, UInt64(5 * Self.chunk)..<UInt64(6 * Self.chunk), size: nil)
    }
    try await group.committed()
    let bytes = try await group.contents("f")
    try await world.leave(group)
    return bytes
  }

  @Test func exactlyTheChunksThatOthersChangedAreDropped() async throws {
    let id = try await warm(World.pattern(8 * Self.chunk))
    let live = try await world.host(3).load(id)
    _ = try await live.contents("f")
    let expected = try await changeElsewhere(id)
    await live.refresh(maxAge: .zero)
    let daemon = try world.host(1)
    let again = try await daemon.load(id)
    for group in [live, again] {
      let region = try group.region("f")
      let present = (0..<8).filter { region.chunks.isPresent($0) }
      #expect(present == [0, 1, 2, 4, 6, 7])
      #expect(try await group.contents("f") == expected)
    }
  }

  @Test func aCacheOlderThanTheCheckpointIsDropped() async throws {
    let id = try await warm(World.pattern(8 * Self.chunk))
    _ = try await changeElsewhere(id)
    let other = try await world.host(2) { $0.checkpointSegments = 1 }.load(id)
    try await other.claim()
    try await other.put([0xCC], try other.region("f"), at: 7 * Self.chunk)
    try await other.committed()
    try await eventually("a checkpoint is made") { other.state.withLock { $0.root.tail.isEmpty } }
    try await other.put([0xDD], try other.region("f"), at: 6 * Self.chunk)
    try await other.committed()
    let expected = try await other.contents("f")
    try await world.leave(other)
    #expect(try await world.host(1).load(id).contents("f") == expected)
  }

  /// A bug that was: a root with nothing new but a checkpoint dropped all that followers had.
  @Test func aCheckpointAloneDropsNothing() async throws {
    let id = try await world.group(World.pattern(4 * Self.chunk))
    let writer = try await world.host(2) { $0.checkpointSegmentsAtRelease = 1 }.load(id)
    try await writer.claim()
    try await writer.put([9], try writer.region("f"), at: 0)
    try await writer.committed()
    let reader = try await world.host(1).load(id)
    let region = try reader.region("f")
    let expected = try await reader.contents("f")
    #expect(reader.state.withLock { !$0.root.tail.isEmpty })
    let file = try writer.region("f").file
    for _ in 0..<2 { writer.close(file, writable: true) }
    try await world.leave(writer)
    await reader.refresh(maxAge: .zero)
    #expect(reader.state.withLock { $0.root.tail.isEmpty })
    #expect((0..<4).allSatisfy { region.chunks.isPresent($0) })
    #expect(try await reader.contents("f") == expected)
  }

  @Test func aRegionWithUncommittedPagesInAbsentChunksIsNotRetired() async throws {
    let daemon = try world.host(0)
    let first = try await daemon.create()
    let count = 280
    for number in 0..<count {
      try first.make("f\(number)")
      let region = try first.region("f\(number)")
      try await first.put(World.pattern(9000, UInt8(number & 0xFE)), region, at: 0)
    }
    try await world.leave(first)
    let group = try await world.host(1).load(first.id)
    try await group.claim()
    var expected: [String: [UInt8]] = [:]
    for number in 0..<count {
      let region = try group.region("f\(number)")
      try await group.put([UInt8](repeating: 3, count: 4096), region, at: 0)
      group.close(region.file, writable: true)
      var bytes = World.pattern(9000, UInt8(number & 0xFE))
      bytes.replaceSubrange(0..<4096, with: [UInt8](repeating: 3, count: 4096))
      expected["f\(number)"] = bytes
    }
    #expect(group.state.withLock { $0.regions.count } == count)
    #expect(try await group.tree() == expected)
    try await group.committed()
    // Now they are committed, and may go.
    #expect(try await group.tree() == expected)
    #expect(group.state.withLock { $0.regions.count } < count)
    try await world.leave(group)
    #expect(try await world.host(1).load(first.id).tree() == expected)
  }

  @Test func punchingAndTruncatingAnUnpulledRegionNeedsOnlyItsEdges() async throws {
    let bytes = World.pattern(8 * Self.chunk)
    let id = try await world.group(bytes)
    let daemon = try world.host(1)
    let group = try await daemon.load(id)
    try await group.claim()
    let region = try group.region("f")
    let before = daemon.segmentReads
    try await group.perform(region) {
      group.zero(region, UInt64(Self.chunk)..<UInt64(3 * Self.chunk), size: nil)
    }
    try await group.perform(region) { group.resize(region, to: UInt64(5 * Self.chunk)) }
    try await group.perform(region) { group.resize(region, to: UInt64(7 * Self.chunk)) }
    #expect(daemon.segmentReads == before)
    var expected = Array(bytes[..<(5 * Self.chunk)])
    expected.replaceSubrange(
      Self.chunk..<3 * Self.chunk, with: repeatElement(0, count: 2 * Self.chunk))
    expected += [UInt8](repeating: 0, count: 2 * Self.chunk)
    #expect(try await group.contents("f") == expected)
    try await group.committed()
    #expect(try await world.elsewhere(id)["f"] == expected)
  }
}
