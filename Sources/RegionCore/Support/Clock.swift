import Glibc

/// A moment on a clock that never goes back. Only differences mean anything.
public struct MonotonicTime: Comparable, Hashable, Sendable {
  /// Nanoseconds since an arbitrary start.
  public var nanoseconds: UInt64

  /// A moment `nanoseconds` after the clock's start.
  public init(nanoseconds: UInt64) { self.nanoseconds = nanoseconds }

  /// Orders moments by time.
  public static func < (a: Self, b: Self) -> Bool { a.nanoseconds < b.nanoseconds }

  /// The moment `duration` later.
  public static func + (a: Self, duration: Duration) -> Self {
    Self(nanoseconds: a.nanoseconds &+ duration.wholeNanoseconds)
  }

  /// The time from `earlier` to this moment; zero if it lies ahead.
  public func since(_ earlier: Self) -> Duration {
    nanoseconds > earlier.nanoseconds ? .nanoseconds(nanoseconds - earlier.nanoseconds) : .zero
  }
}

/// Wall-clock time as files keep it: nanoseconds since 1970-01-01 UTC, negative before.
public struct Timestamp: Comparable, Hashable, Sendable {
  /// Nanoseconds since the Unix epoch.
  public var nanoseconds: Int64

  /// A time `nanoseconds` after the Unix epoch.
  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  /// Orders times.
  public static func < (a: Self, b: Self) -> Bool { a.nanoseconds < b.nanoseconds }

  /// Whole seconds, rounded down.
  public var seconds: Int64 { nanoseconds.floorDivided(by: 1_000_000_000) }

  /// Nanoseconds within the second, 0 ..< 1,000,000,000.
  /// Wrapping, because whole seconds before the earliest time are not representable.
  public var fraction: Int64 { nanoseconds &- seconds &* 1_000_000_000 }
}

/// Where the engine gets its time from, so that tests can run on a clock of their own.
public protocol EngineClock: Sendable {
  /// Now, for measuring durations.
  var now: MonotonicTime { get }
  /// Now, for file times.
  var wall: Timestamp { get }
  /// Suspends for `duration`; returns early when the task is cancelled.
  func sleep(for duration: Duration) async
}

/// The host's clocks: `CLOCK_MONOTONIC` and `CLOCK_REALTIME`.
public struct SystemClock: EngineClock {
  /// The host's clocks.
  public init() {}

  /// `clock_gettime(CLOCK_MONOTONIC)`.
  public var now: MonotonicTime {
    MonotonicTime(nanoseconds: UInt64(bitPattern: Self.read(CLOCK_MONOTONIC)))
  }

  /// `clock_gettime(CLOCK_REALTIME)`.
  public var wall: Timestamp { Timestamp(nanoseconds: Self.read(CLOCK_REALTIME)) }

  /// `Task.sleep`; a cancelled sleep just returns, the caller looks at its own state.
  public func sleep(for duration: Duration) async {
    try? await Task.sleep(for: duration)
  }

  private static func read(_ clock: clockid_t) -> Int64 {
    var time = timespec()
    // SAFETY: `time` is a local that outlives the call.
    _ = unsafe clock_gettime(clock, &time)
    return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
  }
}

extension Duration {
  /// Nanoseconds, rounded down, clamped to 0 ... UInt64.max.
  public var wholeNanoseconds: UInt64 {
    let parts = components
    guard parts.seconds >= 0, parts.attoseconds >= 0 else { return 0 }
    let (product, overflow) = UInt64(parts.seconds).multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, carry) = product.addingReportingOverflow(UInt64(parts.attoseconds / 1_000_000_000))
    return overflow || carry ? .max : sum
  }

  /// Seconds as a floating-point number, for display and rates.
  public var secondsValue: Double {
    Double(components.seconds) + Double(components.attoseconds) * 1e-18
  }
}

extension Int64 {
  /// Division that rounds towards negative infinity.
  func floorDivided(by divisor: Int64) -> Int64 {
    let quotient = self / divisor
    return self % divisor < 0 ? quotient - 1 : quotient
  }
}
