import Locks
import RegionCore

/// Runs tasks one at a time on the thread that calls `run`, in an order that follows from a seed, and
/// moves a clock when nothing is ready: so a seed is a schedule.
///
/// Whatever the tasks do must come from this executor and this clock; a task that waits for another
/// thread looks like a deadlock.
public final class SimulatedExecutor: TaskExecutor {
  /// Nothing is ready, nobody sleeps, and the body has not ended.
  public struct Deadlock: Error, CustomStringConvertible {
    /// Says how far it came.
    public var description: String
  }

  private struct State {
    var jobs: [UnownedJob] = []
    var random: SplitMix64
    var trace = Trace()
    var events: [String] = []
    var steps: UInt64 = 0
  }

  /// Time of all tasks.
  public let clock: ManualClock
  private let state: Lock<State>

  /// An executor whose choices follow from `seed`.
  public init(seed: UInt64, clock: ManualClock = ManualClock()) {
    self.clock = clock
    state = Lock(State(random: SplitMix64(seed: seed)))
  }

  /// Queues a job; called by the Swift runtime.
  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    state.withLock { $0.jobs.append(job) }
  }

  /// What happened so far, as a number: equal for equal schedules.
  public var trace: UInt64 { state.withLock { $0.trace.value } }

  /// Jobs run so far.
  public var steps: UInt64 { state.withLock { $0.steps } }

  /// What was noted so far, to see where two runs part.
  public var events: [String] { state.withLock { $0.events } }

  /// Notes something that happened in the trace.
  public func note(_ event: String, _ word: UInt64 = 0) {
    state.withLock { state in
      state.trace.add(event)
      state.trace.add(word)
      state.events.append(word == 0 ? event : "\(event) \(word)")
    }
  }

  /// Runs `body` and everything it starts until it has ended.
  public func run<Value: Sendable>(
    _ body: sending @escaping () async -> Value
  ) throws(Deadlock) -> Value {
    let result = Lock<Value?>(nil)
    spawn {
      let value = await body()
      result.withLock { $0 = value }
    }
    while true {
      if let value = result.withLock({ $0 }) { return value }
      guard runNext() else {
        throw Deadlock(description: "nothing is left to run after \(steps) steps")
      }
    }
  }

  /// Runs what is left, up to `limit` steps, so that no task stays behind; time passes as it must.
  public func settle(limit: Int) {
    for _ in 0..<limit where !runNext() { return }
  }

  /// Runs a job, or moves the clock. Returns whether there was anything to do.
  private func runNext() -> Bool {
    let (job, lets) = state.withLock { state -> (UnownedJob?, Bool) in
      // Now and then time passes although something is ready.
      guard !state.jobs.isEmpty else { return (nil, true) }
      let index = Int.random(in: 0..<state.jobs.count, using: &state.random)
      state.trace.add(UInt64(index) << 32 | UInt64(state.jobs.count))
      state.steps += 1
      let isLate = state.random.oneIn(16)
      return (state.jobs.remove(at: index), isLate)
    }
    if lets, let wait = clock.untilNextWakeup {
      note("wait", wait.wholeNanoseconds)
      clock.advance(by: wait)
      if job == nil { return true }
    }
    guard let job else { return false }
    // SAFETY: each job is taken from the queue once and so runs once.
    unsafe job.runSynchronously(on: asUnownedTaskExecutor())
    return true
  }
}

/// A running hash of what happened (FNV-1a over words).
public struct Trace: Hashable, Sendable {
  /// The hash so far.
  public private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

  /// Nothing has happened.
  public init() {}

  /// Something happened.
  public mutating func add(_ word: UInt64) {
    value = (value ^ word) &* 0x0000_0100_0000_01B3
    value ^= value >> 29
  }

  /// Something with a name happened.
  public mutating func add(_ text: String) {
    for byte in text.utf8 { add(UInt64(byte)) }
  }
}
