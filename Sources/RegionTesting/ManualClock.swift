import Locks
import RegionCore

/// A clock that only moves when a test says so.
public final class ManualClock: EngineClock {
  private struct Sleeper {
    let id: UInt64
    let deadline: MonotonicTime
    let continuation: CheckedContinuation<Void, Never>
  }
  private struct Watcher {
    let count: Int
    let continuation: CheckedContinuation<Void, Never>
  }
  private struct State {
    var now: MonotonicTime
    var nextID: UInt64 = 0
    var sleepers: [Sleeper] = []
    var watchers: [Watcher] = []
    /// Sleeps that were cancelled before they had registered.
    var cancelled: Set<UInt64> = []

    /// Watchers that have what they wait for.
    mutating func takeWatchers() -> [Watcher] {
      let satisfied = watchers.filter { $0.count <= sleepers.count }
      watchers.removeAll { $0.count <= sleepers.count }
      return satisfied
    }
  }
  private let state: Lock<State>
  private let wallStart: Timestamp
  private let start: MonotonicTime

  /// A clock that stands at these times.
  public init(
    now: MonotonicTime = MonotonicTime(nanoseconds: 1_000_000_000),
    wall: Timestamp = Timestamp(nanoseconds: 1_700_000_000_000_000_000)
  ) {
    start = now
    wallStart = wall
    state = Lock(State(now: now))
  }

  /// Where the clock stands, for durations.
  public var now: MonotonicTime { state.withLock { $0.now } }

  /// Where the clock stands, for file times.
  public var wall: Timestamp {
    Timestamp(nanoseconds: wallStart.nanoseconds + Int64(now.since(start).wholeNanoseconds))
  }

  /// How many tasks sleep now.
  public var sleepers: Int { state.withLock { $0.sleepers.count } }

  /// How long until the first sleeper wakes; nil if nobody sleeps.
  public var untilNextWakeup: Duration? {
    state.withLock { state in
      state.sleepers.map(\.deadline).min().map { $0.since(state.now) }
    }
  }

  /// Suspends until the clock was moved by `duration`, or the task is cancelled.
  public func sleep(for duration: Duration) async {
    guard duration > .zero else { return }
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let (isOver, watchers) = state.withLock { state -> (Bool, [Watcher]) in
          if state.cancelled.remove(id) != nil { return (true, []) }
          state.sleepers.append(
            Sleeper(id: id, deadline: state.now + duration, continuation: continuation))
          return (false, state.takeWatchers())
        }
        if isOver { continuation.resume() }
        for watcher in watchers { watcher.continuation.resume() }
      }
    } onCancel: {
      let sleeper = state.withLock { state -> Sleeper? in
        guard let index = state.sleepers.firstIndex(where: { $0.id == id }) else {
          state.cancelled.insert(id)
          return nil
        }
        return state.sleepers.remove(at: index)
      }
      sleeper?.continuation.resume()
    }
  }

  /// Moves the clock and wakes everyone whose time has come, in order of their deadlines (of equal
  /// ones, who slept first). They run after this returns.
  public func advance(by duration: Duration) {
    let woken = state.withLock { state -> [Sleeper] in
      state.now = state.now + duration
      let due = state.sleepers.filter { $0.deadline <= state.now }
      state.sleepers.removeAll { $0.deadline <= state.now }
      return due.sorted { ($0.deadline, $0.id) < ($1.deadline, $1.id) }
    }
    for sleeper in woken { sleeper.continuation.resume() }
  }

  /// Waits (in real time) until at least `count` tasks sleep on this clock, so that a test moves it
  /// only when the code under test waits for it.
  public func waitForSleepers(_ count: Int) async {
    await withCheckedContinuation { continuation in
      let isSatisfied = state.withLock { state in
        if state.sleepers.count >= count { return true }
        state.watchers.append(Watcher(count: count, continuation: continuation))
        return false
      }
      if isSatisfied { continuation.resume() }
    }
  }
}
