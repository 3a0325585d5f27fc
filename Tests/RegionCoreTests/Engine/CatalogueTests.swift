import RegionTesting
import Testing

@testable import RegionCore

/// The names at the top of a mount.
@Suite struct CatalogueTests {
  @Test func namesStandForGroupsOneAtATime() async throws {
    let world = try World()
    let catalogue = GroupCatalogue(engine: try world.host(1).engine)
    let name = try #require(FileName([0xFF, 0x2E, 0x41]))
    let first = GroupRecord(group: .random(), name: name, kind: .file, serial: 1)
    let etag = try #require(try await catalogue.add(first))
    let second = GroupRecord(group: .random(), name: name, kind: .directory, serial: 2)
    #expect(try await catalogue.add(second) == nil)
    #expect(try await catalogue.names() == [name])
    let newer = try await catalogue.replace(second, at: etag)
    #expect(newer != etag)
    await #expect(throws: RemoteError.self) { try await catalogue.replace(first, at: etag) }
    #expect(try await catalogue.record(name)?.record == second)
    try await catalogue.remove(name)
    #expect(try await catalogue.record(name) == nil)
    #expect(try await catalogue.names().isEmpty)
  }

  @Test func removedGroupsGoAfterTheGraceTimeAndWholly() async throws {
    let world = try World()
    let clock = ManualClock()
    let id = try await world.group(World.pattern(100_000))
    let daemon = try world.host(1, clock: clock)
    let catalogue = GroupCatalogue(engine: daemon.engine)
    try await catalogue.markDeleted(id)
    #expect(try await catalogue.expired().isEmpty)
    clock.advance(by: daemon.engine.settings.collectionGrace)
    #expect(try await catalogue.expired() == [id])
    try await catalogue.purge(id)
    #expect(try await catalogue.expired().isEmpty)
    #expect(try await world.store.list(prefix: "", from: nil, limit: 100).keys.isEmpty)
  }
}
