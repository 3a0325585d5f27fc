import FuseKit
import Glibc
import Locks
import RegionControl
import RegionCore
import Synchronization

/// What changes over a daemon's life and `regionfs-stat` wants to know.
final class DaemonProgress: Sendable {
  private struct State {
    var phase = MountState.running
    var tuningFailure: String?
    var lastStoreError: ErrorStatus?
    var isOffline = false
    var throughput = ThroughputMeter()
    var isDown = false
  }

  private let locked = Lock(State())
  /// When the daemon began.
  let started = SystemClock().wall

  var state: MountState { locked.withLock { $0.phase } }

  func setState(_ phase: MountState) { locked.withLock { $0.phase = phase } }

  func noteTuning(_ outcomes: [MountTuning.Outcome]) {
    let failures = outcomes.filter { $0.failure != nil }.map { "\($0)" }
    guard !failures.isEmpty else { return }
    locked.withLock { $0.tuningFailure = failures.joined(separator: "; ") }
  }

  var tuningFailure: String? { locked.withLock { $0.tuningFailure } }

  func noteStoreError(_ error: StoreError) {
    let clock = SystemClock()
    let status = ErrorStatus(message: "\(error)", unixSeconds: clock.wall.unixSeconds)
    locked.withLock { $0.lastStoreError = status }
  }

  var lastStoreError: ErrorStatus? { locked.withLock { $0.lastStoreError } }

  /// What came from the store and went to it, lately.
  var throughput: ThroughputStatus { locked.withLock { $0.throughput.status } }

  /// Takes note of the counters; to be called about once a second.
  func noteTraffic(_ counts: MeteredStore.Snapshot, at now: Duration) {
    locked.withLock {
      $0.throughput.note(
        second: Int(now.components.seconds), received: counts.get.bytes, sent: counts.put.bytes)
    }
  }

  /// Takes note of whether the store is away; returns whether that is news.
  func noteReachability(_ isDown: Bool) -> Bool {
    locked.withLock { state in
      defer { state.isDown = isDown }
      return state.isDown != isDown
    }
  }

  /// The mount began without its store.
  func noteOffline() { locked.withLock { $0.isOffline = true } }

  /// And now that answers.
  func noteOnline() { locked.withLock { $0.isOffline = false } }

  /// Mounted offline, and the store has not been heard of since.
  var isOffline: Bool { locked.withLock { $0.isOffline } }
}

extension Timestamp {
  var unixSeconds: Double { Double(nanoseconds) / 1e9 }
}

/// Hands a value from a task to a thread that waits for it.
final class BlockingResult<Value: Sendable>: Sendable {
  private let value = Lock<Value?>(nil)

  func set(_ new: Value) { value.withLock { $0 = new } }

  /// Waits; only for threads outside of the engine, and not often (it polls). Calls `meanwhile` now and
  /// then.
  func wait(meanwhile: () -> Void = {}) -> Value {
    while true {
      if let done = value.withLock({ $0 }) { return done }
      meanwhile()
      usleep(2_000)
    }
  }
}
