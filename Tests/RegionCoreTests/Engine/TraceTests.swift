import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// A recorded trace from one start to the next: kept, replayed, ignored where it is wrong.
@Suite struct TraceTests {
  private let world: World
  private static let chunk = 1 << 16
  private static let chunks = 256
  /// A page of each chunk is not zero.
  private static let bytes: [UInt8] = {
    var bytes = [UInt8](repeating: 0, count: chunks * chunk)
    for at in 0..<chunks { bytes.replaceSubrange(at * chunk..<at * chunk + 4096, with: page) }
    return bytes
  }()
  private static let page = [UInt8](repeating: 7, count: 4096)

  init() throws { world = try World() }

  /// A start is two minutes long, so the clock is a true one.
  private func life(
    _ number: Int, clock: any EngineClock = SystemClock(),
    _ change: (inout EngineSettings) -> Void = { _ in }
  ) throws -> Daemon {
    try world.host(number, clock: clock) { settings in
      // Or the first miss would have all of these small files pulled.
      settings.fewMisses = { _ in 4 }
      change(&settings)
    }
  }

  /// Reads the first bytes of chunks, one after the other.
  private func read(_ chunks: [Int], of group: Group, _ name: String = "f") async throws {
    let region = try group.region(name)
    defer { group.close(region.file, writable: true) }
    for chunk in chunks {
      _ = try await region.contents(chunk * Self.chunk..<chunk * Self.chunk + 10)
    }
  }

  /// A start of a program at a host with an empty cache that replays nothing; keeps what it read.
  private func record(_ chunks: [Int], _ id: GroupID, host: Int = 50) async throws {
    let group = try await life(host).load(id)
    try await read(chunks, of: group)
    await group.saveTrace(atEnd: true)
    group.closeRegions()
  }

  private func makeGroup() async throws -> GroupID {
    let daemon = try life(0)
    let group = try await daemon.create()
    let file = try group.make("f")
    let region = try group.open(file, writable: true).region
    for at in 0..<Self.chunks { try await group.put(Self.page, region, at: at * Self.chunk) }
    try await group.perform(region) {
      group.resize(region, to: UInt64(Self.chunks * Self.chunk))
    }
    group.close(file, writable: true)
    try await world.leave(group)
    return group.id
  }

  /// The chunks of `f` in the store's trace.
  private func stored(_ id: GroupID) async throws -> [Int] {
    let group = try await life(90).load(id)
    return try await group.traceReading().parts.flatMap { part in
      (part.bytes.lowerBound >> 16..<part.bytes.upperBound >> 16).map(Int.init)
    }
  }

  /// None of them foretells another one to the read-ahead.
  private static let order = [200, 3, 117, 40, 90, 7, 160]

  private func replay(_ group: Group) async throws -> Region {
    let region = try group.region("f")
    group.replayTrace(opening: region)
    try await eventually("the replay is over") {
      region.state.withLock { $0.background.replayed != nil && !$0.background.replays }
    }
    return region
  }

  @Test func aSecondHostPullsWhatTheFirstOneReadAndNothingElse() async throws {
    let id = try await makeGroup()
    try await record(Self.order, id)
    #expect(try await stored(id) == Self.order)
    let group = try await life(1) { $0.pull = .auto }.load(id)
    let region = try await replay(group)
    #expect((0..<Self.chunks).filter { region.chunks.isPresent(UInt64($0)) } == Self.order.sorted())
    #expect(region.pullReading.reason == "replayed a recorded trace of 7 chunks")
    try await read(Self.order, of: group)
    #expect(region.misses.load(ordering: .relaxed) == 0)
    group.closeRegions()
  }

  @Test func theFirstOfTheTraceArePulledFirst() async throws {
    let id = try await makeGroup()
    // More than are pulled at a time, descending.
    let order = Array(stride(from: 250, to: 100, by: -3))
    try await record(order, id)
    let daemon = try life(1) { $0.pull = .auto }
    let group = try await daemon.load(id)
    daemon.faults.add(.init(.blackhole, on: [.get], keyContains: "/seg/"))
    let region = try group.region("f")
    group.replayTrace(opening: region)
    try await eventually("all transfers are held up") {
      daemon.faults.parked >= TransferWindow.transferLimit
    }
    let pulling = region.state.withLock { state in
      order.filter { state.machine.isPulling(UInt64($0)) }
    }
    #expect(pulling == Array(order[..<TransferWindow.transferLimit]))
    await daemon.crash(group)
  }

