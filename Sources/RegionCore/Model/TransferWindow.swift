/// How many bytes of bulk transfers are under way at a time, and in which pieces. Pure: it learns from
/// when transfers began and ended, and from how long reads waited for the store meanwhile.
///
/// What is under way beyond rate × latency only waits in queues, and a read waits behind it; what is
/// missing to that leaves the link idle. The window is the least of three:
///
/// | part    | bytes                                                  | changes                                    |
/// |---------|--------------------------------------------------------|--------------------------------------------|
/// | start   | 4 MiB                                                  | twice as many after each round (RFC 5681), but see below |
/// | calm    | what the link brings in 0.35 s: a read that comes waits no longer | with the rate |
/// | pressed | while reads wait: a sixteenth of calm, then by their waits (as RFC 6817) | a wait of more than 1.3 latencies: × 0.8; one below 1.15: × 1.15, and × 2 before the first long one |
///
/// Of a region that is here in a moment 16 MiB may be under way where the store is far: a small one then
/// takes a round trip, not three. Where it is near, so much may be under way once something has come, in the
/// largest transfers, because each costs the store as much as a megabyte does; before that the first
/// byte would wait behind it.
///
/// More than 16 MiB from a near store mostly wait for the processor, in memory that is touched for the
/// first time. So there a round now and then tries twice as much, and the start stays there only if that
/// was much faster, as where each connection has a limit of its own. A round that takes hardly longer than
/// the latency has shown no limit yet: the start grows to four times.
///
/// A round is as many bytes as the window has. The latency is the shortest wait of a read in the last
/// minute or two; that is why the pressed part begins small. Where connections have a limit of their
/// own, reads do not wait behind others, and the window goes up to all that there is.
struct TransferWindow: Sendable {
  /// The smallest and largest transfer, in bytes.
  static let transferBytes: ClosedRange<UInt64> = 256 << 10...4 << 20
  /// Transfers under way at a time: their buffers take 64 MiB at most.
  static let transferLimit = 16
  private static let mostBytes = transferBytes.upperBound * UInt64(transferLimit)
  private static let startBytes: UInt64 = 4 << 20
  private static let urgentBytes: UInt64 = 16 << 20
  /// Enough from a near store, as far as is known.
  private static let nearBytes: UInt64 = 16 << 20
  /// How much faster twice as much must be to be worth it.
  private static let worthwhile = 1.5
  private static let firstTry = 4
  private static let leastPressedBytes: UInt64 = 512 << 10
  /// Seconds of latency from which a store is far.
  private static let farSeconds = 0.012
  /// Before the first round, when nothing is known of the link.
  private static let firstPressedBytes: UInt64 = 2 << 20
  /// Seconds that a read may wait behind what began while none waited.
  private static let calmSeconds = 0.35
  /// Seconds of waiting behind others that never count as too many: the store's own times vary.
  private static let tolerance = 0.004
  private static let roundsKept = 16
  private static let latencyLife = Duration.seconds(60)

  /// Bytes that are under way, and in how many transfers.
  private(set) var underWay: UInt64 = 0
  private(set) var transfers = 0

  private var start = Self.startBytes
  /// Whether twice as much is tried, beyond what is known to be worth it; how fast that was, in bytes a
  /// second.
  private var isTrying = false
  private var provenRate = 0.0
  /// Rounds until twice as much is tried, and from one try that failed to the next.
  private var roundsLeft = Self.firstTry
  private var roundsBetween = Self.firstTry
  private var pressed: UInt64?
  /// No read waited long yet.
  private var isStarting = true
  /// When the pressed window last changed: what is under way by then is not its doing.
  private var pressedSince: MonotonicTime?
  /// Bytes a second of the last rounds.
  private var rates: [Double] = []
  /// The shortest wait of this minute and of the one before, in seconds.
  private var shortest: (now: Double?, before: Double?) = (nil, nil)
  private var minuteBegan: MonotonicTime?
  /// What the latency is thought to be before a read has shown it, in seconds.
  private var guess: Double?
  private var roundBegan: MonotonicTime?
  private var roundBytes: UInt64 = 0
  /// Some transfer has brought something.
  private var hasBrought = false

  /// Bytes a second at best, lately; 0 before the first round.
  var rate: Double { rates.max() ?? 0 }

  /// Seconds that a read waits for the store where nothing else is under way; nil before the first.
  private var latency: Double? {
    guard let before = shortest.before else { return shortest.now }
    return min(before, shortest.now ?? before)
  }

  /// What the latency is, or is thought to be; nil before the mount's first answer.
  private var distance: Double? { latency ?? guess }
  /// Whether the store is known to be far: while one transfer waits for it others could run.
  var isFar: Bool { distance.map { $0 >= Self.farSeconds } ?? false }
  private var isNear: Bool { distance.map { $0 < Self.farSeconds } ?? false }

  /// The mount's first answer took so many seconds: a connection's making and a request.
  mutating func noteFirstAnswer(_ seconds: Double) { guess = seconds / 2 }

  /// Bytes that may be under way, while reads wait or not.
  func limit(isPressed: Bool) -> UInt64 {
    min(start, isPressed ? pressed ?? firstPressed : calm, Self.mostBytes)
  }

