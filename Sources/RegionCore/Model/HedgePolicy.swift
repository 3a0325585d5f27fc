/// When a request that takes unusually long is sent a second time. Pure.
///
/// "Unusually" is the 99th percentile of the last answers. At most one request in fifty is doubled, and
/// none while most of those under way are late: then the store is slow, and more requests make it
/// slower.
struct HedgePolicy: Sendable {
  /// Answers remembered, and how many it takes to know what is usual.
  private static let kept = 256
  private static let least = 50
  /// Second requests for each first one, and how many may be saved up.
  private static let share = 0.02
  private static let savings = 3.0
  /// No second request sooner than this.
  private static let floor = 0.005

  private var seconds: [Double] = []
  private var next = 0
  private var credit = 0.0
  private var underWay: [UInt64: MonotonicTime] = [:]
  private var number: UInt64 = 0
  /// Second requests so far.
  private(set) var hedges = 0

  /// A request begins. Returns its number, and after which time to ask `mayHedge`; nil: never.
  mutating func began(at now: MonotonicTime) -> (number: UInt64, patience: Duration?) {
    number += 1
    underWay[number] = now
    credit = min(Self.savings, credit + Self.share)
    return (number, patience.map { .seconds($0) })
  }

  /// Its patience is over. Whether to send it again.
  mutating func mayHedge(at now: MonotonicTime) -> Bool {
    guard let patience, credit >= 1 else { return false }
    let late = underWay.values.count { now.since($0).secondsValue >= patience }
    guard underWay.count == 1 || 2 * late <= underWay.count else { return false }
    credit -= 1
    hedges += 1
    return true
  }

  /// The request was answered (or failed, which says nothing about the usual time).
  mutating func ended(_ number: UInt64, isAnswer: Bool, at now: MonotonicTime) {
    guard let began = underWay.removeValue(forKey: number), isAnswer else { return }
    let sample = now.since(began).secondsValue
    if seconds.count < Self.kept {
      seconds.append(sample)
    } else {
      seconds[next] = sample
      next = (next + 1) % Self.kept
    }
  }

  /// The 99th percentile in seconds; nil while too little is known.
  private var patience: Double? {
    guard seconds.count >= Self.least else { return nil }
    return max(Self.floor, seconds.sorted()[seconds.count * 99 / 100])
  }
}
