/// Keeps transfers to so many bytes a second on average. Pure.
///
/// Who begins takes all its bytes at once and may leave the bucket in debt; the next one waits until
/// that is paid. The less urgent, the fuller the bucket has to be: so the background yields first.
///
/// | priority | begins at a level of at least |
/// |---|---|
/// | any, up to `freeBytes` | any |
/// | demand | 0 |
/// | read-ahead | a quarter |
/// | background | a half |
struct TokenBucket: Sendable {
  /// Requests up to this size never wait, though they are counted: roots, pages of maps.
  static let freeBytes: UInt64 = 64 << 10
  /// What may be saved up, in seconds of the rate.
  private static let burst = 0.25

  /// Bytes a second.
  let rate: Double
  private let capacity: Double
  private var level: Double
  private var updated: MonotonicTime

  /// A full bucket for `rate` bytes a second.
  init(rate: UInt64, at now: MonotonicTime) {
    self.rate = Double(max(rate, 1))
    capacity = self.rate * Self.burst
    level = capacity
    updated = now
  }

  /// Takes the bytes and returns nil, or says how long to wait before asking again.
  mutating func take(_ bytes: UInt64, _ priority: TransferPriority, at now: MonotonicTime)
    -> Duration?
  {
    level = min(capacity, level + now.since(updated).secondsValue * rate)
    updated = max(updated, now)
    let missing = threshold(priority) - level
    guard bytes <= Self.freeBytes || missing <= 0 else {
      // Never zero, so that who waits does not spin on a coarse clock.
      return .seconds(missing / rate) + .microseconds(100)
    }
    level -= Double(bytes)
    return nil
  }

  private func threshold(_ priority: TransferPriority) -> Double {
    switch priority {
    case .demand: 0
    case .readAhead: capacity / 4
    case .background: capacity / 2
    }
  }
}
