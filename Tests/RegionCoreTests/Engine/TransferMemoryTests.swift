import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// The bound on the memory of pulls.
@Suite struct TransferMemoryTests {
  @Test(arguments: 1...10) func theLimitHoldsAndEverybodyGetsIn(seed: Int) async {
    let memory = TransferMemory(limit: 1000)
    let done = Lock(0)
    await withTaskGroup { group in
      var random = SplitMix64(seed: UInt64(seed))
      for _ in 0..<400 {
        let bytes = Int.random(in: 1...300, using: &random)
        let priority = TransferPriority(rawValue: Int.random(in: 0...2, using: &random)) ?? .demand
        group.addTask {
          await memory.enter(bytes, priority)
          #expect(memory.usage.used <= 1000)
          await Task.yield()
          memory.leave(bytes)
          done.withLock { $0 += 1 }
        }
      }
    }
    #expect(done.withLock { $0 } == 400)
    #expect(memory.usage.used == 0)
    #expect(memory.usage.peak <= 1000)
  }

  @Test func whatIsLargerThanTheLimitGetsInAlone() async {
    let memory = TransferMemory(limit: 100)
    await memory.enter(500, .background)
    #expect(memory.usage.used == 500)
    memory.leave(500)
    #expect(memory.usage.used == 0)
  }

  @Test func aFaultFindsRoomThatOthersMayNotTake() async {
    let memory = TransferMemory(limit: 400)
    await memory.enter(200, .background)
    let others = Lock(0)
    await withTaskGroup { group in
      group.addTask {
        await memory.enter(1, .background)
        others.withLock { $0 += 1 }
        memory.leave(1)
      }
      await memory.enter(200, .demand)
      #expect(memory.usage.used == 400)
      #expect(others.withLock { $0 } == 0)
      memory.leave(200)
      memory.leave(200)
    }
    #expect(others.withLock { $0 } == 1)
  }
}
