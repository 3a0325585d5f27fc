/// Making room: clean chunks leave the data file.
extension Region {
  /// What became of a chunk that was to go.
  enum Eviction: Equatable, Sendable {
    /// Its bytes are gone from the data file; a read pulls them again.
    case evicted
    /// It must stay for now.
    case kept
    /// There is nothing of it here.
    case gone
  }

  /// Makes a chunk absent and its bytes a hole, if the committed map would bring back just these
  /// bytes and nobody is using them.
  ///
  /// The order is that of every drop: absent first, so that no reader enters (one that is inside keeps
  /// the chunk), then the state file, then the hole. A crash in between leaves bytes that no state
  /// names, which the next mount makes holes of.
  func evict(_ chunk: ChunkIndex) -> Eviction {
    state.withLock { state in
      let isPresent = chunks.isPresent(chunk)
      guard isPresent || state.partial[chunk] != nil else {
        chunks.clearQueued(chunk)
        return .gone
      }
      guard mayEvict(chunk, state) else { return .kept }
      let written = state.partial.removeValue(forKey: chunk)
      if isPresent, !chunks.takeAway(chunk) { return .kept }
      do throws(LocalError) {
        if isPresent { try stateFile.set(chunk..<chunk + 1, present: false) }
        try data.punchHole(geometry.bytes(of: chunk))
      } catch {
        engine.log(.warning, "cannot make room: \(error)")
        // Nothing of it was lost, for a hole is made as a whole or not.
        if isPresent { putBack(chunk) }
        state.partial[chunk] = written
        return .kept
      }
      if isPresent { chunksPresent.subtract(1, ordering: .relaxed) }
      chunks.clearQueued(chunk)
      // What a background pull had brought is not all here any more.
      state.background.isCut = true
      return .evicted
    }
  }

  private func mayEvict(_ chunk: ChunkIndex, _ state: State) -> Bool {
    !state.isClosed && !state.keepsAll && !state.uncommitted.contains(chunk)
      && !state.pinned.contains(chunk) && !state.filling.contains(chunk)
      && !state.replacing.contains(chunk) && !state.machine.isPulling(chunk)
  }

  private func putBack(_ chunk: ChunkIndex) {
    do throws(LocalError) {
      try stateFile.set(chunk..<chunk + 1, present: true)
    } catch {
      engine.log(.warning, "\(error)")
    }
    chunks.setPresent(chunk)
  }

  // MARK: What must stay

  /// Nothing of the region may go (or that is over): its bytes cannot be had again for sure, as with
  /// a file that was removed and is still open.
  func keepAll(_ keeps: Bool) { state.withLock { $0.keepsAll = keeps } }

  /// A record with this number is in the log and about to be applied.
  func noteUncommitted(_ record: DataRecord, _ sequence: SequenceNumber) {
    state.withLock { state in
      for run in record.runs {
        state.uncommitted.note(geometry.chunks(touchingPages: run.pages), sequence)
      }
    }
  }

  /// Records up to `cut` are committed, and the map shows them.
  func noteCommitted(through cut: SequenceNumber) {
    state.withLock { $0.uncommitted.commit(through: cut) }
  }

  // MARK: Telling the budget

  /// Bytes were written into the data file: room may have to be made.
  func noteWritten(_ bytes: Int) {
    guard engine.cacheBudget.noteWritten(UInt64(bytes)) else { return }
    let engine = engine
    engine.executor.spawn { engine.cacheBudget.makeRoom() }
  }
}

extension Group {
  /// Records up to `cut` are committed: their chunks may make room for others.
  func noteCommitted(through cut: SequenceNumber, _ state: borrowing State) {
    for open in state.regions.values { open.region.noteCommitted(through: cut) }
    guard engine.cacheBudget.shouldTryAgain() else { return }
    let engine = engine
    engine.executor.spawn { engine.cacheBudget.makeRoom() }
  }

  /// Whether the group's regions must keep all they have (until `keeps` is false), but for files that
  /// were removed, which always do.
  func keepAll(_ keeps: Bool, _ state: borrowing State) {
    for (file, open) in state.regions where state.unlinked[file] == nil {
      open.region.keepAll(keeps)
    }
  }
}
