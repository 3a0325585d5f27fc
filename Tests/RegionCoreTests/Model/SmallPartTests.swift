import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// The small pure parts beside naive references.
@Suite struct SmallPartTests {
  @Test func writersAreSlowedToTheLimit() {
    var pacing = WritePacing()
    let limit: UInt64 = 1 << 30
    let now = MonotonicTime(nanoseconds: 1 << 40)
    #expect(pacing.delay(bytes: 1 << 20, used: limit / 4 * 3, limit: limit, now: now) == .zero)
    // All writers together get no more than the rate, however many ask at once.
    let half = limit / 8 * 7
    var last = Duration.zero
    for count in 1...8 {
      let delay = pacing.delay(bytes: 1 << 20, used: half, limit: limit, now: now)
      #expect(delay > last)
      let expected = Double(count) / 512
      #expect(abs(delay.secondsValue - expected) < expected / 100)
      last = delay
    }
    // At the limit a mebibyte takes a second, and nobody waits for ever.
    pacing = WritePacing()
    let slow = pacing.delay(bytes: 1 << 20, used: limit, limit: limit, now: now)
    #expect(abs(slow.secondsValue - 1) < 0.01)
    for _ in 0..<100 { _ = pacing.delay(bytes: 1 << 20, used: limit, limit: limit, now: now) }
    #expect(pacing.delay(bytes: 1, used: limit, limit: limit, now: now) <= WritePacing.longest)
    // Time that passes is time waited.
    let later = now + .seconds(60)
    #expect(pacing.delay(bytes: 4096, used: half, limit: limit, now: later) < .milliseconds(1))
  }

  @Test func pageSetsAgreeWithSets() {
    for seed in 1...100 {
      var random = SplitMix64(seed: UInt64(seed))
      let size = [16, 64, 100, 2048].randomElement(using: &random) ?? 16
      var set = PageSet(size: size)
      var expected: Set<Int> = []
      for _ in 0..<10 {
        let first = Int.random(in: 0..<size, using: &random)
        let pages = first..<Int.random(in: first...size, using: &random)
        set.insert(pages)
        expected.formUnion(pages)
        let from = Int.random(in: 0..<size, using: &random)
        let window = from..<Int.random(in: from...size, using: &random)
        let gaps = set.gaps(in: window)
        #expect(gaps.flatMap(Array.init) == window.filter { !expected.contains($0) })
        #expect(gaps.allSatisfy { !$0.isEmpty })
        #expect(zip(gaps, gaps.dropFirst()).allSatisfy { $0.upperBound < $1.lowerBound })
        #expect(set.contains(window) == window.allSatisfy { expected.contains($0) })
      }
      #expect(set.count == expected.count && set.isEmpty == expected.isEmpty)
      #expect(set.isFull == (expected.count == size))
    }
  }

  @Test func lineageTextComesBackAndNothingElseDoes() {
    func commit(_ number: UInt64) -> CommitID { CommitID(number: number, nonce: .random()) }
    let lineage = Lineage(since: commit(3), until: commit(9), log: .random(), writer: .random())
    let text = lineage.text
    #expect(Lineage(text: Array(text.utf8)) == lineage)
    for end in 0..<text.utf8.count - 2 {
      #expect(Lineage(text: Array(text.utf8.prefix(end))) == nil, "\(end) bytes")
    }
    #expect(Lineage(text: [0xFF, 0xFE]) == nil)
  }

  @Test func buffersAreKeptUpToTheLimit() {
    let pool = BufferPool(limit: 128 << 10)
    let small = pool.take(1)
    #expect(small.capacity == 64 << 10 && small.count == 0)
    small.count = 5
    pool.give(small)
    let again = pool.take(65_536)
    #expect(again === small && again.count == 0)
    let large = pool.take(100_000)
    #expect(large.capacity == 128 << 10)
    pool.give(again)
    pool.give(large)  // Over the limit together: it is freed.
    #expect(pool.take(100_000) !== large)
    #expect(pool.take(10) === small)
  }

  // MARK: The clockwork of pushes

  private var settings: EngineSettings {
    var settings = EngineSettings()
    settings.pushInterval = .seconds(4)
    settings.releaseDelay = .seconds(10)
    settings.logLimit = 1000
    return settings
  }

