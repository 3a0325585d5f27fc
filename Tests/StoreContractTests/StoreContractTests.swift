import RegionCore
import RegionTesting
import Testing

/// The contract of `ObjectStore`, on every store.
@Suite struct StoreContractTests {
  @Test(arguments: StoreUnderTest.all)
  func getsWhatWasPut(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    var generator = SplitMix64(seed: 1)
    for size in [0, 1, 4095, 4096, 100_000, 9 << 20] {
      let bytes = size > 1 << 20 ? [UInt8](repeating: 7, count: size) : generator.bytes(size)
      let key = try key("g/x/size-\(size)")
      let etag = try await store.put(key, bytes)
      let found = try await store.get(key)
      #expect(found.bytes == bytes, "size \(size)")
      #expect(found.info == ObjectInfo(etag: etag, totalLength: UInt64(size)))
    }
  }

  @Test(arguments: StoreUnderTest.all)
  func getsRanges(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    var generator = SplitMix64(seed: 2)
    let bytes = generator.bytes(10_000)
    let key = try key("object")
    let etag = try await store.put(key, bytes)
    for range in [0..<1, 0..<10_000, 9999..<10_000, 4096..<8192, 1..<9999] as [Range<UInt64>] {
      let found = try await store.get(key, range)
      #expect(found.bytes == [UInt8](bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
      #expect(found.info == ObjectInfo(etag: etag, totalLength: 10_000))
    }
    for range in [0..<10_001, 9999..<10_001, 10_000..<10_001, 20_000..<20_001] as [Range<UInt64>] {
      let kind = try await failure { _ = try await store.get(key, range) }
      #expect(kind == .damagedAnswer, "range \(range)")
    }
  }

  @Test(arguments: StoreUnderTest.all)
  func neverReturnsMoreThanTheBufferHolds(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    let key = try key("object")
    try await store.put(key, [UInt8](repeating: 1, count: 5000))
    let exact = IOBuffer(capacity: 5000)
    _ = try await store.get(key, range: nil, into: exact, priority: .demand)
    #expect(exact.count == 5000)
    let kind = try await failure {
      _ = try await store.get(key, range: nil, into: IOBuffer(capacity: 4999), priority: .demand)
    }
    #expect(kind == .tooLarge)
  }

  @Test(arguments: StoreUnderTest.all)
  func saysWhatIsNotThere(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    try await store.put(key("a/b/c"), [1])
    for absent in ["x", "a", "a/b", "a/b/d", "a/b/c/d", "z/y/x"] {
      #expect(try await failure { _ = try await store.get(key(absent)) } == .notFound, "\(absent)")
      #expect(try await failure { _ = try await store.get(key(absent), 0..<1) } == .notFound)
    }
  }

  @Test(arguments: StoreUnderTest.all)
  func replaces(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    let key = try key("g/root")
    var tags: Set<ETag> = []
    for round in 0..<10 as Range<UInt8> {
      let bytes = [UInt8](repeating: round, count: 100 - Int(round))
      tags.insert(try await store.put(key, bytes))
      #expect(try await store.get(key).bytes == bytes)
    }
    #expect(tags.count == 10)
  }

  @Test(arguments: StoreUnderTest.all)
  func putsIfAbsent(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    let key = try key("g/seg/1-a")
    let etag = try await store.put(key, [1, 2, 3], .absent)
    let refused = try await failure { try await store.put(key, [4, 5, 6], .absent) }
    #expect(refused == .preconditionFailed)
    let found = try await store.get(key)
    #expect(found.bytes == [1, 2, 3] && found.info.etag == etag)
    try await store.delete(key)
    try await store.put(key, [7], .absent)
    #expect(try await store.get(key).bytes == [7])
  }

