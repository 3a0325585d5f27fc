import RegionTesting
import Testing

@testable import RegionCore

/// A small region that is wanted all over is pulled in a few large requests, whatever was wanted first:
/// each request costs a near store as much as a megabyte does.
@Suite struct SmallRegionPullTests {
  private let world: World
  private static let chunk = 1 << 16
  private static let chunks = 64

  init() throws { world = try World() }

  /// What is here in a moment depends on how fast the store is, so the clock is a true one.
  private func life(_ number: Int, fewMisses: Int? = nil) throws -> Daemon {
    try world.host(number, clock: SystemClock()) { settings in
      settings.pull = .auto
      if let fewMisses { settings.fewMisses = { _ in fewMisses } }
    }
  }

  /// 4 MiB, written in order.
  private func makeGroup() async throws -> GroupID {
    let group = try await life(0).create()
    let file = try group.make("f")
    let region = try group.open(file, writable: true).region
    for at in stride(from: 0, to: Self.chunks, by: 16) {
      let piece = [UInt8](repeating: UInt8(at), count: 16 * Self.chunk)
      try await group.put(piece, region, at: at * Self.chunk)
    }
    group.close(file, writable: true)
    try await world.leave(group)
    return group.id
  }

  private func segmentRequests(_ daemon: Daemon) -> Int {
    daemon.faults.requests.count { $0.operation == .get && $0.key.contains("/seg/") }
  }

  /// Reads the first bytes of chunks, one after the other.
  private func read(_ chunks: [Int], _ group: Group) async throws -> Region {
    let region = try group.region("f")
    for chunk in chunks {
      let found = try await region.contents(chunk * Self.chunk..<chunk * Self.chunk + 2)
      #expect(found == [UInt8](repeating: UInt8(chunk / 16 * 16), count: 2))
    }
    return region
  }

  private static let order = [50, 3, 29, 40, 10, 60, 21, 35, 7]

  @Test func scatteredFaultsDoNotCutItUp() async throws {
    let id = try await makeGroup()
    let daemon = try life(1)
    let group = try await daemon.load(id)
    let before = segmentRequests(daemon)
    let region = try await read(Self.order, group)
    try await eventually("all of it is here") { region.isWhollyPresent }
    // 4 of a MiB would do. At most each of the 9 faults comes apart, and cuts the part that it is in.
    #expect(segmentRequests(daemon) - before <= 4 + 2 * Self.order.count)
    group.close(region.file, writable: true)
    group.closeRegions()
  }

  /// A bug that was: a start whose trace had most of the region was slower than one without a trace, for
  /// the chunks came one by one.
  @Test func aTraceOfMuchOfItDoesNotCutItUp() async throws {
    let id = try await makeGroup()
    let recorder = try life(1, fewMisses: .max)
    let first = try await recorder.load(id)
    // In no order that a stride detector would see through.
    var random = SplitMix64(seed: 5)
    let half = (0..<Self.chunks).filter { $0 % 2 == 0 }.shuffled(using: &random)
    let read = try await read(half, first)
    first.close(read.file, writable: true)
    await first.saveTrace(atEnd: true)
    first.closeRegions()
    let daemon = try life(2)
    let group = try await daemon.load(id)
    let before = segmentRequests(daemon)
    let region = try group.region("f")
    group.replayTrace(opening: region)
    try await eventually("all of it is here") { region.isWhollyPresent }
    #expect(segmentRequests(daemon) - before <= 8)
    #expect(region.pullReading.reason.contains("a recorded trace has much of it"))
    group.close(region.file, writable: true)
    group.closeRegions()
  }
}