  private func at(_ seconds: Double) -> MonotonicTime {
    MonotonicTime(nanoseconds: 1_000_000_000_000 + UInt64(seconds * 1e9))
  }

  @Test func changesArePushedByAgeSizeAndRequest() {
    var push = PushState()
    push.noteAppended(bytes: 100, file: 2, at: at(0))
    #expect(push.next(now: at(0.5), settings: settings, hasWriters: true) == .wait(.seconds(1.5)))
    #expect(push.next(now: at(2), settings: settings, hasWriters: true) == .commit)
    var full = push
    full.noteAppended(bytes: 400, file: 2, at: at(0.1))
    #expect(full.next(now: at(0.2), settings: settings, hasWriters: true) == .commit)
    var asked = push
    asked.wantsCommit = true
    #expect(asked.next(now: at(0.2), settings: settings, hasWriters: true) == .commit)
    var crowded = push
    crowded.wantsRoom = true
    #expect(crowded.next(now: at(0.2), settings: settings, hasWriters: true) == .commit)
  }

  /// With a kernel that owns sizes nobody else may write until the unmount.
  @Test func aClaimThatIsKeptIsGivenBackOnlyAtTheEnd() {
    var keeping = settings
    keeping.keepsClaims = true
    var push = PushState()
    for day in 0..<3 {
      let now = at(Double(day) * 86_400)
      #expect(push.next(now: now, settings: keeping, hasWriters: false) == .wait(nil))
    }
    push.isDraining = true
    #expect(push.next(now: at(3), settings: keeping, hasWriters: false) == .release)
  }

  /// Each write woke the pusher, which then waited anew: more system calls than the writes themselves.
  @Test func thePusherHearsOfTheFirstChangeAndOfAFullLog() {
    var push = PushState()
    var heard: [Bool] = []
    func look() { heard.append(push.takeNews(settings)) }
    look()
    push.noteAppended(bytes: 100, file: 2, at: at(0))
    look()
    push.noteAppended(bytes: 100, file: 2, at: at(1))
    look()
    // Now half of the log is full.
    push.noteAppended(bytes: 300, file: 2, at: at(1))
    look()
    look()
    push.noteSealed(bytes: 500, byFile: [2: 500], rest: false, at: at(2))
    push.noteCommitted()
    push.noteAppended(bytes: 1, file: 2, at: at(3))
    look()
    #expect(heard == [false, true, false, true, true, true])
  }

  @Test func theCountersFollowSealsAndCommits() {
    var push = PushState()
    push.noteAppended(bytes: 100, file: 2, at: at(0))
    push.noteAppended(bytes: 50, file: nil, at: at(1))
    push.noteAppended(bytes: 30, file: 3, at: at(2))
    push.noteSealed(bytes: 150, byFile: [2: 100], rest: true, at: at(3))
    #expect(push.bytesInUpload == 150 && push.uncommittedBytes == 180)
    #expect(push.oldestUncommitted == at(0))
    // A push that did not get through comes first.
    #expect(push.next(now: at(3), settings: settings, hasWriters: true) == .commit)
    push.noteAppended(bytes: 20, file: 2, at: at(4))
    push.noteCommitted()
    #expect(push.uncommittedBytes == 50 && push.bytesInUpload == 0)
    #expect(push.uncommittedByFile == [2: 20, 3: 30])
    #expect(push.oldestUncommitted != nil)
    push.noteSealed(bytes: 50, byFile: [2: 20, 3: 30], rest: false, at: at(5))
    push.noteCommitted()
    #expect(push.uncommittedBytes == 0 && push.uncommittedByFile.isEmpty)
    #expect(push.oldestUncommitted == nil)
  }

  @Test func aCleanGroupIsReleasedWhenNobodyWritesForAWhile() {
    var push = PushState()
    #expect(push.next(now: at(0), settings: settings, hasWriters: true) == .wait(nil))
    #expect(push.next(now: at(1), settings: settings, hasWriters: false) == .wait(.seconds(10)))
    #expect(push.next(now: at(8), settings: settings, hasWriters: false) == .wait(.seconds(3)))
    // A writer in between starts the wait again.
    #expect(push.next(now: at(9), settings: settings, hasWriters: true) == .wait(nil))
    #expect(push.next(now: at(10), settings: settings, hasWriters: false) == .wait(.seconds(10)))
    #expect(push.next(now: at(20), settings: settings, hasWriters: false) == .release)
    push.isDraining = true
    #expect(push.next(now: at(20), settings: settings, hasWriters: true) == .release)
  }

