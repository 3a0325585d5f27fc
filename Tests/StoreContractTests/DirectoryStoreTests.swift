import DirectoryStore
import Glibc
import RegionCore
import RegionTesting
import Testing

/// What a directory store promises beyond the contract.
@Suite struct DirectoryStoreTests {
  private func open(_ path: String) throws -> DirectoryStore { try DirectoryStore(directory: path) }

  @Test func etagsDifferForEqualBytes() async throws {
    let scratch = try Scratch()
    let store = try open(scratch.path)
    let key = try key("g/root")
    var tags: Set<ETag> = []
    for _ in 0..<50 {
      tags.insert(try await store.put(key, [1, 2, 3]))
      try await store.delete(key)
    }
    #expect(tags.count == 50)
  }

  @Test func isSharedByTwoStores() async throws {
    let scratch = try Scratch()
    let (one, two) = (try open(scratch.path), try open(scratch.path))
    let key = try key("g/root")
    let etag = try await one.put(key, [1], .absent)
    #expect(try await two.get(key).info.etag == etag)
    try await two.put(key, [2], .matches(etag))
    #expect(
      try await failure { try await one.put(key, [3], .matches(etag)) } == .preconditionFailed)
  }

  @Test func survivesReopening() async throws {
    let scratch = try Scratch()
    let etag = try await open(scratch.path).put(key("a/b"), [1, 2])
    let found = try await open(scratch.path + "/").get(key("a/b"))
    #expect(found.bytes == [1, 2] && found.info.etag == etag)
  }

  @Test func makesTheDirectoryButNotItsParent() async throws {
    let scratch = try Scratch()
    let store = try open(scratch.file("new"))
    #expect(store.address == "file://\(scratch.path)/new")
    try await store.put(key("a"), [1])
    #expect(throws: StoreError.self) { try open(scratch.file("none/new")) }
    #expect(try await failure { _ = try open(scratch.file("none/new")) } == .noSuchContainer)
    #expect(try await failure { _ = try open("relative") } == .badRequest)
    try Files.write(scratch.file("plain"), [1])
    #expect(try await failure { _ = try open(scratch.file("plain")) } == .badRequest)
  }

  /// A disk that was unmounted leaves an empty directory: that must not look like an empty store.
  @Test func saysThatTheDirectoryIsGone() async throws {
    let scratch = try Scratch()
    let store = try open(scratch.file("store"))
    try await store.put(key("a/b"), [1])
    try ChildProcess.check(["mv", scratch.file("store"), scratch.file("elsewhere")])
    for _ in 0..<2 {
      #expect(try await failure { _ = try await store.get(key("a/b")) } == .noSuchContainer)
      #expect(try await failure { try await store.put(key("a/c"), [1]) } == .noSuchContainer)
      #expect(try await failure { try await store.delete(key("a/b")) } == .noSuchContainer)
      #expect(
        try await failure { _ = try await store.list(prefix: "", from: nil, limit: 9) }
          == .noSuchContainer)
      _ = try scratch.directory("store")
    }
  }

  @Test func detectsCutAndForeignFiles() async throws {
    let scratch = try Scratch()
    let store = try open(scratch.path)
    try await store.put(key("a"), [UInt8](repeating: 1, count: 1000))
    let whole = try Files.read(scratch.file("a"))
    #expect(whole.count == 1040)
    for length in [0, 1, 39, 40, 999, 1000, 1039] {
      try Files.write(scratch.file("a"), [UInt8](whole.prefix(length)))
      #expect(try await failure { _ = try await store.get(key("a")) } == .damagedAnswer)
    }
    try Files.write(scratch.file("a"), whole + [0])
    #expect(try await failure { _ = try await store.get(key("a")) } == .damagedAnswer)
    for position in 1000..<1040 {
      var damaged = whole
      damaged[position] ^= 1
      try Files.write(scratch.file("a"), damaged)
      #expect(
        try await failure { _ = try await store.get(key("a")) } == .damagedAnswer, "\(position)")
    }
  }

  @Test func refusesItsOwnNames() async throws {
    let scratch = try Scratch()
    let store = try open(scratch.path)
    #expect(try await failure { try await store.put(key(".tmp/x"), [1]) } == .badRequest)
    #expect(try await store.all("") == [])
  }

  @Test func refusesAnObjectBelowAnObject() async throws {
    let scratch = try Scratch()
    let store = try open(scratch.path)
    try await store.put(key("a/b"), [1])
    #expect(try await failure { try await store.put(key("a/b/c"), [1]) } == .badRequest)
    #expect(try await failure { try await store.put(key("a"), [1]) } == .badRequest)
    #expect(try await failure { try await store.put(key("a"), [1], .absent) } != nil)
    #expect(try await store.all("") == ["a/b"])
  }

  @Test func leavesNoTemporaryFiles() async throws {
    let scratch = try Scratch()
    let store = try open(scratch.path)
    let etag = try await store.put(key("a"), [1], .absent)
    _ = try await failure { try await store.put(key("a"), [1], .absent) }
    _ = try await store.put(key("a"), [2], .matches(etag))
    _ = try await failure { try await store.put(key("a"), [1], .matches(etag)) }
    #expect(try Files.list(below: scratch.file(".tmp")) == [])
  }

  @Test func removesLeftoversOfADay() async throws {
    let scratch = try Scratch()
    _ = try open(scratch.path)
    try Files.write(scratch.file(".tmp/old"), [1])
    try Files.write(scratch.file(".tmp/new"), [1])
    try ChildProcess.check(["touch", "-d", "25 hours ago", scratch.file(".tmp/old")])
    _ = try open(scratch.path)
    #expect(try Files.list(below: scratch.file(".tmp")) == [scratch.file(".tmp/new")])
  }

  @Test func passesOverWhatIsNoKey() async throws {
    let scratch = try Scratch()
    let store = try open(scratch.path)
    try await store.put(key("a"), [1])
    try Files.write(scratch.file("with space"), [1])
    try Files.write(scratch.file("ü"), [1])
    #expect(try await store.all("") == ["a"])
  }

  @Test func reportsAFullDisk() async throws {
    let scratch = try Scratch()
    let mountpoint = try scratch.directory("small")
    try ChildProcess.check(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mountpoint])
    defer { _ = try? ChildProcess.check(["umount", mountpoint]) }
    let store = try open(mountpoint)
    try await store.put(key("a"), [1])
    let full = try await failure {
      try await store.put(key("b"), [UInt8](repeating: 1, count: 2 << 20))
    }
    #expect(full == .outOfSpace)
    #expect(try await store.get(key("a")).bytes == [1])
    #expect(try await failure { _ = try await store.get(key("b")) } == .notFound)
    #expect(try Files.list(below: mountpoint + "/.tmp") == [])
  }

  @Test func reportsAReadOnlyDisk() async throws {
    let scratch = try Scratch()
    let mountpoint = try scratch.directory("small")
    try ChildProcess.check(["mount", "-t", "tmpfs", "tmpfs", mountpoint])
    defer { _ = try? ChildProcess.check(["umount", mountpoint]) }
    try await open(mountpoint).put(key("a/b"), [1])
    try ChildProcess.check(["mount", "-o", "remount,ro", mountpoint])
    let store = try open(mountpoint)
    #expect(try await store.get(key("a/b")).bytes == [1])
    #expect(try await store.all("") == ["a/b"])
    #expect(try await failure { try await store.put(key("c"), [1]) } == .accessDenied)
  }
}
