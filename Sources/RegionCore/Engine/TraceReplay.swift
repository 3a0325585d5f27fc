extension BackgroundPull {
  /// What is said of a replay before other reasons.
  var traceText: String { replayed == nil ? "" : replayText(isOver: !replays) + "; " }

  func replayText(isOver: Bool) -> String {
    "\(isOver ? "replayed" : "replays") a recorded trace of \(replayed ?? 0) chunks"
  }
}

/// A recorded trace is replayed: its chunks are pulled in the background, and nothing else.
extension Region {
  /// Nothing of it would have to be pulled.
  var isWhollyPresent: Bool {
    UInt64(max(0, chunksPresent.load(ordering: .relaxed))) >= chunkCount
  }

  /// Pulls these chunks in this order; returns when they are here, or will not come.
  func replay(_ ranges: [Range<ChunkIndex>]) async {
    await withCheckedContinuation { continuation in
      beginReplay(ranges) { continuation.resume() }
    }
  }

  private func beginReplay(
    _ ranges: [Range<ChunkIndex>], done: @escaping @Sendable () -> Void
  ) {
    let (work, isOver) = state.withLock { state -> (Work, Bool) in
      var work = Work()
      let wanted = wanted(of: ranges, state)
      guard !state.isClosed, !wanted.isEmpty else { return (work, true) }
      let count = wanted.reduce(0) { $0 + $1.count }
      state.background.replayed = (state.background.replayed ?? 0) + count
      state.background.order.wish(wanted, .trace)
      if mayPullAll(insteadOf: count) {
        sweep(reason: "a recorded trace has much of it", &state, &work)
      }
      // Of what is pulled in any case nobody needs to know whether it is read.
      guard !state.background.sweeps else { return (work, true) }
      for range in wanted { markUnread(range, &state) }
      trace.offer(file, RangeSet(wanted))
      if state.background.phase != .running { state.background.replays = true }
      begin(reason: state.background.replayText(isOver: false), &state, &work)
      state.background.waiters.append(done)
      return (work, false)
    }
    perform(work)
    if isOver { done() }
  }

  /// Whether all of the region comes as soon as a trace's chunks would, one by one.
  private func mayPullAll(insteadOf count: Int) -> Bool {
    let all = chunkCount
    return all > Self.backgroundWorkers && UInt64(count) * 4 >= all && isSoonHere
      && engine.cacheBudget.hasRoom(for: currentSize.load(ordering: .relaxed))
  }

  /// The absent chunks of `ranges` that exist, in the same order; neighbours stay together.
  private func wanted(of ranges: [Range<ChunkIndex>], _ state: State) -> [Range<ChunkIndex>] {
    ranges.flatMap { range -> [Range<ChunkIndex>] in
      let absent = range.clamped(to: 0..<chunkCount).filter {
        !chunks.isPresent($0) && !isZero($0, state)
      }
      return Array(RangeSet(absent.map { $0..<$0 + 1 }).ranges)
    }
  }

  /// These chunks are about to be pulled because all of the region is: while a start is recorded, the
  /// first read of each is to be seen. Not where everything was asked for.
  func watch(_ batch: [ChunkIndex], _ state: inout State) {
    guard engine.settings.pull == .auto, !trace.isPaused else { return }
    for chunk in batch { markUnread(chunk..<chunk + 1, &state) }
  }

  private func markUnread(_ range: Range<ChunkIndex>, _ state: inout State) {
    for chunk in range { chunks.setMark(chunk) }
    state.background.unread.insert(contentsOf: range)
  }

  /// The start is over: the kernel may have what is here.
  func endWatch() {
    let left = state.withLock { state -> RangeSet<ChunkIndex> in
      defer { state.background.unread = RangeSet() }
      return state.background.unread
    }
    guard !left.isEmpty else { return }
    tellPrefill(left.ranges.flatMap { $0.filter(chunks.isPresent) })
  }

  /// A read of a chunk was seen: it goes into the trace of this start.
  func noteRead(_ chunk: ChunkIndex, isStream: Bool, _ state: inout State, _ work: inout Work) {
    trace.note(file, chunk, isStream: isStream)
    guard state.background.unread.contains(chunk) else { return }
    state.background.unread.remove(contentsOf: chunk..<chunk + 1)
    // Now that it was seen, what is left of it may be read behind the daemon's back.
    if chunks.isPresent(chunk) { work.prefill.append(chunk) }
  }
}
