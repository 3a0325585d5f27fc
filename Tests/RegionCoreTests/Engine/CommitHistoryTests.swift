import RegionTesting
import Testing

@testable import RegionCore

/// Loss of the host at every commit: the store alone holds exactly a prefix of what was accepted.
/// `REGIONFS_COMMITS` says how many commits are opened, `REGIONFS_COMMITS_SEED` where to begin.
@Suite struct CommitHistoryTests {
  private static func number(_ name: String, _ standard: UInt64) -> UInt64 {
    Environment.all[name].flatMap { UInt64($0) } ?? standard
  }

  @Test func everyCommitIsAPrefixOfTheHistory() async throws {
    let first = Self.number("REGIONFS_COMMITS_SEED", 1)
    // Long histories: map, names and checkpoints grow and are rewritten many times.
    let lives: UInt64 = 4
    let commits = Int(Self.number("REGIONFS_COMMITS", 200) / lives)
    let sums = await withTaskGroup(of: CommitHistory.Counts?.self) { group in
      for seed in first..<first + lives {
        group.addTask { await Self.run(seed, commits) }
      }
      var sums: [CommitHistory.Counts] = []
      for await counts in group { counts.map { sums.append($0) } }
      return sums
    }
    let opened = sums.reduce(0) { $0 + $1.commits }
    print(
      "\(opened) commits opened from nothing with \(sums.reduce(0) { $0 + $1.files }) files, "
        + "\(sums.reduce(0) { $0 + $1.checkpoints }) other roots, "
        + "\(sums.reduce(0) { $0 + $1.crashes }) crashes")
    #expect(opened >= commits * Int(lives))
  }

  private static func run(_ seed: UInt64, _ commits: Int) async -> CommitHistory.Counts? {
    do {
      let history = try CommitHistory(seed: seed)
      do {
        try await history.run(commits: commits)
        return history.counts
      } catch {
        Issue.record(
          """
          seed \(seed), after \(history.counts.commits) commits: \(error)
          \(history.events.suffix(30).joined(separator: "\n"))
          again: REGIONFS_COMMITS_SEED=\(seed) REGIONFS_COMMITS=\(commits * 4) \
          swift test --filter CommitHistory
          """)
      }
    } catch {
      Issue.record("seed \(seed): \(error)")
    }
    return nil
  }
}
