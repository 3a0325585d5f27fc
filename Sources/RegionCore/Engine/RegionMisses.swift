/// A read misses: who waits for which chunks, and what is pulled for it and ahead of it.
extension Region {
  /// Parks a request until `bytes` can be read from the data file; `completion` is called once, on
  /// any thread, maybe before this returns. The ticket serves to `cancel`.
  @discardableResult
  public func demand(
    _ bytes: Range<UInt64>, counts: Bool = true, _ completion: @escaping @Sendable (Parked) -> Void
  ) -> Ticket {
    let now = engine.clock.now
    let completion = counts ? counted(completion, since: now) : completion
    let (ticket, work) = state.withLock { state -> (Ticket, Work) in
      let ticket = state.nextTicket
      state.nextTicket += 1
      var work = Work()
      if state.isClosed {
        work.completions.append((completion, .failed(.io)))
        return (ticket, work)
      }
      let isStream =
        counts && advise(geometry.chunk(ofByte: bytes.lowerBound), &state, &work)
      wait(for: bytes, Waiter(ticket, isStream, completion), &state, &work)
      if state.parked[ticket] != nil { state.parkedSince[ticket] = now }
      return (ticket, work)
    }
    perform(work)
    return ticket
  }

  /// Counts a read that missed, now and when it is answered.
  private func counted(
    _ completion: @escaping @Sendable (Parked) -> Void, since start: MonotonicTime
  ) -> @Sendable (Parked) -> Void {
    misses.add(1, ordering: .relaxed)
    return { [self] outcome in
      if case .ready = outcome { waits.note(engine.clock.now.since(start)) }
      completion(outcome)
    }
  }

  /// What is to be done once the lock was given back.
  struct Work {
    var completions: [(@Sendable (Parked) -> Void, Parked)] = []
    var demands: [ChunkIndex] = []
    var readAheads: [ChunkIndex] = []
    /// Bulk transfers that somebody waits for, and when to look whether they still run.
    var doubts: [(chunk: ChunkIndex, after: Duration)] = []
    var startBackground = 0
    /// Chunks that the kernel may have now.
    var prefill: [ChunkIndex] = []
    /// Those who waited for a background pull that is over.
    var ended: [@Sendable () -> Void] = []
  }

  /// A request that waits.
  private struct Waiter: Sendable {
    let ticket: Ticket
    /// It goes on where others of its kind ended.
    let isStream: Bool
    let completion: @Sendable (Parked) -> Void

    init(_ ticket: Ticket, _ isStream: Bool, _ completion: @escaping @Sendable (Parked) -> Void) {
      self.ticket = ticket
      self.isStream = isStream
      self.completion = completion
    }
  }

  /// Either `bytes` can be read now, or the waiter waits for the chunks that cannot.
  private func wait(
    for bytes: Range<UInt64>, _ waiter: Waiter, _ state: inout State, _ work: inout Work
  ) {
    let missing = geometry.chunks(touching: bytes).filter {
      !isReadable($0, bytes, &state)
    }
    guard !missing.isEmpty else {
      work.completions.append((waiter.completion, .ready))
      return
    }
    work.demands += demand(missing, waiter, &state, &work)
    state.parked[waiter.ticket] = { [self] outcome in
      switch outcome {
      case .failed:
        self.state.withLock { $0.parkedSince[waiter.ticket] = nil }
        waiter.completion(outcome)
      case .ready: lookAgain(at: bytes, waiter)
      }
    }
  }

  /// The chunks that have to be pulled on demand; others come with transfers that end soon enough.
  private func demand(
    _ missing: [ChunkIndex], _ waiter: Waiter, _ state: inout State, _ work: inout Work
  ) -> [ChunkIndex] {
    let now = engine.clock.now
    let filling = state.filling
    let isSoonHere = isSoonHere
    return state.machine.demand(missing, ticket: waiter.ticket) { chunk, transfer in
      if filling.contains(chunk) { return false }
      let choice = engine.pace.withLock {
        $0.choice(transfer, isStream: waiter.isStream, isSoonHere: isSoonHere, at: now)
      }
      switch choice {
      case .overtake: return true
      case .wait(let time):
        work.doubts.append((chunk, time))
        return false
      }
    }
  }

  /// A bulk transfer should have ended by now. Who still waits for a chunk of it does so no longer.
  private func overtake(_ chunk: ChunkIndex) {
    let mustPull = state.withLock { state in
      !state.isClosed && !state.filling.contains(chunk) && state.machine.overtake(chunk)
    }
    if mustPull { puller.start(self, [chunk], priority: .demand) }
  }

  /// What was waited for is done: the bytes are there, or were thrown away and must be waited for
  /// again.
  private func lookAgain(at bytes: Range<UInt64>, _ waiter: Waiter) {
    let work = state.withLock { state -> Work in
      var work = Work()
      if state.isClosed {
        work.completions.append((waiter.completion, .failed(.io)))
      } else {
        wait(for: bytes, waiter, &state, &work)
      }
      if state.parked[waiter.ticket] == nil { state.parkedSince[waiter.ticket] = nil }
      return work
    }
    perform(work)
  }

