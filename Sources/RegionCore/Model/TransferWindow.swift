/// How many bytes of bulk transfers are under way at a time, and in which pieces. Pure: it learns from
/// when transfers began and ended.
///
/// What is under way beyond rate × latency only waits in queues, and a demand waits behind it; what is
/// missing to that leaves the link idle. The latency is that of a small transfer alone; transfers
/// that share a link say nothing about it. Where connections have a limit of their own the product is
/// not enough, so the window goes down to it only for as long as the rate stays.
///
/// | phase   | window                                       | ends                              |
/// |---------|----------------------------------------------|-----------------------------------|
/// | probe   | one small transfer                           | with it: startup, later steady    |
/// | startup | doubles each round                           | without a quarter more rate: steady |
/// | steady  | good round: goes down to rate × latency; bad round: up by 0.3, and stays for 8 rounds; each 16th: up by a quarter | that brought more rate: startup; latency is old: probe |
///
/// A round is as many transfers as fit the window, after the startup twice as many. It is good with
/// 0.88 of the best rate of the last 16.
struct TransferWindow: Sendable {
  enum Phase: Sendable, Equatable { case probe, startup, steady }

  /// The smallest and largest transfer, in bytes.
  static let transferBytes: ClosedRange<UInt64> = 256 << 10...4 << 20
  /// Transfers under way at a time: their buffers take 64 MiB at most.
  static let transferLimit = 16
  /// A transfer on a fast link takes at least this many seconds: requests cost processor time.
  private static let leastService = 0.006
  private static let latencyLife = Duration.seconds(10)
  private static let roundsKept = 16
  private static let trialInterval = 16

  private(set) var phase = Phase.probe
  /// Bytes that may be under way.
  private(set) var limit: UInt64 = 2 << 20
  /// Bytes that are.
  private(set) var underWay: UInt64 = 0
  private(set) var transfers = 0

  /// Bytes a second of the last rounds.
  private var rates: [Double] = []
  /// Seconds that a small transfer takes alone, and since when that is known.
  private(set) var latency: Double?
  private var latencySince: MonotonicTime?
  private var roundBegan: MonotonicTime?
  private var roundBytes: UInt64 = 0
  private var roundTransfers = 0
  /// Rounds until the window may go down again, and until a larger one is tried.
  private var hold = 0
  private var untilTrial = Self.trialInterval
  private var isTrial = false

  /// Bytes a second at best, lately; 0 before the first round.
  var rate: Double { rates.max() ?? 0 }

  /// Bytes of the next transfer, where chunks lie together: a power of two.
  var transferSize: UInt64 {
    var size = Self.transferBytes.lowerBound
    guard phase != .probe else { return size }
    let wanted = max(Double(limit) / 8, rate * Self.leastService)
    while size < Self.transferBytes.upperBound, Double(size * 2) <= wanted { size *= 2 }
    return size
  }

  /// Whether another transfer may begin.
  var isOpen: Bool {
    if transfers == 0 { return true }
    return phase != .probe && transfers < Self.transferLimit && underWay + transferSize <= limit
  }

  /// A transfer of about so many bytes begins.
  mutating func began(_ bytes: UInt64, at now: MonotonicTime) {
    if transfers == 0 { beginRound(at: now) }
    underWay += bytes
    transfers += 1
  }

  /// A transfer of `planned` bytes ended: it brought `bytes` (0: nothing, and says nothing).
  mutating func ended(
    _ planned: UInt64, bytes: UInt64, began: MonotonicTime, at now: MonotonicTime
  ) {
    precondition(transfers > 0 && underWay >= planned, "a transfer ended twice")
    underWay -= planned
    transfers -= 1
    guard bytes > 0 else { return }
    roundBytes += bytes
    roundTransfers += 1
    if phase == .probe {
      // Those that were under way before drain first.
      guard transfers == 0 else { return }
      if planned == Self.transferBytes.lowerBound, began >= (roundBegan ?? began) {
        endProbe(now.since(began).secondsValue, at: now)
      }
      return beginRound(at: now)
    }
    let perWindow = max(2, Int(limit / transferSize))
    if roundTransfers >= (phase == .startup ? perWindow : 2 * perWindow) { endRound(at: now) }
  }

  private mutating func beginRound(at now: MonotonicTime) {
    roundBegan = now
    (roundBytes, roundTransfers) = (0, 0)
  }

  private mutating func endProbe(_ seconds: Double, at now: MonotonicTime) {
    latency = seconds
    latencySince = now
    phase = rates.isEmpty ? .startup : .steady
  }

  private mutating func endRound(at now: MonotonicTime) {
    defer { beginRound(at: now) }
    guard let roundBegan, now > roundBegan else { return }
    let sample = Double(roundBytes) / now.since(roundBegan).secondsValue
    let best = rate
    rates.append(sample)
    if rates.count > Self.roundsKept { rates.removeFirst() }
    if phase == .startup {
      if sample > 1.25 * best { limit = clamped(Double(limit) * 2) } else { phase = .steady }
      return
    }
    settle(sample, best)
    if let latencySince, now.since(latencySince) > Self.latencyLife { phase = .probe }
  }

  private mutating func settle(_ sample: Double, _ best: Double) {
    let current = Double(limit)
    if isTrial, sample > 1.08 * best {
      (phase, isTrial, hold) = (.startup, false, 0)
      return limit = clamped(current * 2)
    }
    isTrial = false
    untilTrial -= 1
    if untilTrial == 0 {
      (isTrial, untilTrial) = (true, Self.trialInterval)
      return limit = clamped(current * 1.25)
    }
    if sample < 0.88 * best, hold == 0 {
      hold = 8
      limit = clamped(current * 1.3)
    } else if hold > 0 {
      hold -= 1
    } else {
      let enough = rate * (latency ?? 0) * 1.1 + Double(transferSize)
      limit = clamped(max(enough, current * 0.85))
    }
  }

  private func clamped(_ wanted: Double) -> UInt64 {
    let least = max(Double(Self.transferBytes.lowerBound * 2), 3 * rate * Self.leastService)
    let most = Double(Self.transferBytes.upperBound * UInt64(Self.transferLimit))
    return UInt64(min(max(wanted, least), most))
  }
}