  private var calm: UInt64 {
    max(Self.startBytes, Self.whole(rate * (Self.calmSeconds + (latency ?? 0))))
  }

  private var firstPressed: UInt64 {
    rate > 0 ? max(Self.leastPressedBytes, min(start, calm) / 16) : Self.firstPressedBytes
  }

  /// Bytes of the next transfer, where chunks lie together: a power of two.
  func transferSize(isPressed: Bool, isUrgent: Bool = false) -> UInt64 {
    let isLarge = isUrgent && isNear && hasBrought
    let wanted = isLarge ? Self.transferBytes.upperBound : limit(isPressed: isPressed) / 4
    var size = Self.transferBytes.lowerBound
    while size < Self.transferBytes.upperBound, size * 2 <= wanted { size *= 2 }
    return size
  }

  /// Whether another transfer may begin; an urgent one is of a region that is here in a moment.
  func isOpen(isPressed: Bool, isUrgent: Bool = false) -> Bool {
    if transfers == 0 { return true }
    let mayHaveMore = isUrgent && (isFar || isNear && hasBrought)
    let limit = max(limit(isPressed: isPressed), mayHaveMore ? Self.urgentBytes : 0)
    return transfers < Self.transferLimit
      && underWay + transferSize(isPressed: isPressed, isUrgent: isUrgent) <= limit
  }

  /// A transfer of about so many bytes begins.
  mutating func began(_ bytes: UInt64, at now: MonotonicTime) {
    if transfers == 0 { beginRound(at: now) }
    underWay += bytes
    transfers += 1
  }

  /// A transfer that began will bring fewer bytes than it was to.
  mutating func narrowed(by bytes: UInt64) {
    precondition(transfers > 0 && underWay >= bytes, "more than is under way")
    underWay -= bytes
  }

  /// A transfer of `planned` bytes ended: it brought `bytes` (0: nothing, and says nothing).
  mutating func ended(_ planned: UInt64, bytes: UInt64, isPressed: Bool, at now: MonotonicTime) {
    precondition(transfers > 0 && underWay >= planned, "a transfer ended twice")
    underWay -= planned
    transfers -= 1
    roundBytes += bytes
    hasBrought = hasBrought || bytes > 0
    if roundBytes >= limit(isPressed: isPressed) { endRound(at: now) }
  }

  private mutating func beginRound(at now: MonotonicTime) {
    roundBegan = now
    roundBytes = 0
  }

  private mutating func endRound(at now: MonotonicTime) {
    defer { beginRound(at: now) }
    guard let roundBegan, now > roundBegan else { return }
    let rate = Double(roundBytes) / now.since(roundBegan).secondsValue
    rates.append(rate)
    if rates.count > Self.roundsKept { rates.removeFirst() }
    let most = isNear ? Self.nearBytes : Self.mostBytes
    if start < most, !isTrying {
      let hasNoLimit = now.since(roundBegan).secondsValue < 1.5 * (distance ?? 0)
      start = min(start * (hasNoLimit ? 4 : 2), most)
    } else {
      endFullRound(rate)
    }
  }

  /// A round with all that is known to be enough, or with twice as much.
  private mutating func endFullRound(_ rate: Double) {
    if isTrying {
      isTrying = false
      let isWorthIt = rate >= Self.worthwhile * provenRate
      if !isWorthIt { start /= 2 }
      roundsBetween = isWorthIt ? Self.firstTry : roundsBetween * 4
      roundsLeft = roundsBetween
    } else if start < Self.mostBytes {
      roundsLeft -= 1
      guard roundsLeft <= 0 else { return }
      (isTrying, provenRate) = (true, rate)
      start = min(start * 2, Self.mostBytes)
    }
  }

  /// A read waited so many seconds for the store, beside what was under way.
  mutating func readWaited(_ seconds: Double, at now: MonotonicTime) {
    if now.since(minuteBegan ?? now) >= Self.latencyLife {
      shortest = (nil, shortest.now)
      minuteBegan = now
    }
    minuteBegan = minuteBegan ?? now
    shortest.now = min(shortest.now ?? seconds, seconds)
    guard let latency, transfers > 0 else { return }
    guard let pressed else { return setPressed(firstPressed, at: now) }
    // What a change does is seen by reads that began after it.
    guard now.since(pressedSince ?? now).secondsValue >= seconds else { return }
    if isLong(seconds, latency) {
      isStarting = false
      setPressed(max(pressed / 5 * 4, Self.whole(rate * latency / 2)), at: now)
    } else if seconds < 1.15 * latency || seconds < latency + Self.tolerance / 2 {
      setPressed(isStarting ? pressed * 2 : pressed + pressed / 7, at: now)
    }
  }

  private func isLong(_ seconds: Double, _ latency: Double) -> Bool {
    seconds > 1.3 * latency && seconds > latency + Self.tolerance
  }

  private mutating func setPressed(_ bytes: UInt64, at now: MonotonicTime) {
    pressed = min(max(bytes, Self.leastPressedBytes), Self.mostBytes)
    pressedSince = now
  }

  private static func whole(_ bytes: Double) -> UInt64 { UInt64(min(max(bytes, 0), 1e15)) }
}
