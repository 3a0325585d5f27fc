import DirectoryStore
import RegionCore
import RegionTesting
import Testing

/// What is done to an object of the store.
enum Damage: String, CaseIterable, Sendable {
  case missing, empty, truncated, newerVersion, flippedStart, flippedMiddle, flippedEnd

  /// The damaged bytes; nil: no object at all.
  func applied(to bytes: [UInt8]) -> [UInt8]? {
    var bytes = bytes
    switch self {
    case .missing: return nil
    case .empty: return []
    case .truncated: return Array(bytes[..<(bytes.count / 2)])
    // The version stands after the eight bytes that name the kind of object.
    case .newerVersion: bytes[8] = 2
    case .flippedStart: bytes[21] ^= 4
    case .flippedMiddle: bytes[bytes.count / 2] ^= 4
    case .flippedEnd: bytes[bytes.count - 2] ^= 4
    }
    return bytes
  }

  /// Not every byte of an object is read on the way to a page, so these may go unnoticed.
  var mayBeUnseen: Bool {
    switch self {
    case .missing, .empty, .truncated: false
    case .newerVersion, .flippedStart, .flippedMiddle, .flippedEnd: true
    }
  }
}

extension EndToEnd {
  /// Objects of the store are damaged: an error that names the object, never a wrong byte, no
  /// crash, and nothing lost once the object is whole again.
  @Suite(.serialized) struct DamagedStoreTests {
    static let pattern = ["--pages", "1500", "--seed", "21"]
    static let touched = ["--touch", "400", "--base-seed", "20"] + pattern

    /// A copy of a store with a region `f` of several commits and a checkpoint, and a region
    /// `healthy`.
    private func populated() async throws -> TestStore {
      let original = try await Self.original.store()
      let copy = try await TestStore(.directory)
      let (from, to) = (original.address, copy.address)
      let scheme = "file://".count
      try ChildProcess.check(["cp", "-a", "\(from.dropFirst(scheme))/.", "\(to.dropFirst(scheme))"])
      return copy
    }

    /// Makes the store once.
    private actor Original {
      private var made: TestStore?
      func store() async throws -> TestStore {
        if let made { return made }
        let store = try await populate()
        made = store
        return store
      }
    }

    private static let original = Original()

    private static func populate() async throws -> TestStore {
      let store = try await TestStore(.directory)
      try store.mounted(options: ["push_interval=100ms"]) { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "1500", "--seed", "20"])
        let objects = store.address.dropFirst("file://".count)
        for round in 0..<400 {
          if round % 8 == 0, try Files.list(below: String(objects)).contains(where: isMap) { break }
          let one = ["map", file, "--msync", "--touch", "40", "--pages", "1500"]
          try Programs.run("pattern.py", one + ["--seed", "\(100 + round)"])
          try mounted.waitUntilCommitted()
        }
        // The final content, over whatever the rounds left.
        try Programs.run("pattern.py", ["write", file, "--pages", "1500", "--seed", "20"])
        try Programs.run("pattern.py", ["map", file, "--msync"] + touched)
        try mounted.waitUntilCommitted()
        let healthy = mounted.mountpoint + "/healthy"
        try Programs.run("pattern.py", ["write", healthy, "--pages", "20"])
        try mounted.unmount()
      }
      return store
    }

    private static func isMap(_ path: String) -> Bool { path.contains("/map/") }

    private func objects(
      _ store: DirectoryStore, _ kind: String, ofGroupNamed name: String
    ) async throws -> [(ObjectKey, [UInt8])] {
      let group = try await Self.group(named: name, in: store)
      var found: [(ObjectKey, [UInt8])] = []
      for key in try await store.list(prefix: "g/\(group)/\(kind)", from: nil, limit: 1000).keys {
        let buffer = IOBuffer(capacity: 16 << 20)
        _ = try await store.get(key, range: nil, into: buffer, priority: .demand)
        found.append((key, unsafe Array(buffer.bytes)))
      }
      return found
    }

    private static func group(named name: String, in store: DirectoryStore) async throws -> String {
      let key = GroupNames.key(for: try #require(FileName(name)))
      let buffer = IOBuffer(capacity: 1 << 16)
      _ = try await store.get(key, range: nil, into: buffer, priority: .demand)
      return "\(try GroupRecordCodec.decode(unsafe Array(buffer.bytes)).group)"
    }

    private func put(
      _ store: DirectoryStore, _ key: ObjectKey, _ bytes: [UInt8]?
    ) async throws {
      guard let bytes else { return try await store.delete(key) }
      _ = try await store.put(key, IOBuffer(bytes), condition: .none, priority: .demand)
    }

    @Test(arguments: ["root", "seg/", "map/"], Damage.allCases)
    func damage(to kind: String, _ damage: Damage) async throws {
      let store = try await populated()
      let raw = try DirectoryStore(directory: String(store.address.dropFirst("file://".count)))
      let originals = try await objects(raw, kind, ofGroupNamed: "f")
      try #require(!originals.isEmpty, "the store has no \(kind) object to damage")
      for (key, bytes) in originals { try await put(raw, key, damage.applied(to: bytes)) }

      let other = try store.filesystem("elsewhere")
      defer { other.cleanUp() }
      try other.mount()
      let verify = ["verify", other.mountpoint + "/f"] + Self.touched
      let result = try ChildProcess.run(
        Programs.command("pattern.py", verify))
      #expect(!result.errors.contains("are wrong"), "wrong bytes: \(result)")
      #expect([0, 1].contains(result.status), "\(result)")
      if kind == "root" || !damage.mayBeUnseen {
        #expect(result.status == 1, "the damage was not noticed: \(result)")
      }
      if result.status == 1 {
        let named = originals.contains { other.log.contains($0.0.text) }
        #expect(named, "no line names the object: \(other.log.suffix(2000))")
      }
      // Others are not concerned.
      let healthy = other.mountpoint + "/healthy"
      try Programs.run("pattern.py", ["verify", healthy, "--pages", "20"])
      #expect(other.pid != nil, "the daemon ended: \(other.log.suffix(2000))")
      for (key, bytes) in originals { try await put(raw, key, bytes) }
      try other.unmount()
      try other.mount()
      try Programs.run("pattern.py", verify)
      try other.unmount()
    }
  }
}
