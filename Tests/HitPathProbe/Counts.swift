import CAllocationCount
import Locks
import RegionCore

/// What a number of reads took, in the whole process.
struct Counts {
  var reads = 0
  var allocations: UInt64 = 0
  var locks: UInt64?

  /// The line that the test reads.
  func line(_ name: String) -> String {
    let locks = locks.map { "\($0)" } ?? "unknown"
    return "\(name) reads \(reads) allocations \(allocations) locks \(locks)"
  }

  /// Counts what `body` takes, which returns its number of reads: the round of several that took
  /// least, because what the engine does by itself now and then is not the reads' doing. What a read
  /// takes itself shows in every round.
  static func ofQuietest(rounds: Int = 3, _ body: () throws -> Int) rethrows -> Counts {
    var best: Counts?
    for _ in 0..<rounds {
      let (allocations, locks) = (allocation_count(), lockCount)
      var counts = Counts()
      counts.reads = try body()
      counts.allocations = allocation_count() - allocations
      counts.locks = lockCount.flatMap { now in locks.map { now - $0 } }
      if best.map({ counts.sum < $0.sum }) ?? true { best = counts }
    }
    return best ?? Counts()
  }

  private var sum: UInt64 { allocations + (locks ?? 0) }

  /// Acquisitions of locks so far; nil in builds that do not count them.
  private static var lockCount: UInt64? {
    #if DEBUG
      LockCount.now
    #else
      nil
    #endif
  }
}
