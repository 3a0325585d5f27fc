import Locks
import RegionCore
import RegionTesting
import Testing

/// A store whose answers a test decides.
private struct ScriptedStore: ObjectStore {
  var info = ObjectInfo(etag: ETag("e"), totalLength: 4)
  var received = 4
  var etag = ETag("e")
  var page = ListPage(keys: [], next: nil)
  let address = "scripted:"

  func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    buffer.count = received
    return info
  }
  func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag { etag }
  func delete(_ key: ObjectKey) async throws(StoreError) {}
  func list(prefix: String, from token: String?, limit: Int) async throws(StoreError) -> ListPage {
    page
  }
}

@Suite struct VerifyingStoreTests {
  private let key: ObjectKey
  init() throws { key = try #require(ObjectKey("g/x")) }

  private func kind(_ operation: () async throws -> Void) async throws -> StoreError.Kind? {
    do {
      try await operation()
      return nil
    } catch let error as StoreError {
      return error.kind
    }
  }

  private func get(
    _ store: ScriptedStore, _ range: Range<UInt64>?, capacity: Int = 100
  ) async throws -> StoreError.Kind? {
    let buffer = IOBuffer(capacity: capacity)
    let kind = try await kind {
      _ = try await VerifyingStore(store).get(key, range: range, into: buffer, priority: .demand)
    }
    #expect(kind == nil || buffer.count == 0, "bytes of a refused answer stay in the buffer")
    return kind
  }

  @Test func passesExactAnswersOnly() async throws {
    var store = ScriptedStore()
    #expect(try await get(store, nil) == nil)
    #expect(try await get(store, 0..<4) == nil)
    for received in [0, 3, 5] {
      store.received = received
      #expect(try await get(store, nil) == .damagedAnswer, "\(received)")
      #expect(try await get(store, 0..<4) == .damagedAnswer, "\(received)")
    }
    store.received = 3
    #expect(try await get(store, 2..<5) == .damagedAnswer, "a range behind the object's end")
    #expect(try await get(store, 1..<4) == nil)
    store.info.etag = ETag("")
    #expect(try await get(store, 1..<4) == .damagedAnswer)
  }

  @Test func refusesSenselessRequests() async throws {
    let store = ScriptedStore()
    #expect(try await get(store, 2..<2) == .badRequest)
    #expect(try await get(store, 0..<4, capacity: 3) == .tooLarge)
    #expect(try await get(store, 0 ..< .max) == .tooLarge)
    let verifying = VerifyingStore(store)
    for limit in [0, -1, 1001] {
      #expect(
        try await kind { _ = try await verifying.list(prefix: "", from: nil, limit: limit) }
          == .badRequest)
    }
    let empty = try await kind {
      _ = try await verifying.put(
        key, IOBuffer([1]), condition: .matches(ETag("")), priority: .demand)
    }
    #expect(empty == .badRequest)
  }

  @Test func demandsETagsOfPuts() async throws {
    var store = ScriptedStore()
    store.etag = ETag("")
    let kind = try await kind {
      _ = try await VerifyingStore(store).put(
        key, IOBuffer([1]), condition: .none, priority: .demand)
    }
    #expect(kind == .damagedAnswer)
  }

  @Test func checksListings() async throws {
    func page(_ texts: [String], next: String? = nil) throws -> ListPage {
      ListPage(keys: try texts.map { try #require(ObjectKey($0)) }, next: next)
    }
    func list(_ page: ListPage, from token: String? = nil) async throws -> StoreError.Kind? {
      var store = ScriptedStore()
      store.page = page
      return try await kind {
        _ = try await VerifyingStore(store).list(prefix: "g/", from: token, limit: 2)
      }
    }
    #expect(try await list(page(["g/a", "g/b"], next: "x")) == nil)
    #expect(try await list(page([])) == nil)
    #expect(try await list(page(["g/a", "g/b", "g/c"])) == .damagedAnswer)
    #expect(try await list(page(["g/b", "g/a"])) == nil, "the order is the store's own")
    #expect(try await list(page(["g/a", "g/a"])) == .damagedAnswer)
    #expect(try await list(page(["h/a"])) == .damagedAnswer)
    #expect(try await list(page(["g/a"], next: "t"), from: "t") == .damagedAnswer)
  }

  /// With retries above, damage on the way costs time and nothing else.
  @Test func damageOnTheWayNeverReachesTheReader() async throws {
    let memory = MemoryStore()
    let body = [UInt8](repeating: 5, count: 1000)
    _ = try await memory.put(key, IOBuffer(body), condition: .none, priority: .demand)
    let faults = FaultStore(memory, seed: 8)
    faults.add(.init(.shorten(1), on: [.get], probability: 0.3))
    faults.add(.init(.failAfter(.unavailable), on: [.get], probability: 0.3))
    let store = RetryingStore(
      VerifyingStore(faults),
      policy: RetryPolicy(
        attempts: 100, base: .nanoseconds(1), longestWait: .nanoseconds(1),
        timeLimit: .seconds(3600))
    )
    for _ in 0..<200 {
      let buffer = IOBuffer(capacity: 2000)
      _ = try await store.get(key, range: nil, into: buffer, priority: .demand)
      #expect(buffer.array == body)
    }
    #expect(faults.faults > 100)
  }
}

@Suite struct MeteredStoreTests {
  @Test func counts() async throws {
    let key = try #require(ObjectKey("g/x"))
    let faults = FaultStore(MemoryStore())
    let errors = Lock<[StoreError.Kind]>([])
    let store = MeteredStore(faults) { error in errors.withLock { $0.append(error.kind) } }
    func put(_ condition: PutCondition) async throws(StoreError) {
      _ = try await store.put(
        key, IOBuffer([1, 2, 3]), condition: condition, priority: .demand)
    }
    try await put(.none)
    // A condition that does not hold is an answer.
    await #expect(throws: StoreError.self) { try await put(.absent) }
    faults.add(.init(.failBefore(.unavailable), on: [.put], count: 1))
    await #expect(throws: StoreError.self) { try await put(.none) }
    _ = try await store.get(key, range: 0..<2, into: IOBuffer(capacity: 10), priority: .demand)
    // So is an object that is longer than there is room for.
    await #expect(throws: StoreError.self) {
      _ = try await store.get(key, range: nil, into: IOBuffer(capacity: 2), priority: .demand)
    }
    _ = try await store.list(prefix: "", from: nil, limit: 10)
    try await store.delete(key)
    let snapshot = store.snapshot()
    #expect(snapshot.put.requests == 3 && snapshot.put.errors == 1 && snapshot.put.bytes == 3)
    #expect(snapshot.get.requests == 2 && snapshot.get.bytes == 2 && snapshot.get.errors == 0)
    #expect(snapshot.list.requests == 1 && snapshot.delete.requests == 1)
    #expect(snapshot.requests == 7 && snapshot.errors == 1)
    #expect(errors.withLock { $0 } == [.unavailable])
    #expect(snapshot.put.inFlight == 0 && snapshot.get.inFlight == 0)
  }

  @Test func countsWhatIsUnderWay() async throws {
    let key = try #require(ObjectKey("g/x"))
    let clock = ManualClock()
    let faults = FaultStore(MemoryStore(), clock: clock)
    faults.add(.init(.delay(.seconds(5)), on: [.delete]))
    let store = MeteredStore(faults)
    let task = Task { try await store.delete(key) }
    await clock.waitForSleepers(1)
    #expect(store.snapshot().delete.inFlight == 1)
    clock.advance(by: .seconds(5))
    try await task.value
    #expect(store.snapshot().delete.inFlight == 0)
  }
}
