import Glibc

/// Changes of a region's bytes. All are called with the group's lock held, so that they happen in
/// the order of the log.
extension Region {
  /// Whether a mutation can be applied now, or which bytes it must wait for first.
  enum Readiness {
    case ready
    /// `demand` these bytes and try again.
    case waitFor(Range<UInt64>)
  }

  /// Whether the pages can be overwritten: not while a pull is being written beneath them. If they
  /// can, no pull begins to be written there until `endReplacing`.
  func canReplace(_ pages: Range<PageIndex>) -> Readiness {
    state.withLock { state in
      let wanted = geometry.chunks(touchingPages: pages)
      if let chunk = state.filling.first(where: { wanted.contains($0) }) {
        return .waitFor(geometry.bytes(of: chunk))
      }
      state.replacing = wanted
      return .ready
    }
  }

  /// The change that `canReplace` was asked for was made, or was not.
  func endReplacing() { state.withLock { $0.replacing = 0..<0 } }

  /// Whether the page's bytes are valid in the data file (it is not, while its chunk is absent and
  /// the page was not written).
  func isValid(_ page: PageIndex) -> Bool {
    let chunk = geometry.chunk(ofPage: page)
    if chunks.isPresent(chunk) { return true }
    return state.withLock { state in
      if let pages = state.partial[chunk], pages.contains(Int(page - geometry.firstPage(of: chunk)))
      {
        return true
      }
      return state.zeroed.contains(chunk) || map.known(file, chunk)?.isEmpty == true
    }
  }

  /// Whether all the pages are valid.
  func areValid(_ pages: Range<PageIndex>) -> Bool {
    var page = pages.lowerBound
    while page < pages.upperBound {
      let chunk = geometry.chunk(ofPage: page)
      if chunks.isPresent(chunk) {
        page = geometry.firstPage(of: chunk + 1)
      } else if isValid(page) {
        page += 1
      } else {
        return false
      }
    }
    return true
  }

  /// Puts whole pages into the data file and notes them as valid. On an error some bytes may have
  /// been written; pages that were not valid before are not valid after.
  func replace(_ pages: Range<PageIndex>, with bytes: UnsafeRawBufferPointer) throws(LocalError) {
    try stateFile.declareInUse()
    let offset = pages.lowerBound << Geometry.pageShift
    defer { noteWritten(bytes.count) }
    for chunk in geometry.chunks(touchingPages: pages) { chunks.setCold(chunk) }
    let absent = geometry.chunks(touchingPages: pages).contains { !chunks.isPresent($0) }
    guard absent else { return try unsafe data.write(bytes, at: offset) }
    try state.withLock { (state) throws(LocalError) in
      try unsafe data.write(bytes, at: offset)
      noteValid(pages, &state)
    }
  }

  /// Makes the pages zero in the data file and notes them as valid.
  func replaceWithZeros(_ pages: Range<PageIndex>) throws(LocalError) {
    guard !pages.isEmpty else { return }
    try stateFile.declareInUse()
    try state.withLock { (state) throws(LocalError) in
      let bytes = pages.lowerBound << Geometry.pageShift..<pages.upperBound << Geometry.pageShift
      let length = dataLength(currentSize.load(ordering: .relaxed))
      let touched = geometry.chunks(touchingPages: pages)
      let whole = wholeChunks(in: pages)
      for part in chunks.touched(in: touched) { for chunk in part { chunks.setCold(chunk) } }
      try data.punchHole(bytes.clamped(to: 0..<max(length, bytes.lowerBound)))
      guard !whole.isEmpty else { return noteValid(pages, &state) }
      noteZeroed(whole, &state)
      // Of the up to 2^25 chunks only the first and the last can be zeroed in part.
      if touched.lowerBound < whole.lowerBound {
        noteValid(pages.clamped(to: geometry.pages(of: touched.lowerBound)), &state)
      }
      if whole.upperBound < touched.upperBound {
        noteValid(pages.clamped(to: geometry.pages(of: whole.upperBound)), &state)
      }
    }
  }

  private func wholeChunks(in pages: Range<PageIndex>) -> Range<ChunkIndex> {
    let first = geometry.chunk(ofPage: pages.lowerBound + geometry.pagesPerChunk - 1)
    let end = geometry.chunk(ofPage: pages.upperBound)
    return first..<max(first, end)
  }

  /// Pages of any chunks were written: those of absent chunks become valid one by one.
  private func noteValid(_ pages: Range<PageIndex>, _ state: inout State) {
    for chunk in geometry.chunks(touchingPages: pages) where !chunks.isPresent(chunk) {
      let first = geometry.firstPage(of: chunk)
      let mine = pages.clamped(to: geometry.pages(of: chunk))
      var valid = state.partial[chunk] ?? PageSet(size: Int(geometry.pagesPerChunk))
      valid.insert(Int(mine.lowerBound - first)..<Int(mine.upperBound - first))
      let restIsZero = state.zeroed.contains(chunk) || map.known(file, chunk)?.isEmpty == true
      if valid.isFull || restIsZero {
        state.partial[chunk] = nil
        state.zeroed.remove(contentsOf: chunk..<chunk + 1)
        state.machine.discard(chunk)
        markPresent(chunk..<chunk + 1)
      } else {
        state.partial[chunk] = valid
        engine.cacheBudget.noteArrival(chunk, of: self)
      }
    }
  }

