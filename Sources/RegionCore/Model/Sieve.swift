/// A cached chunk as the eviction's queue names it: in eight bytes, for there are millions.
struct CachedChunk: Hashable, Sendable {
  /// The region's number in this mount, from 1; 0 where the place in the queue is empty.
  var region: UInt32
  /// Chunks of the largest region in the smallest chunks are fewer than 2^32.
  var chunk: UInt32

  static let none = CachedChunk(region: 0, chunk: 0)
}

/// Which cached chunk goes next: SIEVE (Zhang et al., NSDI '24) with a probation. Pure.
///
/// The queue holds chunks in the order in which they came. A hand goes from the oldest to the newest
/// and round again: a chunk that was used since it passed stays *where it is*, one that was not goes.
/// So what is used again and again is passed over, and a scan runs through the rest: it never pushes
/// out what has proved useful, as it does with LRU.
///
/// One use of a chunk is many READs (of 128 KiB, or one for each page that faults). They would all
/// count as uses of their own and make a scan look like a favourite. So the newest eighth of the queue
/// is on probation: the hand does not reach it, and uses count from its end (`settle`).
struct Sieve: Sendable {
  /// What the hand is told about a chunk.
  enum Judgement: Sendable {
    /// Used since it was asked last (and not any more).
    case used
    /// Not used.
    case unused
    /// No such chunk is cached: its place is empty now.
    case gone
  }

  /// Oldest first.
  private var entries: [CachedChunk] = []
  private var hand = 0
  /// Entries before this one are not on probation any more.
  private var settled = 0
  /// Chunks in the queue.
  private(set) var count = 0

  /// At least so many of the newest are on probation: who waits for several chunks must get them.
  private static let leastProbation = 8

  /// The newest chunks that the hand does not reach.
  private var probation: Int { max(Self.leastProbation, count / 8) }

  /// A chunk came. `settle` is called for those whose uses count from now on.
  mutating func insert(_ key: CachedChunk, settle: (CachedChunk) -> Void) {
    entries.append(key)
    count += 1
    while entries.count - settled > probation {
      if entries[settled] != .none { settle(entries[settled]) }
      settled += 1
    }
  }

  /// The next chunk that may go, and its place for `remove`, which holds until this is called again.
  /// Nil if two rounds of the hand find none.
  mutating func next(_ judge: (CachedChunk) -> Judgement) -> (key: CachedChunk, place: Int)? {
    compact()
    var looks = 2 * settled
    while looks > 0, settled > 0 {
      if hand >= settled { hand = 0 }
      let place = hand
      let key = entries[place]
      hand += 1
      looks -= 1
      if key == .none { continue }
      switch judge(key) {
      case .used: continue
      case .unused: return (key, place)
      case .gone: remove(place)
      }
    }
    return nil
  }

  /// The chunk at a place that `next` named is gone.
  mutating func remove(_ place: Int) {
    guard entries[place] != .none else { return }
    entries[place] = .none
    count -= 1
  }

  /// Closes the gaps once they are half of the queue.
  private mutating func compact() {
    guard entries.count > 64, entries.count > 2 * count else { return }
    var kept: [CachedChunk] = []
    kept.reserveCapacity(count)
    var (newHand, newSettled) = (0, 0)
    for (place, key) in entries.enumerated() where key != .none {
      if place < hand { newHand += 1 }
      if place < settled { newSettled += 1 }
      kept.append(key)
    }
    (entries, hand, settled) = (kept, newHand, newSettled)
  }

  /// Bytes of memory that the queue takes.
  var memoryBytes: Int { entries.capacity * MemoryLayout<CachedChunk>.stride }
}
