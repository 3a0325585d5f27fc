import RegionCore

/// What waits for an answer, in the order in which it came. A value; no lock inside.
struct ParkingTable<Entry> {
  private struct Parked {
    var entry: Entry
    var since: MonotonicTime
  }

  private var next: UInt64 = 1
  private var parked: [UInt64: Parked] = [:]
  /// Keys in order of age; those that are not in `parked` any more are dropped when they come to the
  /// front, or all at once when they are the most. So each key is moved a bounded number of times.
  private var ages = Queue()
  /// The same of the read-ahead.
  private var readAheads = Queue()

  private struct Queue {
    private var keys: [UInt64] = []
    private var first = 0

    /// The first key that still waits, and how many were passed over.
    mutating func oldest(_ waits: (UInt64) -> Bool) -> (key: UInt64?, passed: Int) {
      let start = first
      while first < keys.count, !waits(keys[first]) { first += 1 }
      return (first < keys.count ? keys[first] : nil, first - start)
    }

    /// Adds a key; `live` of all keys still wait. Returns how many were looked at.
    mutating func append(_ key: UInt64, live: Int, _ waits: (UInt64) -> Bool) -> Int {
      defer { keys.append(key) }
      // Room for as many again, so that the next time comes only after that many.
      guard keys.count >= 2 * live + 64 else { return 0 }
      let moved = keys.count - first
      keys = keys[first...].filter(waits)
      first = 0
      return moved
    }
  }

  /// Keys that were looked at to find out ages: what the order costs. Tests count it.
  private(set) var steps = 0

  /// How many wait.
  var count: Int { parked.count }

  /// Gives out a key, under which nothing waits yet.
  mutating func makeKey() -> UInt64 {
    defer { next += 1 }
    return next
  }

  /// Lets `entry` wait under a key that is the newest.
  mutating func insert(_ entry: Entry, at key: UInt64, isReadAhead: Bool, now: MonotonicTime) {
    parked[key] = Parked(entry: entry, since: now)
    steps += ages.append(key, live: parked.count) { parked[$0] != nil }
    guard isReadAhead else { return }
    steps += readAheads.append(key, live: parked.count) { parked[$0] != nil }
  }

  /// Takes an entry out; nil if it does not wait any more.
  mutating func remove(_ key: UInt64) -> Entry? { parked.removeValue(forKey: key)?.entry }

  /// Takes everything out.
  mutating func removeAll() -> [Entry] {
    defer {
      parked = [:]
      ages = Queue()
      readAheads = Queue()
    }
    return parked.values.map(\.entry)
  }

  /// Takes the oldest read-ahead out; nil if none waits.
  mutating func removeOldestReadAhead() -> Entry? {
    let (key, passed) = readAheads.oldest { parked[$0] != nil }
    steps += passed
    return key.flatMap { remove($0) }
  }

  /// Since when the oldest one waits; nil if none does.
  mutating func oldest() -> MonotonicTime? {
    let (key, passed) = ages.oldest { parked[$0] != nil }
    steps += passed
    return key.flatMap { parked[$0]?.since }
  }
}
