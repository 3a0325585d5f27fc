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
    var isOffline = false
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

  /// Waits; only for threads outside of the engine, and not often (it polls).
  func wait() -> Value {
    while true {
      if let done = value.withLock({ $0 }) { return done }
      usleep(2_000)
    }
  }
}