  /// Chunks that were replayed do not miss, and must not vanish from the trace for that.
  @Test func aReplayedStartIsRecordedToo() async throws {
    let id = try await makeGroup()
    try await record(Self.order, id)
    let group = try await life(1) { $0.pull = .auto }.load(id)
    _ = try await replay(group)
    let newOrder = [40, 200, 150, 7, 160, 3, 117, 90]
    try await read(newOrder, of: group)
    await group.saveTrace(atEnd: true)
    group.closeRegions()
    #expect(try await stored(id) == newOrder)
  }

  @Test func whatNobodyReadsAnyMoreIsNotReplayedForEver() async throws {
    let id = try await makeGroup()
    try await record(Self.order, id)
    let fewer = Self.order.filter { $0 != 90 }
    for host in 1...Int(Limits.traceUnreadStarts) {
      #expect(try await stored(id).contains(90))
      let group = try await life(host) { $0.pull = .auto }.load(id)
      _ = try await replay(group)
      try await read(fewer, of: group)
      await group.saveTrace(atEnd: true)
      group.closeRegions()
    }
    #expect(try await stored(id) == fewer)
  }

  @Test func aWarmStartChangesNothing() async throws {
    let id = try await makeGroup()
    try await record(Self.order, id)
    for _ in 0..<6 {
      let group = try await life(50) { $0.pull = .auto }.load(id)
      group.replayTrace(opening: try group.region("f"))
      try await read(Self.order, of: group)
      await group.saveTrace(atEnd: true)
      group.closeRegions()
    }
    #expect(try await stored(id) == Self.order)
  }

  @Test(arguments: [0, 1, 40, 100, 5000])
  func aDamagedTraceIsIgnoredAndReplaced(length: Int) async throws {
    let id = try await makeGroup()
    try await record(Self.order, id)
    let key = ObjectKeys.trace(of: id)
    var random = SplitMix64(seed: 3)
    _ = try await world.store.put(
      key, IOBuffer(random.bytes(length)), condition: .none, priority: .demand)
    let daemon = try life(1) { $0.pull = .auto }
    let group = try await daemon.load(id)
    group.replayTrace(opening: try group.region("f"))
    let line = "warning: the recorded trace is ignored"
    func isNoted() -> Bool {
      daemon.lines.withLock { $0.contains { $0.hasPrefix(line) } }
    }
    try await eventually("the line is in the log") { isNoted() }
    try await read(Self.order, of: group)
    #expect(daemon.engine.errors.withLock { $0.count } == 0)
    group.closeRegions()
    // A start whose reads are all seen replaces it.
    try await record(Self.order, id, host: 2)
    #expect(try await stored(id) == Self.order)
  }

  /// Valid bytes, but nothing in them is true.
  @Test func aTraceOfWhatIsNotThereHarmsNobody() async throws {
    let id = try await makeGroup()
    let geometry = Geometry(chunkSize: 1 << 16) ?? .standard
    let file = try await life(60).load(id).region("f").file
    var trace = AccessTrace(group: id, geometry: geometry)
    let end = Limits.regionSize >> geometry.chunkShift
    trace.entries = [
      .init(file: 999, chunks: 0..<50), .init(file: Namespace.top, chunks: 0..<1),
      .init(file: file, chunks: UInt64(Self.chunks) - 2..<UInt64(Self.chunks) + 500),
      .init(file: file, chunks: end - 9..<end), .init(file: Limits.fileID, chunks: 3..<4),
    ]
    let bytes = try AccessTraceCodec.encode(trace)
    _ = try await world.store.put(
      ObjectKeys.trace(of: id), IOBuffer(bytes), condition: .none, priority: .demand)
    let daemon = try life(1) { $0.pull = .auto }
    let group = try await daemon.load(id)
    let region = try await replay(group)
    #expect(region.chunksPresent.load(ordering: .relaxed) == 2)
    #expect(try await group.contents("f") == Self.bytes)
    #expect(daemon.engine.errors.withLock { $0.count } == 0)
    group.closeRegions()
  }

