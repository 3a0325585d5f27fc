import FuseKit
import Glibc
import RegionControl
import RegionCore
import Synchronization

/// What changes over a daemon's life and `regionfs-stat` wants to know.
final class DaemonProgress: Sendable {
  private struct State {
    var phase = MountState.running
    var tuningFailure: String?
    var lastStoreError: ErrorStatus?
    var lastStoreErrorAt: MonotonicTime?
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
    locked.withLock { state in
      state.lastStoreError = status
      if error.kind == .unavailable { state.lastStoreErrorAt = clock.now }
    }
  }

  var lastStoreError: ErrorStatus? { locked.withLock { $0.lastStoreError } }

  /// Whether the store has been answering lately.
  var isStoreReachable: Bool {
    guard let at = locked.withLock({ $0.lastStoreErrorAt }) else { return true }
    return SystemClock().now.since(at) > .seconds(10)
  }
}

extension Timestamp {
  var unixSeconds: Double { Double(nanoseconds) / 1e9 }
}

/// Hands a value from a task to a thread that waits for it.
final class BlockingResult<Value: Sendable>: Sendable {
  private let value = Lock<Value?>(nil)

  func set(_ new: Value) { value.withLock { $0 = new } }

  /// Waits; only for threads outside of the engine, and not often (it polls).
  func wait() -> Value {
    while true {
      if let done = value.withLock({ $0 }) { return done }
      usleep(2_000)
    }
  }
}