  /// Whether the part of `chunk` within `bytes` is valid in the data file. Settles chunks of which
  /// it is known that they are zero.
  func isReadable(_ chunk: ChunkIndex, _ bytes: Range<UInt64>, _ state: inout State) -> Bool {
    if chunks.isPresent(chunk) { return true }
    if state.filling.contains(chunk) { return false }
    if isZero(chunk, state) {
      settle(chunk, &state)
      return true
    }
    guard let pages = state.partial[chunk] else { return false }
    let wanted = Geometry.pages(touching: bytes).clamped(to: geometry.pages(of: chunk))
    let first = geometry.firstPage(of: chunk)
    return pages.contains(Int(wanted.lowerBound - first)..<Int(wanted.upperBound - first))
  }

  /// Whether an absent chunk is known to be zero where it was not written.
  func isZero(_ chunk: ChunkIndex, _ state: State) -> Bool {
    state.zeroed.contains(chunk) || map.known(file, chunk)?.isEmpty == true
  }

  /// Makes a chunk present whose bytes are in the data file already.
  private func settle(_ chunk: ChunkIndex, _ state: inout State) {
    state.partial[chunk] = nil
    state.zeroed.remove(contentsOf: chunk..<chunk + 1)
    state.machine.discard(chunk)
    makePresent(chunk)
    record(present: chunk..<chunk + 1)
  }

  /// All bytes of the chunk are in the data file: readers may enter. The lock is held.
  func makePresent(_ chunk: ChunkIndex) {
    chunks.setPresent(chunk)
    engine.cacheBudget.noteArrival(chunk, of: self)
    chunksPresent.add(1, ordering: .relaxed)
  }

  /// Chunks that are present are so after a restart, too. The lock is held since they became it.
  func record(present chunks: Range<ChunkIndex>) {
    do throws(LocalError) {
      try stateFile.set(chunks, present: true)
    } catch {
      // A hint: lost, the chunk is pulled again after a restart.
      engine.log(.warning, "\(error)")
    }
  }

  /// Gives a parked request up. Returns whether it was still parked; then its completion is not
  /// called any more.
  public func cancel(_ ticket: Ticket) -> Bool {
    state.withLock { state in
      guard state.machine.cancel(ticket) else { return false }
      state.parked[ticket] = nil
      state.parkedSince[ticket] = nil
      return true
    }
  }

  /// Carries out what was decided under the lock.
  func perform(_ work: Work) {
    for (completion, outcome) in work.completions { completion(outcome) }
    puller.start(self, work.demands, priority: .demand)
    puller.start(self, work.readAheads, priority: .readAhead)
    for _ in 0..<work.startBackground { puller.startBackgroundWorker(self) }
    if !work.prefill.isEmpty { tellPrefill(work.prefill) }
    for ended in work.ended { ended() }
    for doubt in work.doubts {
      engine.executor.spawn { [self] in
        await engine.clock.sleep(for: doubt.after)
        overtake(doubt.chunk)
      }
    }
  }

  // MARK: Read-ahead

  func extendReadAhead(at chunk: ChunkIndex) {
    let work = state.withLock { state -> Work in
      var work = Work()
      _ = advise(chunk, &state, &work)
      return work
    }
    perform(work)
  }

  /// Whether the read of `chunk` goes on where a stream is; what follows is pulled ahead.
  private func advise(_ chunk: ChunkIndex, _ state: inout State, _ work: inout Work) -> Bool {
    guard !state.isClosed else { return false }
    let isNext = state.readAhead.isNext(chunk)
    let isStream = state.readAhead.isSeenNext(chunk)
    let (advice, isKnown) = state.readAhead.touched(
      chunk, end: chunkCount, isFar: engine.bulk.isFar)
    let foretold = state.strides.touched(chunk, end: chunkCount)
    let transfer = PullMachine.Bulk(isReadAhead: true, began: engine.clock.now)
    if let advice {
      let most = engine.cacheBudget.readAheadLimit >> geometry.chunkShift
      work.readAheads += advice.chunks.prefix(Int(clamping: max(2, most))).filter {
        takeForPrefetch($0, as: transfer, &state)
      }
      chunks.setMark(advice.mark)
    } else if !isKnown, !foretold.isEmpty {
      // Reading one of them tells whether the stride goes on.
      for chunk in foretold { chunks.setMark(chunk) }
      work.readAheads += foretold.filter { takeForPrefetch($0, as: transfer, &state) }
    }
    // What a trace foretold is on its way, or here.
    if state.background.sweeps || !state.background.unread.contains(chunk) {
      noteMiss(chunk, isSequential: isKnown || !foretold.isEmpty, &state, &work)
    }
    noteRead(chunk, isStream: isStream, &state, &work)
    return isNext
  }

  /// Whether the chunk has to be pulled; then it counts as being pulled.
  func takeForPrefetch(
    _ chunk: ChunkIndex, as transfer: PullMachine.Bulk, _ state: inout State
  ) -> Bool {
    if chunks.isPresent(chunk) || isZero(chunk, state) { return false }
    return state.machine.prefetch(chunk, as: transfer)
  }
}
