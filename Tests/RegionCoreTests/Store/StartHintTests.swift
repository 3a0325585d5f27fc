import RegionTesting
import Testing

@testable import RegionCore

/// What mounts with an empty cache asked for first.
@Suite struct StartHintTests {
  private let world: World
  init() throws { world = try World() }

  private func entry(_ group: UInt64, chunk: ChunkIndex = 0, length: UInt64 = 9) -> StartHint.Entry
  {
    StartHint.Entry(
      place: StartHint.Place(group: Random128(high: 0, low: group), file: 1, chunk: chunk),
      segment: ObjectID(epoch: 1, random: Random128(high: group, low: chunk)),
      range: 64..<64 + length)
  }

  @Test func theLastStartComesFirstAndOtherGroupsStay() {
    let old = StartHint([entry(1), entry(2), entry(2, chunk: 1), entry(3)])
    #expect(old.merged(with: []) == old)
    #expect(
      old.merged(with: [entry(2, chunk: 7)]).entries == [entry(2, chunk: 7), entry(1), entry(3)])
    let many = old.merged(with: [entry(4), entry(4, chunk: 1)]).entries
    #expect(many == [entry(4), entry(4, chunk: 1), entry(1), entry(2)])
  }

  @Test func whatIsTooLongOrTwiceIsLeftOut() {
    let long = entry(1, length: UInt64(Limits.startHintRange) + 1)
    let most = entry(2, length: UInt64(Limits.startHintRange))
    #expect(StartHint([long, most, most]).entries == [most])
  }

  private static let chunk = 1 << 16

  private func load(_ daemon: Daemon, _ id: GroupID) async throws -> Group {
    try await Group.load(
      id, daemon.engine, cacheDirectory: daemon.cache, bootID: daemon.boot, kind: .file)
  }

  private func write(_ bytes: [UInt8], _ group: Group, at offset: Int) async throws {
    let region = try group.open(Namespace.top, writable: true).region
    try await group.put(bytes, region, at: offset)
    group.close(Namespace.top, writable: true)
    try await group.committed()
  }

  /// A group of one file, as its maker leaves it.
  private func made(chunks: Int = 16) async throws -> GroupID {
    let maker = try world.host(0)
    let group = try await maker.create(.file)
    try await write(World.pattern(chunks * Self.chunk), group, at: 0)
    await maker.engine.saveStartHint([group])
    try await world.leave(group)
    return group.id
  }

  /// Another writer's life.
  private func change(_ id: GroupID, _ body: (Group) async throws -> Void) async throws {
    let writer = try world.host(1)
    let group = try await load(writer, id)
    try await group.claim()
    try await body(group)
    await writer.engine.saveStartHint([group])
    try await world.leave(group)
  }

  /// Begins with an empty cache and reads some bytes of a chunk. Returns how many requests to the group's
  /// segments this took after the group was known.
  private func requests(
    _ id: GroupID, reading chunk: Int, expecting bytes: [UInt8]? = nil, isReadOnly: Bool = false
  ) async throws -> Int {
    let faults = FaultStore(world.store)
    let early = EarlyReads(faults, from: faults, clock: ManualClock())
    await FirstReads(store: faults, early: early, executor: Daemon.executor).hinted()
    let reader = Daemon(
      early, cache: try world.scratch.directory("reader\(Random128.random())"),
      writer: WriterID(high: 9, low: 9)
    ) { $0.isReadOnly = isReadOnly }
    reader.engine.start.begin()
    let group = try await load(reader, id)
    let segments = {
      faults.requests.count { $0.operation == .get && $0.key.contains("\(id)/seg/") }
    }
    let before = segments()
    let region = try group.open(Namespace.top, writable: false).region
    let at = chunk * Self.chunk
    let expected = bytes ?? Array(World.pattern(at + 100)[at...])
    #expect(try await region.contents(at..<at + expected.count) == expected)
    let after = segments()
    group.close(Namespace.top, writable: false)
    await reader.engine.saveStartHint([group])
    try await world.leave(group)
    return after - before
  }

  /// Who mounts what another host has just made reads its begin first, more likely than anything else.
  @Test func aFilesBeginComesBesideItsRoot() async throws {
    // Of a longer one what follows would be read ahead.
    let id = try await made(chunks: 1)
    #expect(try await requests(id, reading: 0) == 0)
  }

  @Test func whatTheLastStartAskedForComesBesideTheRoot() async throws {
    let id = try await made()
    #expect(try await requests(id, reading: 9, isReadOnly: true) == 1)
    #expect(try await requests(id, reading: 9) == 1, "a mount that is read-only leaves nothing")
    #expect(try await requests(id, reading: 9) == 0)
    #expect(try await requests(id, reading: 4) == 1)
    #expect(try await requests(id, reading: 4) == 0)
  }

  /// A replay begins when a file is opened, not a round trip later.
  @Test(arguments: [true, false]) func theTraceComesBesideTheRootWhereItIsReplayed(
    replays: Bool
  ) async throws {
    let id = try await made()
    let maker = try world.host(0)
    let made = try await load(maker, id)
    try await made.objects.putTrace(AccessTrace(group: id, geometry: made.geometry))
    try await world.leave(made)
    let faults = FaultStore(world.store)
    let early = EarlyReads(faults, from: faults, clock: ManualClock())
    let first = FirstReads(
      store: faults, early: early, executor: Daemon.executor, replays: replays)
    await first.hinted()
    let gets = { (key: String) in
      faults.requests.count { $0.operation == .get && $0.key.hasSuffix(key) }
    }
    try await eventually("the root is asked for") { gets("/root") == 1 }
    if replays { try await eventually("the trace is asked for") { gets("/trace") == 1 } }
    #expect(gets("/trace") == (replays ? 1 : 0))
    let reader = Daemon(
      early, cache: try world.scratch.directory("reader"), writer: WriterID(high: 9, low: 9))
    let group = try await load(reader, id)
    #expect(try await group.traceReading().parts.isEmpty)
    #expect(gets("/trace") == 1)
    try await world.leave(group)
  }

  /// A chunk that is written anew lies elsewhere.
  @Test func aChangeMovesThePlaces() async throws {
    let id = try await made()
    _ = try await requests(id, reading: 9)
    let new = World.pattern(Self.chunk, 0x5A)
    try await change(id) { try await write(new, $0, at: 9 * Self.chunk) }
    #expect(try await requests(id, reading: 9, expecting: new) == 0)
  }

  /// What was cut off is not asked for any more, but the begin.
  @Test func aPlaceThatIsGoneIsForgotten() async throws {
    let id = try await made()
    _ = try await requests(id, reading: 9)
    try await change(id) { group in
      let region = try group.open(Namespace.top, writable: true).region
      try await group.perform(region) { group.resize(region, to: UInt64(Self.chunk)) }
      group.close(Namespace.top, writable: true)
      try await group.committed()
    }
    let hint = await StartHint.read(from: world.store)
    #expect(hint.entries.map(\.place.chunk) == [0])
    #expect(try await requests(id, reading: 0) == 0)
  }

  /// A hint of another writer, or of none.
  @Test func aHintThatIsWrongCostsOneRequest() async throws {
    let id = try await made(chunks: 1)
    let missing = StartHint.Entry(
      place: StartHint.Place(group: id, file: 1, chunk: 0),
      segment: ObjectID(epoch: 1, random: Random128(high: 1, low: 2)), range: 64..<128)
    for bytes in [try StartHintCodec.encode(StartHint([missing])), [1, 2, 3], []] {
      _ = try await world.store.put(
        ObjectKeys.startHint, IOBuffer(bytes), condition: .none, priority: .demand)
      #expect(try await requests(id, reading: 0) == 1, "\(bytes.count) bytes")
      #expect(try await requests(id, reading: 0) == 0, "it was replaced")
    }
  }

  /// A mount that changes nothing and asks for nothing costs no request at its end.
  @Test func nothingNewIsNotWritten() async throws {
    let id = try await made()
    let daemon = try world.host(2)
    let group = try await load(daemon, id)
    await daemon.engine.saveStartHint([group])
    #expect(!daemon.faults.requests.contains { $0.key == ObjectKeys.startHint.text })
    try await world.leave(group)
  }
}
