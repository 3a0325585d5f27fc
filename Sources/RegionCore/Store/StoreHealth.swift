import Locks

/// Whether the store has been answering lately, told by every attempt of every request.
public final class StoreHealth: Sendable {
  private struct State {
    /// When the failures began that no answer has ended; nil while the store answers.
    var failingSince: MonotonicTime?
    /// Conditional writes may be used: they were checked, or need not be.
    var isChecked = true
    /// They are being checked, and these wait for what comes of it.
    var waiters: [CheckedContinuation<Void, Never>]?
  }

  /// How long it must fail before it counts as down: one broken connection is no outage.
  private static let grace = Duration.seconds(1)

  private let clock: any EngineClock
  private let state = Lock(State())

  /// A store that nothing is known of counts as up.
  public init(clock: any EngineClock = SystemClock()) { self.clock = clock }

  /// It answered, be it with a refusal.
  public func noteAnswer() { state.withLock { $0.failingSince = nil } }

  /// An attempt failed without an answer.
  public func noteFailure() {
    let now = clock.now
    state.withLock { $0.failingSince = $0.failingSince ?? now }
  }

  /// A request has waited for an answer longer than there was patience for: the next ones need not
  /// find that out again.
  public func noteSilence() {
    state.withLock { $0.failingSince = MonotonicTime(nanoseconds: 0) }
  }

  /// The mount began while it did not answer: it counts as down at once, and conditional writes are
  /// not to be used before they were checked.
  public func noteDown(isChecked: Bool) {
    state.withLock { $0.failingSince = MonotonicTime(nanoseconds: 0) }
    endCheck(isHonoured: isChecked)
  }

  /// Conditional writes are being checked: who needs them waits for `endCheck`.
  public func beginCheck() {
    state.withLock { state in
      state.isChecked = false
      state.waiters = state.waiters ?? []
    }
  }

  /// Conditional writes were seen to be honoured, or that is not known.
  public func endCheck(isHonoured: Bool) {
    let waiters = state.withLock { state in
      state.isChecked = isHonoured
      return state.waiters.take() ?? []
    }
    for waiter in waiters { waiter.resume() }
  }

  /// No answer for a second or longer.
  public var isDown: Bool {
    let now = clock.now
    return state.withLock { state in
      state.failingSince.map { now.since($0) >= Self.grace } ?? false
    }
  }

  /// Whether conditional writes may be used; while that is being checked, waits for it.
  public func isChecked() async -> Bool {
    await withCheckedContinuation { continuation in
      let isKnown = state.withLock { state in
        guard state.waiters != nil else { return true }
        state.waiters?.append(continuation)
        return false
      }
      if isKnown { continuation.resume() }
    }
    return state.withLock { $0.isChecked }
  }
}
