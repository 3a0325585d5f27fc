import Locks
import RegionCore
import RegionTesting
import Testing

@Suite struct RetryingStoreTests {
  private let memory = MemoryStore()
  private let clock = ManualClock()
  private let faults: FaultStore
  private let store: RetryingStore
  private let key: ObjectKey
  private let policy = RetryPolicy(
    attempts: 4, base: .milliseconds(100), longestWait: .milliseconds(300), timeLimit: .seconds(60))

  init() throws {
    key = try #require(ObjectKey("g/x"))
    faults = FaultStore(memory, clock: clock)
    store = RetryingStore(
      faults, clock: clock, generator: SplitMix64(seed: 1), policy: policy)
  }

  /// Runs `operation` and moves the clock whenever it waits; what it returned, and the waits.
  private func run<Value: Sendable>(_ operation: @escaping @Sendable () async throws -> Value)
    async -> (result: Result<Value, any Error>, waits: [Duration])
  {
    let task = Task { try await operation() }
    let waits = Lock<[Duration]>([])
    let driver = Task {
      while !Task.isCancelled {
        if let wait = clock.untilNextWakeup {
          waits.withLock { $0.append(wait) }
          clock.advance(by: wait)
        }
        await Task.yield()
      }
    }
    let result = await task.result
    driver.cancel()
    await driver.value
    return (result, waits.withLock { $0 })
  }

  private func put(_ bytes: [UInt8], _ condition: PutCondition) async -> (
    result: Result<ETag, any Error>, waits: [Duration]
  ) {
    await run { [store, key] in
      try await store.put(key, IOBuffer(bytes), condition: condition, priority: .demand)
    }
  }

  private func bytes() async throws -> [UInt8] {
    let buffer = IOBuffer(capacity: 100)
    _ = try await memory.get(key, range: nil, into: buffer, priority: .demand)
    return buffer.array
  }

  private func kind(_ result: Result<some Any, any Error>) -> StoreError.Kind? {
    if case .failure(let error as StoreError) = result { return error.kind }
    return nil
  }

  @Test(arguments: StoreError.Kind.allCases)
  func repeatsWhatMaySucceedLater(_ kind: StoreError.Kind) async throws {
    faults.add(.init(.failBefore(kind), count: 2))
    let (result, waits) = await put([1], .none)
    if [.throttled, .unavailable, .damagedAnswer].contains(kind) {
      _ = try result.get()
      #expect(waits.count == 2 && faults.requests.count == 3)
    } else {
      #expect(self.kind(result) == kind)
      #expect(waits.isEmpty && faults.requests.count == 1)
    }
  }

  @Test func givesUpAfterItsAttempts() async {
    faults.add(.init(.failBefore(.unavailable)))
    let (result, waits) = await put([1], .none)
    #expect(kind(result) == .unavailable)
    #expect(faults.requests.count == 4 && waits.count <= 3)
  }

  @Test func waitsAreRandomAndBounded() async {
    faults.add(.init(.failBefore(.unavailable)))
    var seen: Set<Duration> = []
    for _ in 0..<30 {
      let (_, waits) = await put([1], .none)
      #expect(waits.allSatisfy { $0 <= policy.longestWait })
      if let first = waits.first { #expect(first <= policy.base) }
      seen.formUnion(waits)
    }
    #expect(seen.count > 60, "waits are not random")
  }

  @Test func honoursRetryAfter() async throws {
    faults.add(.init(.failBefore(.throttled, retryAfter: .seconds(7)), count: 1))
    let (result, waits) = await put([1], .none)
    _ = try result.get()
    #expect(waits == [.seconds(7)])
  }

  @Test func doesNotWaitBeyondItsTime() async {
    faults.add(.init(.failBefore(.throttled, retryAfter: .seconds(61)), count: 1))
    let (result, waits) = await put([1], .none)
    #expect(kind(result) == .throttled && waits.isEmpty)
  }

  @Test func repeatsReadsDeletesAndListings() async throws {
    _ = await put([1, 2], .none)
    faults.add(.init(.failBefore(.unavailable), on: [.get, .delete, .list], skip: 0, count: 1))
    let got = await run { [store, key] in
      let buffer = IOBuffer(capacity: 10)
      _ = try await store.get(key, range: nil, into: buffer, priority: .demand)
      return buffer.array
    }
    #expect(try got.result.get() == [1, 2])
    faults.add(.init(.failBefore(.unavailable), on: [.list], count: 1))
    let page = await run { [store] in try await store.list(prefix: "", from: nil, limit: 10) }
    #expect(try page.result.get().keys == [key])
    faults.add(.init(.failAfter(.unavailable), on: [.delete], count: 1))
    try await run { [store, key] in try await store.delete(key) }.result.get()
    #expect(kind(await run { try await self.bytes() }.result) == .notFound)
  }

  /// A swap whose answer was lost may have happened: only the caller can find out.
  @Test(arguments: [FaultStore.Fault.failAfter(.unavailable), .failBefore(.unavailable)])
  func neverRepeatsASwap(_ fault: FaultStore.Fault) async throws {
    let etag = try await put([1], .absent).result.get()
    faults.add(.init(fault, on: [.put]))
    let before = faults.requests.count
    let (result, waits) = await put([2], .matches(etag))
    #expect(kind(result) == .unavailable)
    #expect(faults.requests.count == before + 1 && waits.isEmpty)
  }

  @Test func recognisesItsOwnLostAcknowledgement() async throws {
    faults.add(.init(.failAfter(.unavailable), on: [.put], count: 1))
    let (result, _) = await put([1, 2, 3], .absent)
    let etag = try result.get()
    let info = try await memory.get(
      key, range: nil, into: IOBuffer(capacity: 10), priority: .demand)
    #expect(info.etag == etag)
  }

  /// An HTTP library may have sent the first attempt twice.
  @Test func recognisesItsOwnBytesAtTheFirstAttempt() async throws {
    let written = try await put([1, 2, 3], .absent).result.get()
    let (result, _) = await put([1, 2, 3], .absent)
    #expect(try result.get() == written)
  }

  @Test(arguments: [[1, 2, 4], [1, 2], [1, 2, 3, 4], []] as [[UInt8]])
  func doesNotTakeAnothersObjectForItsOwn(_ other: [UInt8]) async throws {
    _ = try await memory.put(key, IOBuffer(other), condition: .absent, priority: .demand)
    let (result, _) = await put([1, 2, 3], .absent)
    #expect(kind(result) == .preconditionFailed)
    #expect(try await bytes() == other)
  }

  @Test func doesNotGuessWhenItCannotReadBack() async throws {
    _ = try await memory.put(key, IOBuffer([1, 2, 3]), condition: .absent, priority: .demand)
    faults.add(.init(.failBefore(.unavailable), on: [.get]))
    let (result, _) = await put([1, 2, 3], .absent)
    #expect(kind(result) == .unavailable)
  }

  @Test func repeatsAPutIfAbsentThatIsUndecided() async throws {
    faults.add(.init(.failBefore(.conflict), on: [.put], count: 2))
    _ = try await put([1], .absent).result.get()
    #expect(faults.requests.count == 3)
  }

  @Test func stopsWhenItIsCancelledInAWait() async {
    faults.add(.init(.failBefore(.throttled, retryAfter: .seconds(30))))
    let task = Task { [store, key] in
      try await store.put(key, IOBuffer([1]), condition: .none, priority: .demand)
    }
    await clock.waitForSleepers(1)
    task.cancel()
    #expect(kind(await task.result) == .cancelled)
    #expect(faults.requests.count == 1)
  }
}
