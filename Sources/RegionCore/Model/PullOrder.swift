/// What a background pull takes next. Pure: an ordered list of wishes before everything else.
///
/// Wishes of a more valuable kind go first. Within a kind the order is that in which they came, but
/// for neighbours: there the latest fault goes first, and old ones are forgotten.
public struct PullOrder: Sendable {
  /// Why chunks should come before the rest, most valuable first.
  public enum Kind: Int, CaseIterable, Sendable {
    /// Near a recent fault, or where its stride leads.
    case neighbour
    /// Somebody asked for them (`regionfs pull`), above all others.
    case request
    /// A former run touched them (its recorded trace, in its order).
    case trace
    /// A program said that it will want them.
    case hint
    /// Programs that read such a file look there first.
    case format
  }

  /// Ranges of neighbours that are remembered.
  private static let neighbourLimit = 64

  private var wishes: [[Range<ChunkIndex>]] = Array(repeating: [], count: Kind.allCases.count)
  /// The first wish of each kind that is not used up.
  private var heads: [Int] = Array(repeating: 0, count: Kind.allCases.count)

  /// Whether anything is wished for.
  var isEmpty: Bool { Kind.allCases.allSatisfy { heads[$0.rawValue] >= wishes[$0.rawValue].count } }

  /// Chunks that are wished for; those wished for twice count twice.
  var chunkCount: Int {
    Kind.allCases.reduce(0) { count, kind in
      count + wishes[kind.rawValue][heads[kind.rawValue]...].reduce(0) { $0 + $1.count }
    }
  }

  /// Adds ranges, the most wanted first.
  mutating func wish(_ ranges: [Range<ChunkIndex>], _ kind: Kind) {
    let ranges = ranges.filter { !$0.isEmpty }
    guard kind == .neighbour else { return wishes[kind.rawValue] += ranges }
    wishes[kind.rawValue] = Array(
      (ranges + wishes[kind.rawValue][heads[kind.rawValue]...]).prefix(Self.neighbourLimit))
    heads[kind.rawValue] = 0
  }

  /// Takes up to `limit` neighbouring chunks that are wanted now: those for which `take` says so.
  mutating func next(limit: Int, take: (ChunkIndex) -> Bool) -> [ChunkIndex] {
    for kind in Kind.allCases {
      while let range = first(kind) {
        var batch: [ChunkIndex] = []
        var chunk = range.lowerBound
        while chunk < range.upperBound, batch.count < limit {
          if take(chunk) {
            batch.append(chunk)
          } else if !batch.isEmpty {
            break
          }
          chunk += 1
        }
        use(kind, upTo: chunk)
        if !batch.isEmpty { return batch }
      }
    }
    return []
  }

  private func first(_ kind: Kind) -> Range<ChunkIndex>? {
    let head = heads[kind.rawValue]
    return head < wishes[kind.rawValue].count ? wishes[kind.rawValue][head] : nil
  }

  private mutating func use(_ kind: Kind, upTo chunk: ChunkIndex) {
    let head = heads[kind.rawValue]
    let end = wishes[kind.rawValue][head].upperBound
    if chunk < end { return wishes[kind.rawValue][head] = chunk..<end }
    heads[kind.rawValue] += 1
    guard heads[kind.rawValue] == wishes[kind.rawValue].count else { return }
    wishes[kind.rawValue] = []
    heads[kind.rawValue] = 0
  }
}

/// Recognises faults at a constant distance, forward or backward. Pure.
struct StrideDetector: Sendable {
  /// Faults at one distance that make a stride.
  private static let enough = 3
  /// Chunks foretold.
  private static let ahead: Int64 = 8

  private var last: ChunkIndex?
  private var distance: Int64 = 0
  private var seen = 0

  /// A fault at `chunk`, of `end` in all. Returns the chunks that will follow, if it goes on like that.
  mutating func touched(_ chunk: ChunkIndex, end: ChunkIndex) -> [ChunkIndex] {
    defer { last = chunk }
    guard let last, last != chunk else { return [] }
    let step = Int64(chunk) - Int64(last)
    seen = step == distance ? seen + 1 : 1
    distance = step
    guard seen >= Self.enough else { return [] }
    return (1...Self.ahead).compactMap { number in
      let (offset, overflow) = step.multipliedReportingOverflow(by: number)
      let next = Int64(chunk).addingReportingOverflow(offset)
      guard !overflow, !next.overflow, next.partialValue >= 0 else { return nil }
      let chunk = ChunkIndex(next.partialValue)
      return chunk < end ? chunk : nil
    }
  }
}
