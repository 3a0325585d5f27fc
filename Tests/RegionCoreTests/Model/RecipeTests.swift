import RegionTesting
import Testing

@testable import RegionCore

/// What one commit takes from the log, beside a dictionary of pages.
@Suite struct RecipeTests {
  private let scratch: Scratch
  private let file: LocalFile

  init() throws {
    scratch = try Scratch()
    file = try LocalFile(path: scratch.file("log"), flags: 0o102)
  }

  /// Each page belongs to the run with the highest number, in order, without overlaps.
  @Test func resolveAgreesWithAPageByPageReference() throws {
    for seed in 1...300 {
      var random = SplitMix64(seed: UInt64(seed))
      var runs: [(sequence: SequenceNumber, run: Recipe.Run)] = []
      var expected: [PageIndex: UInt64?] = [:]
      let span = UInt64.random(in: 1...60, using: &random)
      for sequence in 1...UInt64.random(in: 1...40, using: &random) {
        let first = UInt64.random(in: 0...span, using: &random)
        let count = UInt64.random(in: 1...12, using: &random)
        let offset: UInt64? = random.oneIn(3) ? nil : sequence << 32
        let source = offset.map { LogLocation(file: file, offset: $0) }
        runs.append((sequence, Recipe.Run(pages: first..<first + count, source: source)))
        for page in first..<first + count {
          expected[page] = .some(offset.map { $0 + (page - first) << Geometry.pageShift })
        }
      }
      let resolved = Recipe.resolve(runs.shuffled(using: &random))
      var found: [PageIndex: UInt64?] = [:]
      var end: PageIndex = 0
      for run in resolved {
        #expect(run.pages.lowerBound >= end && !run.pages.isEmpty, "seed \(seed)")
        end = run.pages.upperBound
        for page in run.pages {
          let skipped = (page - run.pages.lowerBound) << Geometry.pageShift
          found[page] = .some(run.source.map { $0.offset + skipped })
        }
      }
      #expect(found == expected, "seed \(seed)")
    }
  }

  @Test func resolveOfNothingIsNothing() { #expect(Recipe.resolve([]).isEmpty) }

  private func inode(_ id: FileID, _ name: String, size: UInt64 = 0) -> Inode {
    Inode(
      id: id, parent: 1, name: FileName(name), kind: .file, mode: 0o600, uid: 1, gid: 1, size: size,
      time: Timestamp(nanoseconds: 1))
  }

  private func entry(_ sequence: SequenceNumber, _ record: LogRecord) -> LogEntry {
    LogEntry(
      sequence: sequence, length: 100, record: record,
      payload: LogLocation(file: file, offset: sequence << 20))
  }

  private func data(_ file: FileID, _ pages: Range<PageIndex>, size: UInt64, at time: Int64)
    -> LogRecord
  {
    .data(
      DataRecord(
        file: file, size: size, time: Timestamp(nanoseconds: time),
        runs: [PageRun(pages, isZero: false)]))
  }

  /// The inode's own record may be far from those of its data; its state is the last of all.
  @Test func inodesHaveTheirStateAtTheCut() {
    let before: [FileID: Inode?] = [2: inode(2, "a", size: 5), 3: nil, 4: inode(4, "gone")]
    let recipe = Recipe(
      entries: [
        entry(1, .names([.set(inode(3, "b"))])), entry(2, data(2, 0..<2, size: 8192, at: 7)),
        entry(3, data(3, 0..<1, size: 4096, at: 8)),
        entry(4, .names([.set(inode(3, "c", size: 4096))])),
        entry(5, data(4, 0..<1, size: 4096, at: 9)), entry(6, .names([.remove(4)])),
      ], before: before)
    var a = inode(2, "a", size: 8192)
    (a.modified, a.changed) = (Timestamp(nanoseconds: 7), Timestamp(nanoseconds: 7))
    #expect(recipe.names == [.set(a), .set(inode(3, "c", size: 4096)), .remove(4)])
    #expect(recipe.files.map(\.file) == [2, 3])
    #expect(recipe.cut == 6)
    #expect(recipe.logBytes == 600)
    #expect(recipe.logBytesByFile == [2: 100, 3: 100, 4: 100])
  }

  /// Writes to a file after its removal (it is still open) are nobody's business.
  @Test func filesWithoutANameAreNotCommitted() {
    let recipe = Recipe(
      entries: [
        entry(1, .names([.set(inode(5, "x"))])), entry(2, .names([.remove(5)])),
        entry(3, data(5, 0..<1, size: 4096, at: 1)), entry(4, data(6, 0..<1, size: 4096, at: 1)),
      ], before: [5: nil, 6: nil])
    #expect(recipe.names.isEmpty)
    #expect(recipe.files.isEmpty)
  }
}
