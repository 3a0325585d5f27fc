/// When a region is pulled in the background and how far that got.
struct BackgroundPull: Sendable {
  enum Phase: Sendable {
    /// Not begun.
    case idle
    /// Workers walk through the chunks.
    case running
    /// Everything that is mapped is here.
    case done
  }

  var phase = Phase.idle
  /// The next chunk to look at.
  var cursor: ChunkIndex = 0
  /// Workers under way.
  var workers = 0
  /// It ended before everything was here, for want of room.
  var isCut = false
  /// One of them failed: some chunks are missing.
  var hasFailed = false
  /// Misses so far that no read-ahead foresaw.
  var randomMisses = 0
  /// Why it was begun, or was not, in words.
  var reason = "nothing read yet"
  /// When it began.
  var startedAt: MonotonicTime?
  /// Bytes it has pulled.
  var bytes: UInt64 = 0
  /// Who wants to know when it ends.
  var waiters: [@Sendable () -> Void] = []
}

extension Region {
  /// Transfers of one region's background pull at a time. Enough to fill the pipe at 60 ms and
  /// 500 MB/s; always behind demand in the transfer queue.
  static let backgroundWorkers = 16
  /// Bytes of one background transfer, where chunks lie together: 16 of them are in memory at a time.
  static let backgroundBatch: UInt64 = 4 << 20
  /// Misses after which `auto` pulls the whole region: waiting a round trip for each loses to
  /// downloading everything.
  static let autoMisses = 4

  /// A read missed; decides whether the background pull begins.
  func noteMiss(isSequential: Bool, _ state: inout State, _ work: inout Work) {
    guard engine.settings.pull == .auto, state.background.phase == .idle else { return }
    if !isSequential { state.background.randomMisses += 1 }
    guard state.background.randomMisses >= Self.autoMisses else { return }
    guard fitsTheCache else {
      state.background.reason = "the region does not fit the cache"
      return
    }
    begin(reason: "\(state.background.randomMisses) scattered misses", &state, &work)
  }

  /// Begins the background pull because it was asked for. `done` is called when it ends, well or not.
  public func pullAll(reason: String, done: (@Sendable () -> Void)? = nil) {
    let (work, isOver) = state.withLock { state -> (Work, Bool) in
      var work = Work()
      if state.background.phase == .idle, !state.isClosed { begin(reason: reason, &state, &work) }
      let isOver = state.background.phase != .running
      if !isOver, let done { state.background.waiters.append(done) }
      return (work, isOver)
    }
    perform(work)
    if isOver { done?() }
  }

  private func begin(reason: String, _ state: inout State, _ work: inout Work) {
    state.background.phase = .running
    state.background.reason = reason
    state.background.startedAt = engine.clock.now
    state.background.workers = Self.backgroundWorkers
    work.startBackground = Self.backgroundWorkers
  }

  /// Whether the whole region would take at most half of the cache disk's free space.
  private var fitsTheCache: Bool {
    let size = currentSize.load(ordering: .relaxed)
    guard let free = try? data.freeSpace() else { return false }
    return size / 2 <= free / 4 && engine.cacheBudget.hasRoom(for: size)
  }

  /// The next chunks for a background worker: neighbours that are absent, now counted as being
  /// pulled. Nil when nothing is left.
  func nextBackgroundBatch() -> [ChunkIndex]? {
    let limit = max(1, Self.backgroundBatch >> geometry.chunkShift)
    return state.withLock { state -> [ChunkIndex]? in
      guard !state.isClosed else { return nil }
      // What nobody asked for yet never makes others go.
      guard engine.cacheBudget.hasRoom(for: Self.backgroundBatch) else {
        state.background.isCut = true
        state.background.reason = "stopped: the cache is full"
        return nil
      }
      var batch: [ChunkIndex] = []
      while true {
        guard let next = nextWanted(from: state.background.cursor) else { break }
        if let last = batch.last, next != last + 1 || next % limit == 0 { break }
        state.background.cursor = next + 1
        if takeForPrefetch(next, &state) {
          batch.append(next)
        } else if !batch.isEmpty {
          break
        }
      }
      return batch.isEmpty ? nil : batch
    }
  }

  private func nextWanted(from cursor: ChunkIndex) -> ChunkIndex? {
    map.nextMapped(file, from: cursor, below: chunkCount)
  }

  /// A worker has nothing left to do (or failed: then the pull may begin again later).
  func backgroundWorkerEnded(failed: Bool) {
    let waiters = state.withLock { state -> [@Sendable () -> Void] in
      state.background.workers -= 1
      if failed { state.background.hasFailed = true }
      guard state.background.workers == 0, state.background.phase == .running else { return [] }
      let waiters = state.background.waiters
      state.background.waiters = []
      if state.background.hasFailed {
        // It may begin again, when the store answers.
        state.background = BackgroundPull()
        state.background.reason = "the last background pull failed"
      } else {
        state.background.phase = .done
      }
      return waiters
    }
    for waiter in waiters { waiter() }
  }

  /// Notes bytes pulled in the background.
  func noteBackground(bytes: UInt64) { state.withLock { $0.background.bytes += bytes } }
}
