import Synchronization

/// How long things took, counted by any number of threads without a lock.
///
/// Four buckets to each doubling from 1 µs on, so a quantile is right to about a fifth; the last
/// bucket holds what took longer than two hours. Memory is 1 KiB, however much is counted.
@safe public final class LatencyHistogram: @unchecked Sendable {
  // Sound because all shared memory is atomic.
  private static let perDoubling = 4
  private static let bucketCount = 32 * perDoubling

  private let buckets: UnsafeMutablePointer<Atomic<UInt64>>

  /// Nothing counted.
  public init() {
    unsafe buckets = .allocate(capacity: Self.bucketCount)
    // SAFETY: just allocated for as many.
    for at in 0..<Self.bucketCount { unsafe (buckets + at).initialize(to: Atomic(0)) }
  }

  deinit {
    // SAFETY: initialized in init, and nobody is left who could count.
    unsafe buckets.deinitialize(count: Self.bucketCount)
    unsafe buckets.deallocate()
  }

  /// Counts one that took `duration`.
  public func note(_ duration: Duration) {
    // SAFETY: `bucket` is within the count.
    unsafe buckets[Self.bucket(duration)].add(1, ordering: .relaxed)
  }

  /// The duration that a part (0 to 1) of all that were counted did not exceed, for each of `parts`:
  /// the upper bound of its bucket. Nil when nothing was counted.
  public func quantiles(_ parts: [Double]) -> [Duration]? {
    // SAFETY: as many were allocated.
    let counts = (0..<Self.bucketCount).map { unsafe buckets[$0].load(ordering: .relaxed) }
    let total = counts.reduce(0, +)
    guard total > 0 else { return nil }
    return parts.map { part in
      let wanted = max(1, UInt64((Double(total) * min(max(part, 0), 1)).rounded(.up)))
      var seen: UInt64 = 0
      let at = counts.firstIndex { count in
        seen += count
        return seen >= wanted
      }
      return Self.upperBound(of: at ?? Self.bucketCount - 1)
    }
  }

  /// The bucket of a duration: its highest bit in microseconds, and the two after it.
  static func bucket(_ duration: Duration) -> Int {
    let (seconds, attoseconds) = duration.components
    guard seconds < 1 << 32 else { return bucketCount - 1 }
    let micros =
      UInt64(max(0, seconds)) * 1_000_000 + UInt64(max(0, attoseconds)) / 1_000_000_000_000
    // Below 4 µs a bucket is a whole microsecond.
    guard micros >= 4 else { return Int(micros) }
    let shift = UInt64.bitWidth - 1 - micros.leadingZeroBitCount - 2
    return min(bucketCount - 1, (shift + 1) * perDoubling + Int(micros >> UInt64(shift)) - 4)
  }

  /// The shortest duration that is too long for a bucket.
  static func upperBound(of bucket: Int) -> Duration {
    guard bucket >= perDoubling else { return .microseconds(bucket + 1) }
    let shift = bucket / perDoubling - 1
    return .microseconds(Int64(bucket % perDoubling + perDoubling + 1) << Int64(shift))
  }
}