  private func markPresent(_ range: Range<ChunkIndex>) {
    for chunk in range {
      chunks.setPresent(chunk)
      engine.cacheBudget.noteArrival(chunk, of: self)
    }
    chunksPresent.add(range.count, ordering: .relaxed)
    do throws(LocalError) {
      try stateFile.set(range, present: true)
    } catch {
      engine.log(.warning, "\(error)")
    }
  }

  /// Whole chunks became zero: nothing of them needs to be kept but that fact.
  private func noteZeroed(_ range: Range<ChunkIndex>, _ state: inout State) {
    guard !range.isEmpty else { return }
    for part in chunks.touched(in: range) {
      for chunk in part where chunks.isPresent(chunk) {
        chunks.setAbsent(chunk)
        chunksPresent.subtract(1, ordering: .relaxed)
      }
    }
    do throws(LocalError) {
      try stateFile.set(range, present: false)
    } catch {
      engine.log(.error, "\(error)")
    }
    state.zeroed.insert(contentsOf: range)
    let partial = state.partial.keys.filter { range.contains($0) }
    for chunk in partial { state.partial[chunk] = nil }
    for chunk in state.machine.pulling(in: range) { state.machine.discard(chunk) }
  }

  /// The region has a new size; bytes beyond a smaller one were zeroed before.
  func resize(to size: UInt64) throws(LocalError) {
    let old = currentSize.load(ordering: .relaxed)
    guard size != old else { return }
    if dataLength(size) != dataLength(old) {
      try stateFile.declareInUse()
      try data.truncate(to: dataLength(size))
    }
    currentSize.store(size, ordering: .releasing)
  }

  /// The commit `table` of another writer changed these chunks: what is here of them is old.
  func invalidate(_ range: Range<ChunkIndex>) throws(LocalError) {
    try state.withLock { (state) throws(LocalError) in
      // Pages written in absent chunks are as old as those of present ones.
      var old = state.partial.keys.filter { range.contains($0) }.sorted()
      for chunk in old { state.partial[chunk] = nil }
      for part in chunks.touched(in: range) {
        for chunk in part where chunks.isPresent(chunk) {
          chunks.setAbsent(chunk)
          chunksPresent.subtract(1, ordering: .relaxed)
          old.append(chunk)
        }
      }
      for chunk in state.machine.pulling(in: range) { state.machine.discard(chunk) }
      state.zeroed.remove(contentsOf: range)
      for chunk in old {
        try stateFile.set(chunk..<chunk + 1, present: false)
        // Who found the chunk present may still be reading the old bytes: never a hole.
        chunks.waitForReaders(of: chunk)
        try data.punchHole(geometry.bytes(of: chunk))
      }
    }
  }

  // MARK: Where data is

  /// The region's size in bytes.
  public var size: UInt64 { currentSize.load(ordering: .acquiring) }

  /// `SEEK_DATA` or `SEEK_HOLE` from `offset`; nil if there is no data up to the end. Fetches the pages
  /// of the map that it needs.
  public func seek(_ offset: UInt64, data: Bool) async throws(RegionError) -> UInt64? {
    do throws(RemoteError) {
      if !data { return try await nextHole(from: offset) }
      return try await nextData(from: offset)
    } catch {
      engine.log(.error, "cannot look for data in \(name): \(error)")
      throw .io
    }
  }

  private func nextData(from offset: UInt64) async throws(RemoteError) -> UInt64? {
    let size = self.size
    guard offset < size else { return nil }
    var nearest = size
    if let local = data.nextData(from: offset) { nearest = min(nearest, local) }
    var chunk = geometry.chunk(ofByte: offset)
    while let next = map.nextMapped(file, from: chunk, below: chunkCount) {
      guard geometry.bytes(of: next).lowerBound < nearest else { break }
      if try await isRemoteData(next) {
        nearest = min(nearest, max(offset, geometry.bytes(of: next).lowerBound))
        break
      }
      chunk = next + 1
    }
    return nearest < size ? nearest : nil
  }

  private func nextHole(from offset: UInt64) async throws(RemoteError) -> UInt64 {
    let size = self.size
    var position = offset
    while position < size {
      let chunk = geometry.chunk(ofByte: position)
      let end = geometry.bytes(of: chunk).upperBound
      if try await !isRemoteData(chunk) {
        if let hole = data.nextHole(from: position), hole < end { return min(hole, size) }
      }
      position = end
    }
    return size
  }

  /// Whether the chunk has content that is only in the store.
  private func isRemoteData(_ chunk: ChunkIndex) async throws(RemoteError) -> Bool {
    if chunks.isPresent(chunk) || state.withLock({ $0.zeroed.contains(chunk) }) { return false }
    return try await !map.extents(file, chunk, priority: .demand).isEmpty
  }
}

extension Region {
  /// Whether more is known of chunks here than the state file can say: of absent ones some pages, of
  /// present ones that they are not committed.
  var hasChunksOfTheLog: Bool {
    state.withLock { !$0.partial.isEmpty || !$0.zeroed.isEmpty || !$0.uncommitted.isEmpty }
  }

  /// Notes in the state file what the region's chunks agree with, at the end of its use. `synced`:
  /// everything else is durable before the note is made, so that it holds after another boot too.
  func closeState(commit: CommitID, bootID: Random128, synced: Bool) throws(LocalError) {
    let partial = state.withLock { $0.partial.keys.sorted() }
    if !partial.isEmpty { try stateFile.declareInUse() }
    for chunk in partial { try data.punchHole(geometry.bytes(of: chunk)) }
    if synced {
      try data.syncData()
      try stateFile.sync()
    }
    try stateFile.close(commit: commit, bootID: synced ? .zero : bootID)
  }
}
