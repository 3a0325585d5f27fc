import Locks
import RegionCore
import RegionTesting
import Testing

/// The tools that other tests trust.
@Suite struct TestingToolsTests {
  private let key: ObjectKey
  init() throws { key = try #require(ObjectKey("g/x")) }

  /// First values of the reference implementation for seed 0.
  @Test func splitMix64IsTheKnownSequence() {
    var generator = SplitMix64(seed: 0)
    #expect(generator.next() == 0xE220_A839_7B1D_CDAF)
    #expect(generator.next() == 0x6E78_9E6A_A1B9_65F4)
  }

  @Test func manualClockWakesInOrderOfDeadlines() async {
    let clock = ManualClock()
    let start = clock.wall
    let woken = Lock<[Int]>([])
    await withTaskGroup { group in
      for seconds in [3, 1, 2] {
        group.addTask {
          await clock.sleep(for: .seconds(seconds))
          woken.withLock { $0.append(seconds) }
        }
      }
      await clock.waitForSleepers(3)
      #expect(clock.untilNextWakeup == .seconds(1))
      clock.advance(by: .milliseconds(999))
      #expect(clock.sleepers == 3)
      clock.advance(by: .milliseconds(1))
      #expect(clock.sleepers == 2)
      clock.advance(by: .seconds(10))
      await group.waitForAll()
    }
    #expect(woken.withLock { Set($0) } == [1, 2, 3])
    #expect(clock.wall.nanoseconds - start.nanoseconds == 11_000_000_000)
  }

  @Test func manualClockSleepEndsWithItsTask() async {
    let clock = ManualClock()
    let task = Task { await clock.sleep(for: .seconds(1)) }
    await clock.waitForSleepers(1)
    task.cancel()
    await task.value
    #expect(clock.sleepers == 0)
    let early = Task {
      // SAFETY: the task is used within the closure only.
      unsafe withUnsafeCurrentTask { unsafe $0?.cancel() }
      await clock.sleep(for: .seconds(1))
    }
    await early.value
    #expect(clock.sleepers == 0)
  }

  @Test func rulesSkipCountAndMatch() async throws {
    let store = FaultStore(MemoryStore())
    store.add(
      .init(.failBefore(.throttled), on: [.put], keyContains: "/x", skip: 1, count: 2))
    let other = try #require(ObjectKey("g/y"))
    var outcomes: [Bool] = []
    for round in 0..<5 {
      do {
        _ = try await store.put(key, IOBuffer([1]), condition: .none, priority: .demand)
        outcomes.append(true)
      } catch {
        outcomes.append(false)
      }
      _ = try await store.put(other, IOBuffer([UInt8(round)]), condition: .none, priority: .demand)
    }
    #expect(outcomes == [true, false, false, true, true])
    #expect(store.faults == 2 && store.requests.count == 10)
  }

  @Test func faultsAreTheSameForTheSameSeed() async throws {
    func run(_ seed: UInt64) async -> [Bool] {
      let store = FaultStore(MemoryStore(), seed: seed)
      store.add(.init(.failBefore(.unavailable), probability: 0.5))
      var outcomes: [Bool] = []
      for _ in 0..<64 {
        do {
          try await store.delete(key)
          outcomes.append(true)
        } catch {
          outcomes.append(false)
        }
      }
      return outcomes
    }
    let (one, again, other) = (await run(1), await run(1), await run(2))
    #expect(one == again && one != other && Set(one).count == 2)
  }

  @Test func lostAcknowledgementsLeaveTheirEffect() async throws {
    let memory = MemoryStore()
    let store = FaultStore(memory)
    store.add(.init(.failAfter(.unavailable), on: [.put]))
    await #expect(throws: StoreError.self) {
      try await store.put(key, IOBuffer([1, 2]), condition: .none, priority: .demand)
    }
    let info = try await memory.get(
      key, range: nil, into: IOBuffer(capacity: 9), priority: .demand)
    #expect(info.totalLength == 2)
  }

  @Test func damagesAnswers() async throws {
    let memory = MemoryStore()
    let store = FaultStore(memory)
    let body: [UInt8] = [9, 9, 9, 9]
    _ = try await store.put(key, IOBuffer(body), condition: .none, priority: .demand)
    func get() async throws -> [UInt8] {
      let buffer = IOBuffer(capacity: 9)
      _ = try await store.get(key, range: nil, into: buffer, priority: .demand)
      return buffer.array
    }
    store.add(.init(.flipBit, count: 1))
    let flipped = try await get()
    #expect(zip(flipped, body).map { ($0 ^ $1).nonzeroBitCount }.reduce(0, +) == 1)
    store.add(.init(.shorten(3), count: 1))
    #expect(try await get() == [9])
    store.add(.init(.zeroBytes, count: 1))
    #expect(try await get() == [0, 0, 0, 0])
    #expect(try await get() == body)
  }

  @Test func blackholesEndByReleaseOrCancellation() async throws {
    let store = FaultStore(MemoryStore())
    store.add(.init(.blackhole))
    let tasks = (0..<2).map { _ in Task { [key] in try await store.delete(key) } }
    try await eventually("two requests are held up") { store.parked >= 2 }
    tasks[0].cancel()
    await #expect { try await tasks[0].value } throws: { ($0 as? StoreError)?.kind == .cancelled }
    #expect(store.parked == 1)
    store.release()
    await #expect { try await tasks[1].value } throws: { ($0 as? StoreError)?.kind == .unavailable }
    #expect(store.parked == 0)
  }
}
