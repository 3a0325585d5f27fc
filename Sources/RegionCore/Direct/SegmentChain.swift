/// Puts the segments that were found in a store into the order in which their commits were made.
/// Pure.
///
/// A store also holds segments of attempts that never became a commit: a writer that was fenced, or
/// that ended between upload and swap and sealed something else later. Of those with the same number
/// the higher epoch counts: it was claimed on a root that did not have that commit. Within one epoch
/// the later attempt holds all that the earlier one had.
struct SegmentChain: Sendable {
  /// A segment that was found intact.
  struct Member: Sendable {
    var reference: Root.SegmentReference
    var table: SegmentTable
  }

  /// The commits, oldest first; the segments of each in order.
  private(set) var commits: [[Member]] = []
  /// Why it is not complete, in words; nil if it is.
  private(set) var gap: String?

  /// The newest commit in it; 0 for the empty group.
  var newest: CommitNumber { commits.last?.first?.reference.commit ?? 0 }

  /// - Parameter root: the group's root where that can be read; its tail names segments that were
  ///   committed, and its newest commit is the last.
  init(_ members: [Member], root: Root?) {
    let tail = Set((root?.tail ?? []).map(\.object))
    let byNumber = Dictionary(grouping: members, by: \.reference.commit)
    let last = root?.commit.number ?? byNumber.keys.max() ?? 0
    var epoch: Epoch = 0
    var number: CommitNumber = 1
    while number <= last {
      let found = byNumber[number] ?? []
      let isInTail = root.map { number > ($0.checkpoint?.commit.number ?? 0) } ?? false
      let candidates = isInTail ? found.filter { tail.contains($0.reference.object) } : found
      switch Self.choose(candidates.filter { $0.reference.object.epoch >= epoch }) {
      case .success(let chosen):
        commits.append(chosen)
        epoch = chosen.first?.reference.object.epoch ?? epoch
      case .failure(let problem):
        // What was never finished at the very end is no gap, unless the root says it was.
        if problem == .incomplete, root == nil, number == last { return }
        gap = "commit \(number) of \(last): \(problem.rawValue)"
        return
      }
      number += 1
    }
  }

  /// Why no segments could be chosen for a commit.
  enum Problem: String, Error {
    case missing = "none of its segments is there and intact"
    case incomplete = "not all of its segments are there and intact"
    case ambiguous = "several attempts at it differ, and nothing tells which of them was made"
  }

  private static func choose(_ candidates: [Member]) -> Result<[Member], Problem> {
    guard !candidates.isEmpty else { return .failure(.missing) }
    let attempts = Dictionary(grouping: candidates) { member in
      Attempt(
        epoch: member.reference.object.epoch, parent: member.table.parent,
        count: member.table.count)
    }
    let whole = attempts.filter { attempt, members in
      Set(members.map(\.table.index)) == Set(0..<attempt.count)
    }
    guard let epoch = whole.keys.map(\.epoch).max() else { return .failure(.incomplete) }
    let newest = whole.filter { $0.key.epoch == epoch }.values.flatMap { $0 }
    return pick(newest)
  }

  private struct Attempt: Hashable {
    var epoch: Epoch
    var parent: Nonce
    var count: UInt16
  }

  /// The segments of the latest attempt among those of one epoch.
  private static func pick(_ members: [Member]) -> Result<[Member], Problem> {
    let byContent = Dictionary(grouping: members) { Content($0.table) }
    // Attempts of one recipe are equal but for the names and places of their units.
    let distinct = byContent.values.compactMap(\.first)
    let parts = Dictionary(grouping: distinct, by: \.table.index)
    if parts.values.allSatisfy({ $0.count == 1 }), Set(distinct.map(\.table.count)).count == 1 {
      return .success(distinct.sorted { $0.table.index < $1.table.index })
    }
    // Several recipes. Whole ones of a single segment can be told apart by their inodes' times.
    guard distinct.allSatisfy({ $0.table.count == 1 }) else { return .failure(.ambiguous) }
    let times = distinct.map { latestChange($0.table) }
    guard let latest = times.compactMap({ $0 }).max(),
      times.count(where: { $0 == latest }) == 1, times.allSatisfy({ $0 != nil })
    else { return .failure(.ambiguous) }
    return .success(distinct.filter { latestChange($0.table) == latest })
  }

  private static func latestChange(_ table: SegmentTable) -> Int64? {
    table.changes.compactMap { change -> Int64? in
      guard case .name(.set(let inode)) = change else { return nil }
      return inode.changed.nanoseconds
    }.max()
  }

  /// A table without the names and places of what it refers to.
  private struct Content: Hashable {
    var index: UInt16
    var count: UInt16
    var changes: [Change]

    enum Change: Hashable {
      case data(FileID, Range<PageIndex>, [UInt32])
      case other(SegmentTable.Change)
    }

    init(_ table: SegmentTable) {
      index = table.index
      count = table.count
      changes = table.changes.map { change in
        guard case .data(let file, let extent, let checksums) = change else {
          return .other(change)
        }
        return .data(
          file, extent.firstPage..<extent.firstPage + UInt64(extent.pageCount), checksums)
      }
    }
  }
}
