import RegionTesting
import Testing

@testable import RegionCore

@Suite struct TokenBucketTests {
  private static func time(_ seconds: Double) -> MonotonicTime {
    MonotonicTime(nanoseconds: UInt64(seconds * 1e9))
  }

  @Test(arguments: [20_000, 1_000_000, 300_000_000] as [UInt64], [1, 2, 3] as [UInt64])
  func keepsToTheRateOnAverage(rate: UInt64, seed: UInt64) {
    var random = SplitMix64(seed: seed)
    var bucket = TokenBucket(rate: rate, at: Self.time(0))
    var now = Self.time(0)
    var taken: UInt64 = 0
    var largest: UInt64 = 0
    while now < Self.time(60) {
      let bytes = UInt64.random(in: 1...max(2, rate / 2), using: &random)
      let priority = TransferPriority(rawValue: Int.random(in: 0...2, using: &random)) ?? .demand
      if let wait = bucket.take(bytes, priority, at: now) {
        now = now + wait
      } else if bytes > TokenBucket.freeBytes || rate < 1_000_000 {
        taken += bytes
        largest = max(largest, bytes)
      }
      // What never waits is a load of its own.
      if rate < 1_000_000 { now = now + .seconds(Double(bytes) / Double(rate)) }
    }
    #expect(taken <= 61 * rate + largest)
    #expect(taken > 30 * rate)
  }

  @Test func theBackgroundYieldsFirst() {
    var bucket = TokenBucket(rate: 1 << 20, at: Self.time(0))
    let first = bucket.take(1 << 20, .background, at: Self.time(0))
    #expect(first == nil)
    // 0.75 s of debt, then a quarter of a second until the bucket is full.
    let waits = [TransferPriority.demand, .readAhead, .background].map {
      bucket.take(1 << 20, $0, at: Self.time(0.1))
    }
    let known = waits.compactMap { $0 }
    #expect(known.count == 3 && known == known.sorted() && Set(known).count == 3)
    let late = bucket.take(1 << 20, .background, at: Self.time(0.76))
    let urgent = bucket.take(1 << 20, .demand, at: Self.time(0.76))
    #expect(late != nil && urgent == nil)
  }

  @Test func smallRequestsNeverWaitButCount() {
    var bucket = TokenBucket(rate: 1 << 20, at: Self.time(0))
    for _ in 0..<16 {
      let wait = bucket.take(64 << 10, .background, at: Self.time(0))
      #expect(wait == nil)
    }
    let early = bucket.take(65 << 10, .demand, at: Self.time(0.7))
    let paid = bucket.take(65 << 10, .demand, at: Self.time(0.8))
    #expect(early != nil && paid == nil)
  }
}

