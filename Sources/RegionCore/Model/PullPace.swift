/// How long pulls take these days, and what follows for a read that meets a bulk transfer. Pure.
struct PullPace: Sendable {
  /// What a read does whose chunk is part of a bulk transfer.
  enum Choice: Equatable, Sendable {
    /// It pulls its chunk itself.
    case overtake
    /// It waits for the transfer, and overtakes it after this time.
    case wait(Duration)
  }

  /// Weight of a new sample: changes show after about eight.
  private static let weight = 0.125
  /// How long the reader of a stream waits while nothing is known yet.
  private static let patience = Duration.seconds(1)

  /// Seconds that a pull on demand takes; nil before the first.
  private(set) var demandSeconds: Double?
  /// Seconds that a bulk transfer takes.
  private(set) var bulkSeconds: Double?

  /// A pull on demand brought its bytes.
  mutating func noteDemand(_ duration: Duration) {
    Self.smooth(&demandSeconds, duration.secondsValue)
  }

  /// A bulk transfer brought its bytes.
  mutating func noteBulk(_ duration: Duration) { Self.smooth(&bulkSeconds, duration.secondsValue) }

  private static func smooth(_ mean: inout Double?, _ sample: Double) {
    guard let old = mean else { return mean = sample }
    mean = old + weight * (sample - old)
  }

  /// Who reads a stream knows that the whole transfer is for him: asking for its chunks one by one
  /// would fetch all of it twice. So would it where everything `isSoonHere`, if it is known how long that
  /// takes. Anyone else overtakes, unless the transfer ends sooner than half of what that would take.
  func choice(
    _ transfer: PullMachine.Bulk, isStream: Bool, isSoonHere: Bool, at now: MonotonicTime
  ) -> Choice {
    let elapsed = now.since(transfer.began).secondsValue
    if transfer.isReadAhead ? isStream : isSoonHere && bulkSeconds != nil {
      guard let bulkSeconds else { return .wait(Self.patience) }
      let left = max(0, bulkSeconds - elapsed)
      return .wait(.seconds(left + bulkSeconds + 2 * (demandSeconds ?? bulkSeconds)))
    }
    guard let bulkSeconds, let demandSeconds else { return .overtake }
    let left = bulkSeconds - elapsed
    guard left > 0, left < demandSeconds / 2 else { return .overtake }
    return .wait(.seconds(left + demandSeconds / 4))
  }
}