  @Test(arguments: StoreUnderTest.all)
  func comparesAndSwaps(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    let key = try key("g/root")
    let first = try await store.put(key, [1], .absent)
    let second = try await store.put(key, [2], .matches(first))
    #expect(first != second)
    let stale = try await failure { try await store.put(key, [3], .matches(first)) }
    #expect(stale == .preconditionFailed)
    #expect(try await store.get(key).bytes == [2])
    try await store.put(key, [4], .matches(second))
    try await store.delete(key)
    // With nothing there, stores say 412 or 404; either way nothing is made.
    let absent = try await failure { try await store.put(key, [5], .matches(second)) }
    #expect(absent == .preconditionFailed || absent == .notFound)
    #expect(try await failure { _ = try await store.get(key) } == .notFound)
  }

  @Test(arguments: StoreUnderTest.all)
  func deletes(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    try await store.put(key("a/1"), [1])
    try await store.put(key("a/2"), [2])
    try await store.delete(key("a/1"))
    #expect(try await failure { _ = try await store.get(key("a/1")) } == .notFound)
    try await store.delete(key("a/1"))
    try await store.delete(key("never/was"))
    try await store.delete(key("a"))
    #expect(try await store.all("") == ["a/2"])
  }

  @Test(arguments: StoreUnderTest.all)
  func takesEveryKey(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    let part = String(repeating: "k", count: 200)
    let keys = [
      "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789._-", "-", "_", "a.",
      "d/.hidden", "d/...", part, "long/\(part)/\(part)/\(part)/\(part)/\(part.prefix(91))",
    ]
    for (index, text) in keys.enumerated() { try await store.put(key(text), [UInt8(index)]) }
    for (index, text) in keys.enumerated() {
      #expect(try await store.get(key(text)).bytes == [UInt8(index)], "\(text)")
    }
    #expect(try await store.all("").sorted() == keys.sorted())
  }

  /// Keys that lie around `/` in byte order, where walking directory by directory goes wrong.
  @Test(arguments: StoreUnderTest.all)
  func listsEveryKeyOnceByPages(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    let texts = [
      "a-", "a-/b", "a.", "a.b/c", "a/b", "a/b-", "a/b.c", "a/c/d", "a0", "a0/x", "aB", "ab/c", "b",
      "A/b",
    ].filter { $0 != "a-" && $0 != "a0" && $0 != "a/b" }
    for text in texts { try await store.put(key(text), [0]) }
    let sorted = texts.inByteOrder
    for limit in [1, 2, 3, texts.count - 1, texts.count, 1000] {
      let found = try await store.all("", limit: limit)
      #expect(kind.isOrdered ? found == sorted : found.inByteOrder == sorted, "limit \(limit)")
    }
    for prefix in ["a", "a/", "a.", "a/b", "ab", "ab/c", "x", "a/b/x", "a-/"] {
      let expected = sorted.filter { $0.hasPrefix(prefix) }
      let found = try await store.all(prefix, limit: 2)
      #expect(
        kind.isOrdered ? found == expected : found.inByteOrder == expected, "prefix \(prefix)")
    }
    let exact = try await store.list(prefix: "", from: nil, limit: texts.count)
    #expect(exact.keys.count == texts.count && exact.next == nil)
  }

  @Test(arguments: StoreUnderTest.all)
  func listsManyKeys(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    let texts = (0..<250).map { "g/\($0 % 3)/\($0)" }
    try await withThrowingTaskGroup { group in
      for text in texts { group.addTask { try await store.put(key(text), [1]) } }
      try await group.waitForAll()
    }
    let sorted = texts.inByteOrder
    #expect(try await store.all("g/", limit: 100) == sorted)
    #expect(try await store.all("g/1/", limit: 7) == sorted.filter { $0.hasPrefix("g/1/") })
  }

  @Test(arguments: StoreUnderTest.all)
  func isCancelled(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    let key = try key("object")
    try await store.put(key, [1])
    let task = Task {
      // SAFETY: the task is used within the closure only.
      unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
      return [
        try await failure { _ = try await store.get(key) },
        try await failure { try await store.put(key, [2]) },
        try await failure { try await store.delete(key) },
        try await failure { _ = try await store.list(prefix: "", from: nil, limit: 1) },
      ]
    }
    #expect(try await task.value == [.cancelled, .cancelled, .cancelled, .cancelled])
    #expect(try await store.get(key).bytes == [1])
  }
}
