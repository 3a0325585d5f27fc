/// When a region is pulled in the background and how far that got.
struct BackgroundPull: Sendable {
  enum Phase: Sendable {
    /// Not begun.
    case idle
    /// Workers pull what was wished for, and then, if `sweeps`, everything else.
    case running
    /// Everything that is mapped is here.
    case done
  }

  var phase = Phase.idle
  /// What goes before everything else.
  var order = PullOrder()
  /// All of the region is wanted.
  var sweeps = false
  /// Nothing is wanted but what a recorded trace has.
  var replays = false
  /// Chunks that a trace had pulled, in all; nil before one was replayed.
  var replayed: Int?
  /// Chunks that nobody has read yet and whose first read is to be seen: they are marked, and the kernel
  /// gets them only when they are read, or the start is over.
  var unread = RangeSet<ChunkIndex>()
  /// Chunks of which the kernel is told when everything is here.
  var untold = RangeSet<ChunkIndex>()
  /// The next chunk to look at.
  var cursor: ChunkIndex = 0
  /// Workers under way.
  var workers = 0
  /// It ended before everything was here, for want of room.
  var isCut = false
  /// One of them failed: some chunks are missing.
  var hasFailed = false
  /// What the file's format says was wished for.
  var knowsFormat = false
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
  /// Tasks of one region's background pull. How many of them transfer at a time, and how much each,
  /// `BulkTransfers` decides.
  static let backgroundWorkers = TransferWindow.transferLimit
  /// Bytes before and behind a scattered fault that are worth more than others.
  private static let neighbourhood: UInt64 = 1 << 20

  /// A read missed; decides whether the background pull begins, and what it takes next.
  func noteMiss(
    _ chunk: ChunkIndex, isSequential: Bool, _ state: inout State, _ work: inout Work
  ) {
    if !isSequential, state.background.phase == .running, !state.background.replays {
      return state.background.order.wish(neighbours(of: chunk), .neighbour)
    }
    let mayBegin = state.background.phase == .idle || state.background.replays
    guard engine.settings.pull == .auto, mayBegin else { return }
    if !isSequential { state.background.randomMisses += 1 }
    switch decision(state.background.randomMisses).verdict {
    case .wait(let reason): state.background.reason = state.background.traceText + reason
    case .pull(let reason):
      let reason = state.background.traceText + reason
      sweep(reason: reason, &state, &work)
    }
  }

  private func neighbours(of chunk: ChunkIndex) -> [Range<ChunkIndex>] {
    let reach = max(1, Self.neighbourhood >> geometry.chunkShift)
    let end = chunkCount
    let behind = min(chunk + 1, end)..<min(chunk + 1 + reach, end)
    return [behind, chunk - min(chunk, reach)..<chunk]
  }

  private func decision(_ misses: Int) -> PullDecision {
    let size = currentSize.load(ordering: .relaxed)
    // The file system need not be asked before anything depends on it.
    let few = engine.settings.fewMisses(size)
    let isEarly = misses < few
    let free = isEarly ? 0 : ((try? data.freeSpace()) ?? 0) / 2
    let room = isEarly || engine.cacheBudget.hasRoom(for: size) ? free : 0
    return PullDecision(
      size: size, misses: misses, few: few,
      demandSeconds: engine.pace.withLock { $0.demandSeconds },
      rate: engine.bulk.reading.rate, room: room)
  }

  /// Begins the background pull of everything because it was asked for. `done` is called when it
  /// ends, well or not.
  public func pullAll(reason: String, done: (@Sendable () -> Void)? = nil) {
    let (work, isOver) = state.withLock { state -> (Work, Bool) in
      var work = Work()
      if state.background.phase != .done, !state.isClosed {
        sweep(reason: reason, &state, &work)
      }
      let isOver = state.background.phase != .running
      if !isOver, let done { state.background.waiters.append(done) }
      return (work, isOver)
    }
    perform(work)
    if isOver { done?() }
  }

  /// Pulls these chunks in the background, in this order, before what is less valuable; nothing else,
  /// unless all of the region is wanted anyway.
  public func pull(_ ranges: [Range<ChunkIndex>], _ kind: PullOrder.Kind, reason: String) {
    let work = state.withLock { state -> Work in
      var work = Work()
      guard !state.isClosed else { return work }
      let all = 0..<chunkCount
      state.background.order.wish(ranges.map { $0.clamped(to: all) }, kind)
      state.background.replays = false
      begin(reason: reason, &state, &work)
      return work
    }
    perform(work)
  }

  /// Begins to pull everything, or goes on from what is wished for to everything.
  func sweep(reason: String, _ state: inout State, _ work: inout Work) {
    if !state.background.sweeps {
      // Who waits for a replay does not wait for all of the region.
      work.ended += state.background.waiters
      state.background.waiters = []
    }
    state.background.sweeps = true
    state.background.replays = false
    let isRunning = state.background.phase == .running
    begin(reason: reason, &state, &work)
    if isRunning { state.background.reason = reason }
  }

  func begin(reason: String, _ state: inout State, _ work: inout Work) {
    wishForFormat(&state)
    guard state.background.phase != .running else { return startWorkers(&state, &work) }
    state.background.phase = .running
    state.background.hasFailed = false
    state.background.reason = reason
    state.background.startedAt = engine.clock.now
    state.background.bytes = 0
    startWorkers(&state, &work)
  }

  private func wishForFormat(_ state: inout State) {
    guard state.background.sweeps, !state.background.knowsFormat, chunkCount > 0 else { return }
    state.background.order.wish([0..<1, chunkCount - 1..<chunkCount], .format)
  }

