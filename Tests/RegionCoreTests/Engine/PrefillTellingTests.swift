import RegionTesting
import Testing

@testable import RegionCore

/// What the kernel is told to have, and what its reads of that are taken for.
@Suite struct PrefillTellingTests {
  private let world: World
  private static let chunk = 1 << 16

  init() throws { world = try World() }

  @Test func theKernelIsToldOfAllThatAPullOfEverythingBrings() async throws {
    let count = 200
    let id = try await world.group(World.pattern(count * Self.chunk))
    let daemon = try world.host(1)
    let told = daemon.chunksToldToTheKernel()
    let group = try await daemon.load(id)
    daemon.faults.add(.init(.delay(.milliseconds(300)), on: [.get], keyContains: "/seg/"))
    let region = try group.region("f")
    region.pullAll(reason: "test")
    for chunk in 180..<184 {
      let start = UInt64(chunk * Self.chunk)
      region.demand(start..<start + 9) { _ in }
    }
    let isReadAhead = region.state.withLock { $0.machine.pulling(in: 184..<190).count == 6 }
    #expect(isReadAhead)
    try await eventually("the pull") { region.state.withLock { $0.background.phase == .done } }
    try await eventually("all is told") { told.withLock { $0.count == count } }
  }

  /// Its reads wait for all of it, and would for the kernel's as well.
  @Test func theKernelIsToldOfASmallRegionWhenItsPullIsOver() async throws {
    // So few that no rate is known before the end: a slow machine's might say that it takes long.
    let count = 40
    let id = try await world.group(World.pattern(count * Self.chunk))
    let daemon = try world.host(1) { $0.pull = .auto }
    let told = daemon.chunksToldToTheKernel()
    let group = try await daemon.load(id)
    let region = try group.region("f")
    func present() -> Set<Int> {
      Set((0..<count).filter { region.chunks.isPresent(ChunkIndex($0)) })
    }
    daemon.faults.add(.init(.blackhole, on: [.get], keyContains: "/seg/", skip: 1, count: 1))
    region.pullAll(reason: "test")
    try await eventually("some is here") { present().count > count / 4 }
    #expect(told.withLock { $0.isEmpty })
    daemon.faults.release()
    try await eventually("the pull is over") {
      region.state.withLock { $0.background.phase != .running }
    }
    try await eventually("it is told") { told.withLock { $0 == present() } }
  }

  /// Else it would begin read-ahead that takes from the pull what it is told of next.
  @Test func whatTheKernelReadsBecauseItWasToldToIsNoStream() async throws {
    let id = try await world.group(World.pattern(200 * Self.chunk))
    let daemon = try world.host(1) { $0.pull = .lazy }
    let group = try await daemon.load(id)
    let region = try group.region("f")
    _ = try await region.contents(0..<9)
    try await eventually("the read-ahead") { region.state.withLock { $0.machine.pullCount == 0 } }
    let present = region.chunksPresent.load(ordering: .relaxed)
    let hits = region.hits.load(ordering: .relaxed)
    func read(_ chunk: Int, isProgram: Bool) {
      let buffer = IOBuffer(capacity: 4096)
      switch unsafe region.readPresent(
        UInt64(chunk * Self.chunk), into: buffer.memory, isProgram: isProgram)
      {
      case .lent(let loan): region.giveBack(loan)
      default: break
      }
    }
    for chunk in 0..<present { read(chunk, isProgram: false) }
    #expect(region.state.withLock { $0.machine.pullCount == 0 })
    #expect(region.chunksPresent.load(ordering: .relaxed) == present)
    #expect(region.hits.load(ordering: .relaxed) == hits)
    for chunk in 0..<present { read(chunk, isProgram: true) }
    try await eventually("a program's reads go on with it") {
      region.chunksPresent.load(ordering: .relaxed) > present
    }
  }
}
