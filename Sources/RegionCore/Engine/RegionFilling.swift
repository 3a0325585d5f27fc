/// How a pull ends: its bytes go into the data file, and who waited for them is answered.
extension Region {
  /// The pages of a pulled chunk that are to be written into the data file; nil if the pull is not
  /// wanted any more, or the other lane's bytes are being written. Must be followed by `endFill`.
  func beginFill(_ chunk: ChunkIndex, _ lane: PullLane) -> [Range<Int>]? {
    state.withLock { state in
      guard !state.isClosed, state.machine.isWanted(chunk, lane), !chunks.isPresent(chunk),
        !state.filling.contains(chunk), !state.replacing.contains(chunk)
      else { return nil }
      state.filling.insert(chunk)
      let all = 0..<Int(geometry.pagesPerChunk)
      return state.partial[chunk]?.gaps(in: all) ?? [all]
    }
  }

  /// The pages that `beginFill` named were written (or not), of neighbouring chunks. `kept`: all bytes of
  /// a chunk, if they are to stay in memory for a while.
  func endFill(
    _ run: Range<ChunkIndex>, _ lane: PullLane, filled: Bool,
    kept: ((ChunkIndex) -> HotChunks.Bytes)? = nil
  ) {
    let actions = state.withLock { state -> [PullMachine.Action] in
      var actions: [PullMachine.Action] = []
      var present = RangeSet<ChunkIndex>()
      for chunk in run {
        state.filling.remove(chunk)
        if filled, state.machine.isWanted(chunk, lane) {
          if let kept {
            engine.hotChunks.add(kept(chunk), as: chunk, of: chunks, at: engine.clock.now)
          }
          makePresent(chunk)
          present.insert(contentsOf: chunk..<chunk + 1)
          state.partial[chunk] = nil
        } else if filled {
          // Another writer's commit was adopted while the old bytes were written.
          empty(chunk, but: state.partial[chunk])
        }
        actions += state.machine.finished(chunk, lane, filled ? .filled : .failed)
      }
      // Once for all of them, and before anybody can drop one of them again.
      for chunks in present.ranges { record(present: chunks) }
      return actions
    }
    answer(actions, error: .io)
    if filled { noteWritten(run.count << Int(geometry.chunkShift)) }
  }

  /// Makes an absent chunk zero in the data file, as absent pages must be, but for those in `kept`.
  private func empty(_ chunk: ChunkIndex, but kept: PageSet?) {
    let all = 0..<Int(geometry.pagesPerChunk)
    let start = geometry.bytes(of: chunk).lowerBound
    do throws(LocalError) {
      for gap in kept?.gaps(in: all) ?? [all] {
        let first = start + UInt64(gap.lowerBound) << Geometry.pageShift
        try data.punchHole(first..<start + UInt64(gap.upperBound) << Geometry.pageShift)
      }
    } catch {
      engine.log(.error, "cannot drop old bytes of \(name): \(error)")
    }
  }

  /// A pull ended without bytes: unwanted, or with an error.
  func endPull(
    _ chunk: ChunkIndex, _ lane: PullLane, error: RegionError?, message: String? = nil,
    isPassing: Bool = false
  ) {
    let actions = state.withLock { state -> [PullMachine.Action] in
      if let message { (state.lastError, state.lastErrorIsPassing) = (message, isPassing) }
      return state.machine.finished(chunk, lane, error == nil ? .dropped : .failed)
    }
    if error != nil { failures.add(1, ordering: .relaxed) }
    answer(actions, error: error ?? .io)
  }

  private func answer(_ actions: [PullMachine.Action], error: RegionError) {
    for action in actions {
      switch action {
      case .resume(let ticket): take(ticket)?(.ready)
      case .fail(let ticket): take(ticket)?(.failed(error))
      }
    }
  }

  private func take(_ ticket: Ticket) -> (@Sendable (Parked) -> Void)? {
    state.withLock { $0.parked.removeValue(forKey: ticket) }
  }
}