  /// As many workers as find something to do.
  private func startWorkers(_ state: inout State, _ work: inout Work) {
    let wanted =
      state.background.sweeps
      ? Self.backgroundWorkers : min(Self.backgroundWorkers, state.background.order.chunkCount)
    let more = max(0, wanted - state.background.workers)
    state.background.workers += more
    work.startBackground += more
  }

  /// Whether what is left of the region need not give way to its reads.
  var isSoonHere: Bool {
    engine.settings.pull == .auto
      && PullDecision.isSoonHere(
        size: currentSize.load(ordering: .relaxed),
        present: UInt64(chunksPresent.load(ordering: .relaxed)) << geometry.chunkShift,
        rate: engine.bulk.reading.rate)
  }

  /// Whether all of the region is or was wanted.
  var isSwept: Bool { state.withLock { $0.background.sweeps } }

  /// Whether a background worker may find something to do.
  var wantsBackground: Bool { state.withLock { !$0.isClosed && hasMore($0) } }

  /// The next chunks for a background worker: neighbours of about so many bytes that are absent, now
  /// counted as being pulled. Nil when nothing is left.
  func nextBackgroundBatch(bytes: UInt64) -> [ChunkIndex]? {
    let limit = max(1, bytes >> geometry.chunkShift)
    let transfer = PullMachine.Bulk(isReadAhead: false, began: engine.clock.now)
    return state.withLock { state -> [ChunkIndex]? in
      // While the store is down the other workers would fail one after the other.
      let isHopeless = state.background.hasFailed && engine.health.isDown
      guard !state.isClosed, !isHopeless else { return nil }
      // What nobody asked for yet never makes others go.
      guard engine.cacheBudget.hasRoom(for: bytes) else {
        state.background.isCut = true
        state.background.reason = "stopped: the cache is full"
        return nil
      }
      var order = state.background.order
      // Not twice in memory, so that it is not copied.
      state.background.order = PullOrder()
      var wished = order.next(limit: Int(limit)) { takeForPrefetch($0, as: transfer, &state) }
      state.background.order = order
      if !wished.isEmpty {
        if state.background.sweeps {
          if isSoonHere { widen(&wished, limit) { takeForPrefetch($0, as: transfer, &state) } }
          watch(wished, &state)
        }
        return wished
      }
      guard state.background.sweeps else { return nil }
      var batch: [ChunkIndex] = []
      while true {
        guard let next = nextWanted(from: state.background.cursor) else { break }
        if let last = batch.last, next != last + 1 || next % limit == 0 { break }
        state.background.cursor = next + 1
        if takeForPrefetch(next, as: transfer, &state) {
          batch.append(next)
        } else if !batch.isEmpty {
          break
        }
      }
      watch(batch, &state)
      return batch.isEmpty ? nil : batch
    }
  }

  /// Adds what lies around the batch in its part of the region. All of that is here in a moment, whatever
  /// goes first: a few large requests cost everyone less than many small ones in a better order.
  private func widen(_ batch: inout [ChunkIndex], _ limit: UInt64, take: (ChunkIndex) -> Bool) {
    guard let first = batch.first, let last = batch.last else { return }
    let start = first / limit * limit
    var before: [ChunkIndex] = []
    for chunk in (start..<first).reversed() {
      guard take(chunk) else { break }
      before.append(chunk)
    }
    let end = min(chunkCount, max(start + limit, last + 1))
    var after: [ChunkIndex] = []
    for chunk in last + 1..<end {
      guard take(chunk) else { break }
      after.append(chunk)
    }
    batch = before.reversed() + batch + after
  }

  private func nextWanted(from cursor: ChunkIndex) -> ChunkIndex? {
    map.nextMapped(file, from: cursor, below: chunkCount)
  }

  /// A worker has nothing left to do (or failed: then the pull may begin again later).
  func backgroundWorkerEnded(failed: Bool) {
    let (work, waiters) = state.withLock { state -> (Work, [@Sendable () -> Void]) in
      var work = Work()
      state.background.workers -= 1
      if failed { state.background.hasFailed = true }
      guard state.background.workers == 0, state.background.phase == .running else {
        return (work, [])
      }
      if !state.background.hasFailed, !state.background.isCut, hasMore(state), !state.isClosed {
        // Wished for while the last worker ended.
        startWorkers(&state, &work)
        return (work, [])
      }
      let waiters = state.background.waiters
      state.background.waiters = []
      work.prefill = state.background.untold.ranges.flatMap { $0.filter(chunks.isPresent) }
      state.background.untold = RangeSet()
      end(&state)
      return (work, waiters)
    }
    perform(work)
    for waiter in waiters { waiter() }
  }

  private func hasMore(_ state: State) -> Bool {
    !state.background.order.isEmpty
      || state.background.sweeps && nextWanted(from: state.background.cursor) != nil
  }

  private func end(_ state: inout State) {
    let background = state.background
    if background.hasFailed {
      // It may begin again, when the store answers.
      state.background = BackgroundPull()
      state.background.reason = "the last background pull failed"
    } else if background.sweeps {
      state.background.phase = .done
    } else {
      state.background.phase = .idle
      if background.replays, !background.isCut {
        state.background.reason = background.replayText(isOver: true)
      }
      state.background.replays = false
    }
  }

  /// Notes bytes pulled in the background, and looks at the file's format once both its ends are here.
  func noteBackground(_ batch: [ChunkIndex], bytes: UInt64) {
    let isDue = state.withLock { state in
      state.background.bytes += bytes
      return state.background.sweeps && !state.background.knowsFormat
    }
    let end = chunkCount
    guard isDue, end > 0, batch.contains(0) || batch.contains(end - 1) else { return }
    studyFormat()
  }
}