  @Test func anotherGroupsTraceIsIgnored() async throws {
    let (id, other) = (try await makeGroup(), try await makeGroup())
    try await record(Self.order, id)
    let buffer = IOBuffer(capacity: Limits.traceLength)
    _ = try await world.store.get(
      ObjectKeys.trace(of: id), range: nil, into: buffer, priority: .demand)
    _ = try await world.store.put(
      ObjectKeys.trace(of: other), buffer, condition: .none, priority: .demand)
    let group = try await life(1) { $0.pull = .auto }.load(other)
    #expect(await group.trace.replayed()?.entries == [])
  }

  @Test func aLazyMountReplaysNothing() async throws {
    let id = try await makeGroup()
    try await record(Self.order, id)
    let daemon = try life(1)
    let group = try await daemon.load(id)
    group.replayTrace(opening: try group.region("f"))
    try await read([5], of: group)
    #expect(!daemon.faults.requests.contains { $0.key.hasSuffix("/trace") })
    #expect(group.trace.takeReplay(), "it was not begun")
    group.closeRegions()
  }

  @Test func aReadOnlyMountWritesNoTrace() async throws {
    let id = try await makeGroup()
    let daemon = try life(1) { $0.isReadOnly = true }
    let group = try await daemon.load(id)
    try await read(Self.order, of: group)
    await group.saveTrace(atEnd: true)
    #expect(!daemon.faults.requests.contains { $0.operation == .put })
    group.closeRegions()
    #expect(try await stored(id) == [])
  }

  @Test func aReplayStopsWhereTheCacheIsFull() async throws {
    let id = try await world.group([UInt8](repeating: 7, count: Self.chunks * Self.chunk))
    // Backwards and not from the begin: what read-ahead brings in time is not seen.
    try await record(Array(stride(from: 254, to: 0, by: -2)), id)
    let daemon = try life(1) { settings in
      settings.pull = .auto
      settings.cacheLimit = CacheLimit(bytes: 4 << 20)
    }
    let group = try await daemon.load(id)
    let region = try await replay(group)
    #expect(region.pullReading.reason == "stopped: the cache is full")
    // 4 MiB are 64 chunks; transfers that began before it was full may come.
    let most = 64 + TransferWindow.transferLimit
    #expect(region.chunksPresent.load(ordering: .relaxed) <= most)
    group.closeRegions()
  }

