import RegionTesting
import Testing

@testable import RegionCore

/// Groups with uncommitted changes that are opened while the store does not answer.
@Suite struct OfflineRecoveryTests {
  private let world: World

  init() throws { world = try World() }

  /// A life of the daemon in boot `boot` of its host.
  private func daemon(boot: UInt64, offline: Bool) throws -> Daemon {
    let daemon = Daemon(
      world.store, cache: try world.scratch.directory("host"), writer: WriterID(high: 3, low: 1),
      boot: Random128(high: boot, low: boot)
    ) { $0.patience = .seconds(1) }
    if offline { daemon.faults.add(.init(.failBefore(.unavailable))) }
    return daemon
  }

  private func write(_ byte: UInt8, _ group: Group) async throws {
    let name = try #require(FileName("f"))
    let id = try group.child(name, of: Namespace.top)?.id ?? group.make("f")
    let region = try group.open(id, writable: true).region
    try await group.put([byte], region, at: 0)
    group.close(id, writable: true)
  }

  /// A bug that was: after a power loss the log may lack records that are committed. Replayed from the
  /// cache's copy of the root, it gave their numbers to new changes, which then counted as committed.
  @Test func aLogThatMayLackItsEndWaitsForTheStore() async throws {
    let first = try daemon(boot: 1, offline: false)
    let group = try await first.create()
    try await write(1, group)
    try await group.committed()
    try await write(2, group)
    try await group.synced()
    await first.crash(group)
    // Each attempt leaves it as it was.
    for _ in 0..<2 {
      let other = try daemon(boot: 2, offline: true)
      await #expect(throws: GroupError.self) { try await other.load(group.id) }
    }
    // Without a power loss all of it is there.
    let second = try daemon(boot: 1, offline: true)
    let opened = try await second.load(group.id)
    #expect(!opened.isVerified)
    #expect(try await opened.tree() == ["f": [2]])
    try await write(3, opened)
    second.faults.removeRules()
    try await opened.committed()
    #expect(opened.isVerified)
    #expect(try await world.elsewhere(group.id) == ["f": [3]])
    await second.crash(opened)
    let third = try daemon(boot: 2, offline: false)
    let last = try await third.load(group.id)
    #expect(last.isVerified)
    #expect(try await last.tree() == ["f": [3]])
    last.closeRegions()
  }
}
