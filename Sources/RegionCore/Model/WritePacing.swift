/// Slows writers down while the log fills up, so that those who write faster than the store takes it
/// meet its speed and not the log's limit. Pure: bytes and times in, waits out.
///
/// Nothing happens below three quarters of the limit. From there on bytes are accepted at a rate that
/// falls in a straight line, from `fastest` to `slowest` at the limit. The rate holds for all writers
/// together, however many requests are under way: each waits behind those before it.
struct WritePacing: Sendable {
  /// Bytes a second where the slowing begins: more than a local disk takes.
  static let fastest: UInt64 = 1 << 30
  /// Bytes a second at the limit.
  static let slowest: UInt64 = 1 << 20
  /// The longest that one answer waits: who is slowed should not look dead.
  static let longest = Duration.seconds(5)

  /// When all that was accepted so far will have been answered.
  private var freeAt = MonotonicTime(nanoseconds: 0)

  /// How long the answer to a write of `bytes` is to wait; `used` bytes of the log's `limit` are taken.
  mutating func delay(bytes: Int, used: UInt64, limit: UInt64, now: MonotonicTime) -> Duration {
    let begin = limit / 4 * 3
    guard used > begin, limit > begin else { return .zero }
    let left = limit - min(used, limit)
    let rate = max(
      Self.slowest, UInt64(Double(Self.fastest) * Double(left) / Double(limit - begin)))
    let cost = Duration.nanoseconds(Int64(Double(bytes) / Double(rate) * 1e9))
    freeAt = min(max(freeAt, now) + cost, now + Self.longest)
    return freeAt.since(now)
  }
}
