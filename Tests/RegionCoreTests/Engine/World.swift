import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// Something that happened, for other threads to see.
final class Flag: Sendable {
  private let state = Lock(false)
  var isRaised: Bool { state.withLock { $0 } }
  func raise() { state.withLock { $0 = true } }
}

/// A store and some hosts.
final class World: Sendable {
  let store: any ObjectStore = MemoryStore()
  let scratch: Scratch

  init() throws { scratch = try Scratch() }

  /// A life of the daemon of host `number`, whose cache stays from life to life.
  func host(
    _ number: Int, clock: any EngineClock = QuickClock(),
    _ change: (inout EngineSettings) -> Void = { _ in }
  ) throws -> Daemon {
    Daemon(
      store, cache: try scratch.directory("host\(number)"),
      writer: WriterID(high: 3, low: UInt64(number)), clock: clock, change)
  }

  /// A committed group with file `f` of `bytes`, which nobody claims, made at host 0 and gone there.
  func group(_ bytes: [UInt8]) async throws -> GroupID {
    let daemon = try host(0)
    let group = try await daemon.create()
    let file = try group.make("f")
    let region = try group.open(file, writable: true).region
    for start in stride(from: 0, to: bytes.count, by: 1 << 20) {
      try await group.put(
        Array(bytes[start..<min(bytes.count, start + 1 << 20)]), region, at: start)
    }
    group.close(file, writable: true)
    try await leave(group)
    return group.id
  }

  /// An orderly unmount.
  func leave(_ group: Group) async throws {
    guard await group.drain() else { throw Unexpected("did not drain") }
    group.closeRegions()
  }

  /// What a mount with an empty cache finds.
  func elsewhere(_ id: GroupID) async throws -> [String: [UInt8]] {
    let daemon = try host(Int.random(in: 1000...1 << 40))
    let group = try await daemon.load(id)
    defer { group.closeRegions() }
    return try await group.tree()
  }

  /// Bytes that tell pages and places apart.
  static func pattern(_ count: Int, _ salt: UInt8 = 0) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 >> 12) &* 31 &+ $0 &* 7) ^ salt | 1 }
  }
}

extension Group {
  /// The region of a file of the group's top, opened for writing (and never closed).
  func region(_ name: String) throws -> Region {
    let name = try #require(FileName(name))
    let inode = try #require(child(name, of: Namespace.top))
    return try open(inode.id, writable: true).region
  }

  /// All of a file.
  func contents(_ name: String) async throws -> [UInt8] {
    let name = try #require(FileName(name))
    let inode = try #require(child(name, of: Namespace.top))
    let region = try open(inode.id, writable: false).region
    defer { close(inode.id, writable: false) }
    return try await region.contents(0..<Int(inode.size))
  }
}
