import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// Pulls that meet writes, truncations, other writers' commits and the end. Each test is named for
/// what went wrong, or must not.
@Suite struct PullRaceTests {
  private let world: World
  private static let chunk = 1 << 16

  init() throws { world = try World() }

  /// A cold host that has the claim.
  private func writer(_ number: Int, _ id: GroupID) async throws -> (Daemon, Group) {
    let daemon = try world.host(number)
    let group = try await daemon.load(id)
    try await group.claim()
    return (daemon, group)
  }

  @Test func aPullDoesNotBeginToFillBeneathAChangeThatIsBeingApplied() async throws {
    let (daemon, group) = try await writer(1, try await world.group(World.pattern(Self.chunk)))
    daemon.faults.add(.init(.blackhole, on: [.get], keyContains: "/seg/"))
    let region = try group.region("f")
    region.demand(0..<10) { _ in }
    #expect(region.canReplace(0..<1).isReady)
    #expect(region.beginFill(0, .demand) == nil)
    region.endReplacing()
    #expect(region.beginFill(0, .demand) == [0..<16])
    #expect(!region.canReplace(0..<1).isReady)
    region.endFill(0..<1, .demand, filled: false)
    daemon.faults.removeRules()
    daemon.faults.release()
  }

  /// A bug that was: the message named the file in the cache.
  @Test func aReadThatFailsNamesTheFileAsUsersKnowIt() async throws {
    let id = try await world.group(World.pattern(Self.chunk))
    let daemon = try world.host(1)
    let group = try await daemon.load(id)
    group.noteName(try #require(FileName("top")))
    daemon.faults.add(.init(.failBefore(.accessDenied), on: [.get], keyContains: "/seg/"))
    let region = try group.region("f")
    await #expect(throws: RegionError.io) { try await region.demanded(0..<10) }
    #expect(daemon.lines.withLock { $0.contains { $0.contains("cannot read top/f: ") } })
    group.closeRegions()
  }

  @Test func writesBesideAPullAreNotOverwritten() async throws {
    let old = World.pattern(8 * Self.chunk)
    let id = try await world.group(old)
    for seed in 1...10 {
      let (daemon, group) = try await writer(seed, id)
      daemon.faults.add(.init(.delay(.microseconds(300)), on: [.get], probability: 0.5))
      let region = try group.region("f")
      region.pullAll(reason: "test")
      var random = SplitMix64(seed: UInt64(seed))
      var expected = old
      for _ in 0..<150 {
        let at = Int.random(in: 0..<old.count - 9000, using: &random)
        let offset = random.oneIn(2) ? at & ~0xFFF : at
        let new = [UInt8](repeating: UInt8.random(in: 0...255, using: &random), count: 4096)
        try await group.put(new, region, at: offset)
        expected.replaceSubrange(offset..<offset + 4096, with: new)
      }
      #expect(try await group.contents("f") == expected)
      group.crash()
      // The next one takes over what this one never committed.
      let next = try world.host(100 + seed) { $0.takeover = true }
      let cleaner = try await next.load(id)
      try await cleaner.claim()
      #expect(await cleaner.drain())
    }
  }

  @Test func aPullOfOldBytesIsThrownAwayWhenANewerCommitIsAdopted() async throws {
    let id = try await world.group(World.pattern(Self.chunk))
    let daemon = try world.host(1)
    let reader = try await daemon.load(id)
    daemon.faults.add(.init(.blackhole, on: [.get], keyContains: "/seg/", count: 1))
    let region = try reader.region("f")
    region.demand(0..<10) { _ in }
    try await eventually("a request is held up") { daemon.faults.parked > 0 }
    #expect(region.beginFill(0, .demand) == [0..<16])
    let (_, writer) = try await writer(2, id)
    try await writer.put([9, 9, 9], try writer.region("f"), at: 0)
    try await writer.committed()
    // The old bytes are written, and only then the pull hears of it.
    try region.data.write(World.pattern(Self.chunk), at: 0)
    await reader.refresh(maxAge: .zero)
    region.endFill(0..<1, .demand, filled: true)
    #expect(try await reader.contents("f") == (try await writer.contents("f")))
    daemon.faults.release()
  }

  @Test func pagesWrittenInAbsentChunksAreDroppedWhenOthersChangeThem() async throws {
    let id = try await world.group(World.pattern(Self.chunk))
    let (_, first) = try await writer(1, id)
    try await first.put([UInt8](repeating: 1, count: 4096), try first.region("f"), at: 0)
    #expect(await first.drain())
    let (_, second) = try await writer(2, id)
    try await second.put([UInt8](repeating: 2, count: 4096), try second.region("f"), at: 0)
    #expect(await second.drain())
    await first.refresh(maxAge: .zero)
    #expect(try await first.contents("f") == (try await second.contents("f")))
  }

  @Test func bytesDroppedBeforeTheyWereReadAreDemandedAgain() async throws {
    let id = try await world.group(World.pattern(Self.chunk))
    let reader = try await world.host(1).load(id)
    let region = try reader.region("f")
    try await region.demanded(0..<100)
    try region.invalidate(0..<1)
    let buffer = IOBuffer(capacity: 100)
    guard case .missed = unsafe region.readData(0, into: buffer.memory) else {
      Issue.record("a hole was read")
      return
    }
    #expect(try await region.contents(0..<100) == Array(World.pattern(Self.chunk)[..<100]))
  }

  @Test func aChunkIsDroppedOnlyBehindItsReaders() async throws {
    let id = try await world.group(World.pattern(Self.chunk))
    let reader = try await world.host(1).load(id)
    let region = try reader.region("f")
    try await region.demanded(0..<100)
    guard case .entered = region.chunks.enter(0) else {
      Issue.record("not present")
      return
    }
    let isDropped = Flag()
    // On a thread of its own: it blocks.
    startThread {
      do { try region.invalidate(0..<1) } catch { Issue.record(error) }
      isDropped.raise()
    }
    try await eventually("the chunk is being dropped") { !region.chunks.isPresent(0) }
    let buffer = IOBuffer(capacity: 4096)
    for _ in 0..<50 {
      buffer.count = try unsafe region.data.read(into: buffer.memory, at: 0)
      #expect(buffer.array == Array(World.pattern(Self.chunk)[..<4096]))
      #expect(!isDropped.isRaised)
      await Task.yield()
    }
    region.chunks.leave(0)
    try await eventually("the chunk is dropped") { isDropped.isRaised }
  }

  @Test func truncatingDownAndUpBesideAPullDoesNotBringOldBytesBack() async throws {
    let id = try await world.group(World.pattern(2 * Self.chunk))
    let (daemon, group) = try await writer(1, id)
    daemon.faults.add(.init(.blackhole, on: [.get], keyContains: "/seg/", count: 1))
    let region = try group.region("f")
    async let read = region.contents(0..<2 * Self.chunk)
    try await eventually("a request is held up") { daemon.faults.parked > 0 }
    try await group.perform(region) { group.resize(region, to: 0) }
    try await group.perform(region) { group.resize(region, to: UInt64(2 * Self.chunk)) }
    daemon.faults.release()
    _ = try await read
    let zeros = [UInt8](repeating: 0, count: 2 * Self.chunk)
    #expect(try await group.contents("f") == zeros)
    try await group.committed()
    #expect(try await world.elsewhere(id)["f"] == zeros)
    try await world.leave(group)
    #expect(try await world.host(1).load(id).contents("f") == zeros)
  }

  @Test func truncatingBesideAGrowingWriteLeavesNothingBehindTheEnd() async throws {
    let daemon = try world.host(1)
    let group = try await daemon.create()
    try group.make("f")
    let region = try group.region("f")
    for round in 0..<200 {
      async let grow: Void = group.put([UInt8](repeating: 7, count: 4096), region, at: 70_000)
      async let shrink: Void = group.perform(region) { group.resize(region, to: 10) }
      _ = try await (grow, shrink)
      let size = Int(region.size)
      try await group.perform(region) { group.resize(region, to: 90_000) }
      let behind = try await region.contents(size..<90_000)
      #expect(behind.allSatisfy { $0 == 0 }, "round \(round), size \(size)")
      try await group.perform(region) { group.resize(region, to: 0) }
    }
  }

  @Test func nothingWritesToARegionsFilesAfterItWasClosed() async throws {
    let id = try await world.group(World.pattern(Self.chunk))
    let daemon = try world.host(1)
    let group = try await daemon.load(id)
    daemon.faults.add(.init(.blackhole, on: [.get], keyContains: "/seg/"))
    let region = try group.region("f")
    let isFailed = Flag()
    region.demand(0..<10) { _ in isFailed.raise() }
    #expect(region.beginFill(0, .demand) != nil)
    let isClosed = Flag()
    startThread {
      region.close()
      isClosed.raise()
    }
    try await eventually("the read has failed") { isFailed.isRaised }
    for _ in 0..<100 { await Task.yield() }
    #expect(!isClosed.isRaised)
    region.endFill(0..<1, .demand, filled: true)
    try await eventually("the region is closed") { isClosed.isRaised }
    #expect(region.beginFill(0, .demand) == nil)
    daemon.faults.removeRules()
    daemon.faults.release()
  }

  /// Reads that are given up, fail, or end with the region: each is answered once.
  @Test func everyParkedReadIsAnsweredOnce() async throws {
    let id = try await world.group(World.pattern(16 * Self.chunk))
    for seed in 1...40 {
      let daemon = try world.host(seed)
      let group = try await daemon.load(id)
      var random = SplitMix64(seed: UInt64(seed))
      daemon.faults.add(
        .init(.failBefore(.accessDenied), on: [.get], keyContains: "/seg/", probability: 0.2))
      daemon.faults.add(.init(.delay(.microseconds(200)), on: [.get], probability: 0.5))
      let region = try group.region("f")
      let answers = Lock<[Int: Int]>([:])
      var given = 0
      for number in 0..<60 {
        let first = UInt64.random(in: 0..<UInt64(15 * Self.chunk), using: &random)
        let ticket = region.demand(first..<first + 130_000) { _ in
          answers.withLock { $0[number, default: 0] += 1 }
        }
        if random.oneIn(3), region.cancel(ticket) {
          given += 1
          answers.withLock { $0[number, default: 0] += 1 }
        }
        if random.oneIn(10) { try region.invalidate(0..<16) }
        if random.oneIn(5) { await Task.yield() }
        region.state.withLock { $0.machine.checkInvariants() }
      }
      if random.oneIn(2) { region.close() }
      try await eventually("all reads are answered") { answers.withLock { $0.count } >= 60 }
      group.crash()
      for _ in 0..<20 { await Task.yield() }
      #expect(answers.withLock { $0.values.allSatisfy { $0 == 1 } }, "seed \(seed)")
      #expect(region.state.withLock { $0.parked.isEmpty })
    }
  }

  @Test func aBackgroundPullThatFailedInPartMayBeginAgain() async throws {
    let bytes = World.pattern(40 * Self.chunk)
    let id = try await world.group(bytes)
    let daemon = try world.host(1)
    let group = try await daemon.load(id)
    daemon.faults.add(
      .init(.failBefore(.accessDenied), on: [.get], keyContains: "/seg/", count: 1))
    let region = try group.region("f")
    await pull(region)
    #expect(region.state.withLock { $0.background.phase } == .idle)
    await pull(region)
    #expect(region.state.withLock { $0.background.phase } == .done)
    #expect((0..<40).allSatisfy { region.chunks.isPresent($0) })
    #expect(try await group.contents("f") == bytes)
  }

  /// A bug that was: the workers wait for one probing transfer, so in an outage each of them found
  /// out for itself that the store was down.
  @Test func aBackgroundPullEndsSoonWhileTheStoreIsDown() async throws {
    let id = try await world.group(World.pattern(400 * Self.chunk))
    let daemon = try world.host(1)
    let group = try await daemon.load(id)
    let region = try group.region("f")
    daemon.faults.add(.init(.failBefore(.unavailable), on: [.get], keyContains: "/seg/"))
    daemon.engine.health.noteDown(isChecked: true)
    _ = try? await region.contents(0..<10)
    let ofOne = daemon.faults.requests.count { $0.key.contains("/seg/") }
    await pull(region)
    let all = daemon.faults.requests.count { $0.key.contains("/seg/") }
    #expect(ofOne > 0 && all <= 3 * ofOne, "\(ofOne) and \(all) requests")
    #expect(region.state.withLock { $0.background.phase } == .idle)
  }

  /// An ordered list, as a recorded trace is: it comes first, in its order, and nothing else comes.
  @Test func aListOfChunksIsPulledInItsOrderAndNothingElse() async throws {
    let id = try await world.group(World.pattern(40 * Self.chunk))
    let daemon = try world.host(1) { $0.pull = .lazy }
    let group = try await daemon.load(id)
    let region = try group.region("f")
    region.pull([30..<32, 3..<4, 17..<18], .trace, reason: "test")
    try await eventually("the pull ends") {
      region.state.withLock { $0.background.phase != .running }
    }
    #expect((0..<40).filter { region.chunks.isPresent($0) } == [3, 17, 30, 31])
    #expect(region.state.withLock { $0.background.phase } == .idle)
    await pull(region)
    #expect((0..<40).allSatisfy { region.chunks.isPresent($0) })
  }

  @Test func aWishWhileEverythingIsPulledIsNotLost() async throws {
    let id = try await world.group(World.pattern(40 * Self.chunk))
    let daemon = try world.host(1) { $0.pull = .lazy }
    let group = try await daemon.load(id)
    let region = try group.region("f")
    for first in 0..<40 as Range<ChunkIndex> {
      region.pull([first..<first + 1], first % 2 == 0 ? .hint : .request, reason: "test")
      await Task.yield()
    }
    try await eventually("the pull ends") {
      region.state.withLock { $0.background.phase != .running }
    }
    #expect((0..<40).allSatisfy { region.chunks.isPresent($0) })
  }

  @Test func readingInStridesIsForetold() async throws {
    let id = try await world.group(World.pattern(80 * Self.chunk))
    let daemon = try world.host(1) { $0.pull = .lazy }
    let group = try await daemon.load(id)
    let region = try group.region("f")
    for chunk in [70, 65, 60, 55] {
      _ = try await region.contents(chunk * Self.chunk..<chunk * Self.chunk + 9)
    }
    try await eventually("all pulls end") { region.state.withLock { $0.machine.pullCount == 0 } }
    let expected = Set([70, 65, 60, 55, 50, 45, 40, 35, 30, 25, 20, 15] as [ChunkIndex])
    #expect(expected.allSatisfy { region.chunks.isPresent($0) })
    #expect(!region.chunks.isPresent(51) && !region.chunks.isPresent(5))
  }

  private func pull(_ region: Region) async {
    await withCheckedContinuation { continuation in
      region.pullAll(reason: "test") { continuation.resume() }
    }
  }

  /// A read whose chunk is part of a background transfer that hangs is not held up by it, and what
  /// that transfer brings afterwards changes nothing.
  @Test func aReadOvertakesTheBackgroundTransferThatHoldsItsChunk() async throws {
    let bytes = World.pattern(40 * Self.chunk)
    let id = try await world.group(bytes)
    let daemon = try world.host(1)
    let group = try await daemon.load(id)
    daemon.faults.add(.init(.blackhole, on: [.get], keyContains: "/seg/", count: 1))
    let region = try group.region("f")
    region.pullAll(reason: "test")
    try await eventually("a request is held up") { daemon.faults.parked > 0 }
    let held = region.state.withLock { $0.machine.pulling(in: 0..<40).min() }
    let first = Int(try #require(held)) * Self.chunk
    #expect(
      try await region.contents(first..<first + 4096) == Array(bytes[first..<first + 4096]))
    #expect(daemon.faults.parked == 1)
    daemon.faults.release()
    #expect(try await group.contents("f") == bytes)
  }

  @Test func twoPullsOfOneChunkNeverFillItAtOnce() async throws {
    let id = try await world.group(World.pattern(Self.chunk))
    let daemon = try world.host(1)
    let group = try await daemon.load(id)
    daemon.faults.add(.init(.blackhole, on: [.get], keyContains: "/seg/"))
    let region = try group.region("f")
    region.pullAll(reason: "test")
    try await eventually("a request is held up") { daemon.faults.parked > 0 }
    region.demand(0..<10) { _ in }
    try await eventually("two requests are held up") { daemon.faults.parked >= 2 }
    #expect(region.beginFill(0, .bulk) == [0..<16])
    #expect(region.beginFill(0, .demand) == nil)
    try region.data.write(World.pattern(Self.chunk), at: 0)
    region.endFill(0..<1, .bulk, filled: true)
    #expect(region.chunks.isPresent(0))
    #expect(region.beginFill(0, .demand) == nil)
    daemon.faults.removeRules()
    daemon.faults.release()
    #expect(try await group.contents("f") == World.pattern(Self.chunk))
  }

  @Test func aMapIsNeverSeenWithoutItsTail() async throws {
    let id = try await world.group(World.pattern(Self.chunk))
    let group = try await world.host(1).load(id)
    let (root, _) = try await group.objects.root()
    let tree = try await TreeLoader(objects: group.objects).load(root)
    let isOver = Flag()
    await withTaskGroup { tasks in
      tasks.addTask {
        for _ in 0..<20_000 { group.map.reset(to: tree.index, tables: tree.tables) }
        isOver.raise()
      }
      tasks.addTask {
        var holes = 0
        while !isOver.isRaised {
          if group.map.known(2, 0)?.isEmpty != false { holes += 1 }
        }
        #expect(holes == 0)
      }
    }
  }
}

extension Region.Readiness {
  var isReady: Bool { if case .ready = self { true } else { false } }
}