  /// What a trace foretold is no sign that all of a region is wanted; other misses are.
  @Test func onlyMissesThatWereNotForetoldBeginThePullOfEverything() async throws {
    let id = try await makeGroup()
    try await record(Self.order, id)
    let daemon = try life(1) { $0.pull = .auto }
    let group = try await daemon.load(id)
    daemon.faults.add(.init(.blackhole, on: [.get], keyContains: "/seg/"))
    let region = try group.region("f")
    group.replayTrace(opening: region)
    try await eventually("a request is held up") { daemon.faults.parked > 0 }
    func demand(_ chunks: [Int]) {
      for chunk in chunks {
        let start = UInt64(chunk * Self.chunk)
        region.demand(start..<start + 1) { _ in }
      }
    }
    demand(Self.order)
    #expect(region.state.withLock { $0.background.randomMisses } == 0)
    #expect(region.state.withLock { $0.background.replays })
    demand([20, 60, 163, 230])
    #expect(
      region.pullReading.reason.hasPrefix("replays a recorded trace of 7 chunks; 4 scattered miss"))
    #expect(region.state.withLock { $0.background.sweeps && !$0.background.replays })
    daemon.faults.removeRules()
    daemon.faults.release()
    await daemon.crash(group)
  }

  /// A hit tells nobody; yet the next start should know what this one read after everything was here.
  @Test func firstReadsOfWhatAPullOfEverythingBroughtAreRecorded() async throws {
    let id = try await makeGroup()
    let group = try await life(1) { $0.pull = .auto }.load(id)
    try await read(Self.order, of: group)
    let region = try group.region("f")
    while region.state.withLock({ $0.background.phase != .done }) {
      await group.engine.clock.sleep(for: .milliseconds(10))
    }
    let later = [30, 100, 220, 70]
    try await read(later, of: group)
    try await read(later, of: group)
    await group.saveTrace(atEnd: true)
    group.closeRegions()
    let found = try await stored(id)
    #expect(found == Self.order + later)
  }

  /// While a start is recorded the kernel would hide first reads; afterwards it may have everything.
  @Test func theKernelGetsWhatNobodyReadOnceTheStartPauses() async throws {
    let id = try await makeGroup()
    let clock = ManualClock()
    let daemon = try life(1, clock: clock) { $0.pull = .auto }
    let told = daemon.chunksToldToTheKernel()
    let group = try await daemon.load(id)
    try await read(Self.order, of: group)
    let region = try group.region("f")
    try await eventually("all of it is here") {
      region.state.withLock { $0.background.phase == .done }
    }
    await group.saveTrace(atEnd: false)
    #expect(told.withLock { $0.isSubset(of: Self.order) }, "nobody read the others")
    clock.advance(by: .seconds(6))
    await group.saveTrace(atEnd: false)
    // What was read on demand the kernel has.
    #expect(told.withLock { Set(0..<Self.chunks).subtracting($0).isSubset(of: Self.order) })
    group.closeRegions()
  }

  @Test func filesOfATreeComeBeforeTheyAreOpened() async throws {
    let daemon = try life(0)
    let group = try await daemon.create()
    let names = (0..<40).map { "f\($0)" }
    for name in names {
      let file = try group.make(name)
      try await group.put(World.pattern(9000), try group.region(name), at: 0)
      group.close(file, writable: true)
    }
    try await world.leave(group)
    let wanted = Array(names.reversed()[..<30])
    let first = try await life(50).load(group.id)
    for name in wanted { try await read([0], of: first, name) }
    await first.saveTrace(atEnd: true)
    first.closeRegions()
    let second = try await life(1) { $0.pull = .auto }.load(group.id)
    let opened = try second.region(try #require(wanted.first))
    second.replayTrace(opening: opened)
    let files = try wanted.map { name in
      let inode = FileName(name).flatMap { second.child($0, of: Namespace.top) }
      return try #require(inode).id
    }
    func isHere(_ file: FileID) -> Bool {
      second.openRegion(of: file)?.chunksPresent.load(ordering: .relaxed) == 1
    }
    try await eventually("the chunks of the trace are here") { files.allSatisfy(isHere) }
    for (name, file) in zip(wanted, files) {
      try await read([0], of: second, name)
      #expect(second.openRegion(of: file)?.misses.load(ordering: .relaxed) == 0)
    }
    // Those that no program has opened are not kept open.
    while second.state.withLock({ $0.regions.values.contains { $0.opens > 1 } }) {
      await daemon.engine.clock.sleep(for: .milliseconds(10))
    }
    second.closeRegions()
  }

  @Test func aTraceIsKeptAtAQuietMomentAndNotAgainWithoutNews() async throws {
    let id = try await makeGroup()
    let clock = ManualClock()
    let daemon = try life(1, clock: clock)
    let group = try await daemon.load(id)
    try await read(Self.order, of: group)
    func puts() -> Int {
      daemon.faults.requests.count { $0.operation == .put && $0.key.hasSuffix("/trace") }
    }
    await group.saveTrace(atEnd: false)
    #expect(puts() == 0)
    clock.advance(by: .seconds(6))
    await group.saveTrace(atEnd: false)
    await group.saveTrace(atEnd: true)
    #expect(puts() == 1)
    // After two minutes the start is over.
    clock.advance(by: .seconds(120))
    try await read([222], of: group)
    await group.saveTrace(atEnd: true)
    #expect(puts() == 1)
    group.closeRegions()
    #expect(try await stored(id) == Self.order)
  }

  @Test func aClearedTraceIsGoneAndRecordingBeginsAnew() async throws {
    let id = try await makeGroup()
    try await record(Self.order, id)
    let group = try await life(1).load(id)
    try await read([9, 30, 60, 100], of: group)
    try await group.clearTrace()
    #expect(try await stored(id) == [])
    #expect(group.recordedTraceChunks == 0)
    try await read([5], of: group)
    #expect(try await group.recordTrace())
    #expect(try await stored(id) == [5])
    group.closeRegions()
  }

  @Test func aStoreThatIsDownCostsNothingButTheTrace() async throws {
    let id = try await makeGroup()
    let daemon = try life(1) { $0.pull = .auto }
    let group = try await daemon.load(id)
    daemon.faults.add(.init(.failBefore(.unavailable), keyContains: "/trace"))
    group.replayTrace(opening: try group.region("f"))
    try await read(Self.order, of: group)
    await group.saveTrace(atEnd: true)
    #expect(daemon.engine.errors.withLock { $0.count } == 0)
    group.closeRegions()
    #expect(try await stored(id) == [])
  }
}
