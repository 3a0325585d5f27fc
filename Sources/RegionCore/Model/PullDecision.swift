/// Whether `pull=auto` pulls the whole of a region in the background. Pure.
///
/// Small regions are pulled after a few scattered misses: waiting a round trip for each loses to
/// downloading everything. Of a large one the program may want only a little; so it is pulled once its
/// reads have waited as long as the download would take, which costs at most twice the better choice.
struct PullDecision: Sendable {
  /// Regions up to this size are small.
  static let smallRegion: UInt64 = 1 << 30
  /// Scattered misses that make a small region worth it: the longer all of it takes, the more.
  @Sendable static func fewMisses(_ size: UInt64) -> Int {
    switch size {
    case ...(64 << 20): 1
    case ...soonSize: 2
    default: 4
    }
  }

  /// Bytes of a region of which all may be here soon, and what soon is.
  private static let soonSize: UInt64 = 256 << 20
  private static let soonSeconds = 1.5

  /// Whether all of a small region, of which `present` bytes are here, will be here in a moment at
  /// `rate` bytes a second (or may be, as nothing is known of the link: 0). Then its reads are better
  /// off waiting for that than one by one before it.
  static func isSoonHere(size: UInt64, present: UInt64, rate: Double) -> Bool {
    guard size <= soonSize else { return false }
    return rate == 0 || Double(size - min(size, present)) < rate * soonSeconds
  }

  /// What a link is thought to bring before it was measured, in bytes a second.
  private static let guessedRate = 200e6

  /// What was decided.
  enum Verdict: Equatable, Sendable {
    case pull(String)
    case wait(String)
  }

  /// Bytes of the region.
  var size: UInt64
  /// Misses that no read-ahead foresaw.
  var misses: Int
  /// As many are enough.
  var few: Int
  /// Seconds that a pull on demand takes; nil if not known.
  var demandSeconds: Double?
  /// Bytes a second of bulk transfers at best; 0 if not known.
  var rate: Double
  /// Bytes that may be kept here.
  var room: UInt64

  var verdict: Verdict {
    guard misses >= few else {
      return .wait("\(misses) scattered misses so far")
    }
    guard size <= room else {
      return .wait("the region is larger than the room for it in the cache (\(Self.text(room)))")
    }
    guard size > Self.smallRegion else { return .pull("\(misses) scattered misses") }
    let waited = Double(misses) * (demandSeconds ?? 0)
    let whole = Double(size) / (rate > 0 ? rate : Self.guessedRate)
    let words =
      "\(misses) scattered misses waited \(Self.text(waited)) s, all of it takes \(Self.text(whole)) s"
    return waited >= whole ? .pull(words) : .wait(words)
  }

  private static func text(_ seconds: Double) -> String {
    let tenths = UInt64(max(0, min(seconds, 1e9)) * 10)
    return "\(tenths / 10).\(tenths % 10)"
  }

  private static func text(_ bytes: UInt64) -> String { "\(bytes >> 20) MiB" }
}