  // MARK: What of a cache is true

  private func trust(_ commit: CommitID, _ root: Root, _ lineage: Lineage?, _ tail: TailChanges)
    -> [ChunkIndex]?
  {
    let header = StateFileHeader(
      group: root.group, file: 2, geometry: .standard, commit: commit, bootID: .zero, isClean: true)
    let verdict = Group.trust(
      header, root: root, lineage: lineage, writer: WriterID(high: 5, low: 5), tail: tail)
    switch verdict {
    case .all: return []
    case .allBut(let chunks): return chunks.sorted()
    case .nothing: return nil
    }
  }

  @Test func aCacheIsBelievedAsFarAsTheHistoryIsKnown() {
    let commits = (0...9).map { CommitID(number: UInt64($0), nonce: .random()) }
    var root = Root(
      group: .random(), geometry: .standard, claim: .free, holder: "", nonce: .random(),
      log: LogID(high: 8, low: 8), time: Timestamp(nanoseconds: 0))
    root.commit = commits[9]
    root.history = commits[2..<9].reversed()
    var tail = TailChanges(after: 5)
    for number in 6...9 {
      let table = SegmentTable(
        group: root.group, epoch: 1, commit: UInt64(number), parent: .random(), index: 0, count: 1,
        changes: [.zero(2, UInt64(number) * 64..<UInt64(number) * 64 + 1), .zero(3, 0..<640)])
      tail.note(table, geometry: .standard)
    }
    #expect(trust(commits[9], root, nil, tail) == [])
    #expect(trust(commits[7], root, nil, tail) == [8, 9])
    #expect(trust(commits[5], root, nil, tail) == [6, 7, 8, 9])
    // Before the checkpoint, out of the history, or of another history altogether.
    #expect(trust(commits[4], root, nil, tail) == nil)
    #expect(trust(commits[1], root, nil, tail) == nil)
    #expect(trust(CommitID(number: 7, nonce: .random()), root, nil, tail) == nil)
    // Commits of this cache's own change nothing that it has.
    let mine = WriterID(high: 5, low: 5)
    let own = Lineage(since: commits[3], until: commits[3], log: root.log, writer: mine)
    #expect(trust(commits[3], root, own, tail) == [])
    #expect(trust(commits[2], root, own, tail) == nil)
    let other = Lineage(since: commits[3], until: commits[3], log: .random(), writer: mine)
    #expect(trust(commits[7], root, other, tail) == [8, 9])
    let copied = Lineage(since: commits[3], until: commits[3], log: root.log, writer: .random())
    #expect(trust(commits[4], root, copied, tail) == nil)
  }

  // MARK: Signals

  @Test func noSignalIsLost() async throws {
    let world = try World()
    let engine = try world.host(1).engine
    let signal = AsyncSignal()
    let seen = Lock(0)
    let posted = Lock(0)
    let waiter = engine.executor.spawn {
      while seen.withLock({ $0 }) < 2000 {
        await signal.wait(upTo: nil, on: engine)
        let now = posted.withLock { $0 }
        seen.withLock { $0 = now }
      }
    }
    for number in 1...2000 {
      posted.withLock { $0 = number }
      signal.signal()
      if number % 7 == 0 { await Task.yield() }
    }
    // Were the last one lost, this would never end.
    await waiter.value
    #expect(seen.withLock { $0 } == 2000)
  }

  @Test func waitingEndsAtItsLimit() async throws {
    let world = try World()
    let clock = ManualClock()
    let engine = try world.host(1, clock: clock).engine
    let signal = AsyncSignal()
    let isOver = Flag()
    let waiter = engine.executor.spawn {
      await signal.wait(upTo: .seconds(5), on: engine)
      isOver.raise()
    }
    await clock.waitForSleepers(1)
    clock.advance(by: .seconds(4))
    #expect(!isOver.isRaised)
    clock.advance(by: .seconds(1))
    await waiter.value
    // A signal before the wait ends it at once.
    signal.signal()
    await signal.wait(upTo: nil, on: engine)
  }
}
