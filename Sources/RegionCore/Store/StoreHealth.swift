/// Whether the store has been answering lately, told by every attempt of every request.
public final class StoreHealth: Sendable {
  private struct State {
    /// When the failures began that no answer has ended; nil while the store answers.
    var failingSince: MonotonicTime?
    /// Conditional writes may be used: they were checked, or need not be.
    var isChecked = true
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
    let past = MonotonicTime(nanoseconds: 0)
    state.withLock { $0 = State(failingSince: past, isChecked: isChecked) }
  }

  /// Conditional writes were seen to be honoured.
  public func noteChecked() { state.withLock { $0.isChecked = true } }

  /// No answer for a second or longer.
  public var isDown: Bool {
    let now = clock.now
    return state.withLock { state in
      state.failingSince.map { now.since($0) >= Self.grace } ?? false
    }
  }

  /// Whether conditional writes may be used.
  public var isChecked: Bool { state.withLock { $0.isChecked } }
}