@Suite struct LimitedStoreTests {
  private let key: ObjectKey
  init() throws { key = try #require(ObjectKey("g/x")) }

  @Test func aDownloadWaitsUntilTheOnesBeforeArePaid() async throws {
    let clock = ManualClock()
    let memory = MemoryStore()
    let store = LimitedStore(memory, download: 1 << 20, upload: nil, clock: clock)
    let body = IOBuffer([UInt8](repeating: 7, count: 1 << 20))
    _ = try await store.put(key, body, condition: .none, priority: .demand)
    #expect(clock.sleepers == 0)
    let first = IOBuffer(capacity: 1 << 20)
    _ = try await store.get(key, range: 0..<1 << 20, into: first, priority: .demand)
    let isOver = Flag()
    let second = Task { [key] in
      let buffer = IOBuffer(capacity: 1 << 20)
      _ = try await store.get(key, range: 0..<1 << 20, into: buffer, priority: .demand)
      isOver.raise()
      return buffer.count
    }
    try await eventually("the transfer waits") { clock.sleepers > 0 }
    #expect(!isOver.isRaised)
    try await eventually("the transfer ends") {
      if let wait = clock.untilNextWakeup { clock.advance(by: wait) }
      return isOver.isRaised
    }
    #expect(try await second.value == 1 << 20)
    #expect(clock.now.nanoseconds >= 1_750_000_000)
  }

  @Test func aCancelledWaitEndsAsCancelled() async throws {
    let clock = ManualClock()
    let store = LimitedStore(MemoryStore(), download: nil, upload: 1000, clock: clock)
    let body = IOBuffer([UInt8](repeating: 7, count: 100_000))
    _ = try await store.put(key, body, condition: .none, priority: .demand)
    let second = Task { [key] in
      do {
        _ = try await store.put(key, body, condition: .none, priority: .demand)
        return nil as StoreError.Kind?
      } catch let error as StoreError {
        return error.kind
      }
    }
    try await eventually("the transfer waits") { clock.sleepers > 0 }
    second.cancel()
    #expect(try await second.value == .cancelled)
  }
}

@Suite struct HedgingTests {
  private let key: ObjectKey
  init() throws { key = try #require(ObjectKey("g/x")) }

  private static func time(_ milliseconds: Int) -> MonotonicTime {
    MonotonicTime(nanoseconds: UInt64(milliseconds) * 1_000_000)
  }

  private func experienced(_ count: Int = 200) -> HedgePolicy {
    var policy = HedgePolicy()
    for number in 0..<count {
      let (id, _) = policy.began(at: Self.time(100 * number))
      policy.ended(id, isAnswer: true, at: Self.time(100 * number + 20))
    }
    return policy
  }

  @Test func nothingIsSentTwiceBeforeTheUsualTimeIsKnown() {
    var policy = experienced(10)
    let (_, patience) = policy.began(at: Self.time(0))
    #expect(patience == nil)
    let hedges = policy.mayHedge(at: Self.time(5000))
    #expect(!hedges)
  }

  @Test func oneLateRequestOfManyIsSentTwice() {
    var policy = experienced()
    let (_, patience) = policy.began(at: Self.time(50_000))
    #expect(patience == .milliseconds(20))
    for _ in 0..<3 { _ = policy.began(at: Self.time(50_030)) }
    let hedges = policy.mayHedge(at: Self.time(50_031))
    #expect(hedges)
  }

  @Test func noneIsSentTwiceWhileMostAreLate() {
    var policy = experienced()
    for _ in 0..<4 { _ = policy.began(at: Self.time(50_000)) }
    let hedges = policy.mayHedge(at: Self.time(50_100))
    #expect(!hedges)
  }

  @Test func atMostOneInFiftyIsSentTwice() {
    var policy = experienced(300)
    let before = policy.hedges
    for number in 0..<1000 {
      let start = 100_000 + 1000 * number
      let (id, _) = policy.began(at: Self.time(start))
      _ = policy.mayHedge(at: Self.time(start + 900))
      policy.ended(id, isAnswer: false, at: Self.time(start + 950))
    }
    #expect(policy.hedges - before <= 24)
    #expect(policy.hedges - before >= 20)
  }

  @Test func aRequestThatHangsIsAnsweredByItsSecond() async throws {
    let memory = MemoryStore()
    let faults = FaultStore(memory)
    let clock = ManualClock()
    let store = HedgingStore(faults, clock: clock)
    let bytes = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    _ = try await store.put(key, IOBuffer(bytes), condition: .none, priority: .demand)
    for _ in 0..<80 {
      _ = try await store.get(
        key, range: 0..<4096, into: IOBuffer(capacity: 4096), priority: .demand)
    }
    faults.add(.init(.blackhole, on: [.get], count: 1))
    let late = Task { [key] in
      let buffer = IOBuffer(capacity: 4096)
      _ = try await store.get(key, range: 0..<4096, into: buffer, priority: .demand)
      return buffer.array
    }
    try await eventually("one request is held up, one waits") {
      faults.parked > 0 && clock.sleepers > 0
    }
    clock.advance(by: .milliseconds(6))
    #expect(try await late.value == bytes)
    #expect(store.hedges == 1 && faults.parked == 0)
  }

  @Test func theErrorOfBothIsTheFirstOnes() async throws {
    let faults = FaultStore(MemoryStore())
    let store = HedgingStore(faults, clock: ManualClock())
    _ = try await store.put(key, IOBuffer([1, 2]), condition: .none, priority: .demand)
    for _ in 0..<80 {
      _ = try await store.get(key, range: 0..<2, into: IOBuffer(capacity: 2), priority: .demand)
    }
    faults.add(.init(.failBefore(.accessDenied), on: [.get]))
    do {
      _ = try await store.get(key, range: 0..<2, into: IOBuffer(capacity: 2), priority: .demand)
      Issue.record("it succeeded")
    } catch {
      #expect(error.kind == .accessDenied)
    }
  }

  @Test func whatNobodyWaitsForIsNotSentTwice() async throws {
    let faults = FaultStore(MemoryStore())
    let store = HedgingStore(faults, clock: ManualClock())
    _ = try await store.put(key, IOBuffer([1, 2]), condition: .none, priority: .demand)
    for _ in 0..<80 {
      _ = try await store.get(key, range: 0..<2, into: IOBuffer(capacity: 2), priority: .demand)
    }
    let before = faults.requests.count
    faults.add(.init(.delay(.milliseconds(50)), on: [.get], count: 1))
    _ = try await store.get(
      key, range: 0..<2, into: IOBuffer(capacity: 2), priority: .background)
    #expect(faults.requests.count == before + 1 && store.hedges == 0)
  }
}
