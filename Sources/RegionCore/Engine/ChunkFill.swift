/// Writes the chunks of one finished pull into the data file and ends each one's pull.
struct ChunkFill {
  let region: Region
  let plan: FetchPlan
  let buffers: [PooledBuffer]
  let lane: PullLane

  private var geometry: Geometry { region.geometry }
  private var engine: EngineContext { region.engine }

  /// Neighbouring chunks that lie one after the other in one buffer.
  private struct Run {
    var chunks: Range<ChunkIndex>
    let fetch: Int
    let offset: Int
  }

  /// `keep`: whole chunks will be read soon and stay in memory for that.
  func run(_ chunks: [ChunkIndex], keep: Bool) {
    var runs: [Run] = []
    for chunk in chunks {
      guard let gaps = region.beginFill(chunk, lane) else {
        region.endPull(chunk, lane, error: nil)
        continue
      }
      guard keep, gaps == [0..<Int(geometry.pagesPerChunk)], let piece = wholePiece(chunk) else {
        fill(chunk, gaps)
        continue
      }
      if let last = runs.last, last.chunks.upperBound == chunk, last.fetch == piece.fetch,
        last.offset + last.chunks.count << Int(geometry.chunkShift) == piece.offset
      {
        runs[runs.count - 1].chunks = last.chunks.lowerBound..<chunk + 1
      } else {
        runs.append(Run(chunks: chunk..<chunk + 1, fetch: piece.fetch, offset: piece.offset))
      }
    }
    for run in runs { fill(run) }
  }

  /// The one piece that holds all pages of a chunk, if there is one.
  private func wholePiece(_ chunk: ChunkIndex) -> FetchPlan.Piece? {
    guard let pieces = plan.pieces[chunk], pieces.count == 1,
      pieces[0].pages == geometry.pages(of: chunk)
    else { return nil }
    return pieces[0]
  }

  /// Whole chunks in one write: past the page cache if there is room to keep them until they are
  /// read.
  private func fill(_ run: Run) {
    let size = 1 << Int(geometry.chunkShift)
    let buffer = buffers[run.fetch]
    let end = run.offset + run.chunks.count * size
    let offset = geometry.bytes(of: run.chunks.lowerBound).lowerBound
    do throws(LocalError) {
      let isKept = engine.hotChunks.hasRoom(for: buffer.buffer.capacity, at: engine.clock.now)
      try unsafe region.writePulled(
        buffer.buffer.bytes.bytes(run.offset..<end), at: offset, direct: isKept)
      let kept = { (chunk: ChunkIndex) in
        let index = Int(chunk - run.chunks.lowerBound)
        return HotChunks.Bytes(buffer: buffer, offset: run.offset + index * size, count: size)
      }
      region.endFill(run.chunks, lane, filled: true, kept: isKept ? kept : nil)
    } catch {
      engine.log(.error, "cannot keep pulled bytes: \(error)")
      for chunk in run.chunks {
        emptyAgain(chunk, [0..<Int(geometry.pagesPerChunk)])
      }
      region.endFill(run.chunks, lane, filled: false)
    }
  }

  /// Writes a chunk's pages, but for those that were written meanwhile.
  private func fill(_ chunk: ChunkIndex, _ gaps: [Range<Int>]) {
    let first = geometry.firstPage(of: chunk)
    do throws(LocalError) {
      try region.stateFile.declareInUse()
      for gap in gaps {
        let wanted = first + UInt64(gap.lowerBound)..<first + UInt64(gap.upperBound)
        for piece in plan.pieces[chunk] ?? [] where piece.pages.overlaps(wanted) {
          let pages = piece.pages.clamped(to: wanted)
          let start = piece.offset + Int(pages.lowerBound - piece.pages.lowerBound) << 12
          let length = pages.count << Int(Geometry.pageShift)
          try unsafe region.data.write(
            buffers[piece.fetch].buffer.bytes.bytes(start..<start + length),
            at: pages.lowerBound << Geometry.pageShift)
        }
      }
      region.endFill(chunk..<chunk + 1, lane, filled: true)
    } catch {
      engine.log(.error, "cannot keep pulled bytes: \(error)")
      emptyAgain(chunk, gaps)
      region.endFill(chunk..<chunk + 1, lane, filled: false)
    }
  }

  /// What was half written is made zero again, as absent pages must be.
  private func emptyAgain(_ chunk: ChunkIndex, _ gaps: [Range<Int>]) {
    let first = geometry.firstPage(of: chunk)
    for gap in gaps {
      let start = (first + UInt64(gap.lowerBound)) << Geometry.pageShift
      let end = (first + UInt64(gap.upperBound)) << Geometry.pageShift
      do throws(LocalError) {
        try region.data.punchHole(start..<end)
      } catch {
        engine.log(.error, "\(error)")
      }
    }
  }
}
