/// What a region's chunks are doing, drawn small: at most `ChunkMap.cellLimit` cells, each of which
/// stands for as many chunks as it takes.
public struct ChunkMap: Equatable, Sendable {
  /// Most cells of a map, whatever the region's size.
  public static let cellLimit = 4096

  /// What a cell shows: of what its chunks do, the one that matters most (the later case here).
  public enum Cell: UInt8, Comparable, Sendable {
    /// Nothing of it is here.
    case absent
    /// Some of its chunks are here.
    case part
    /// All of its chunks are here.
    case present
    /// All of its chunks are here and pinned.
    case pinned
    /// Something of it is on its way here.
    case pulling
    /// Something of it was changed and waits to be pushed.
    case dirty
    /// Something of it belongs to the commit that is under way.
    case pushing

    /// The order in which cells win over others.
    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
  }

  /// Chunks of the region.
  public let chunks: UInt64
  /// Chunks that a cell stands for; the last cell may have fewer.
  public let chunksPerCell: UInt64
  /// The cells, in order.
  public private(set) var cells: [Cell]

  /// A map of `chunks` chunks in at most `limit` cells (1 to `cellLimit`), all absent.
  init(chunks: UInt64, limit: Int) {
    let limit = UInt64(min(max(1, limit), Self.cellLimit))
    self.chunks = chunks
    chunksPerCell = max(1, (chunks + limit - 1) / limit)
    cells = Array(repeating: .absent, count: Int((chunks + chunksPerCell - 1) / chunksPerCell))
  }

  /// The chunks of a cell.
  func chunks(of cell: Int) -> Range<ChunkIndex> {
    let first = UInt64(cell) * chunksPerCell
    return first..<min(first + chunksPerCell, chunks)
  }

  /// Shows `cell` wherever a chunk of `range` is, unless what is there matters more.
  mutating func mark(_ range: Range<ChunkIndex>, _ cell: Cell) {
    let range = range.clamped(to: 0..<chunks)
    guard !range.isEmpty else { return }
    for at in Int(range.lowerBound / chunksPerCell)...Int((range.upperBound - 1) / chunksPerCell)
    where cells[at] < cell { cells[at] = cell }
  }

  /// Shows which cells are here and pinned as a whole.
  mutating func markPinned(_ pinned: RangeSet<ChunkIndex>) {
    for range in pinned.ranges {
      let range = range.clamped(to: 0..<chunks)
      guard !range.isEmpty else { continue }
      for at in Int(range.lowerBound / chunksPerCell)...Int((range.upperBound - 1) / chunksPerCell)
      where cells[at] == .present && chunks(of: at).clamped(to: range) == chunks(of: at) {
        cells[at] = .pinned
      }
    }
  }

  /// Shows how much of each cell is present, which `table` knows. Takes no lock.
  mutating func markPresent(_ table: ChunkTable) {
    var counts = cells.map { _ in 0 }
    for touched in table.touched(in: 0..<chunks) {
      let first = Int(touched.lowerBound / chunksPerCell)
      for at in first...Int((touched.upperBound - 1) / chunksPerCell) {
        for chunk in chunks(of: at).clamped(to: touched) where table.isPresent(chunk) {
          counts[at] += 1
        }
      }
    }
    for (at, count) in counts.enumerated() where count > 0 {
      let all = chunks(of: at)
      mark(all, count == all.count ? .present : .part)
    }
  }
}

extension Group {
  /// Log entries looked at while the group's lock is held once: changes wait for it.
  private static let entriesPerLook = 2048

  /// The maps of this group's regions, each of at most `limit` cells, by the regions' paths. The
  /// data path goes on meanwhile, so a map is a picture and not of one instant.
  public func chunkMaps(limit: Int) -> [[FileName]: ChunkMap] {
    let regions = state.withLock { state in
      state.regions.compactMap { file, open in
        state.namespace.path(of: file).map { (file, open.region, $0) }
      }
    }
    var maps: [FileID: ChunkMap] = [:]
    for (file, region, _) in regions { maps[file] = region.presenceMap(limit: limit) }
    markUncommitted(&maps)
    return regions.reduce(into: [:]) { $0[$1.2] = maps[$1.0] }
  }

  /// Shows what the log holds, some entries at a time: there may be very many.
  private func markUncommitted(_ maps: inout [FileID: ChunkMap]) {
    var next: SequenceNumber? = 0
    while let from = next {
      let (entries, isSealed, last) = state.withLock { state in
        Self.entries(from: from, state)
      }
      for entry in entries {
        guard case .data(let record) = entry.record else { continue }
        for run in record.runs {
          maps[record.file]?.mark(
            geometry.chunks(touchingPages: run.pages), isSealed ? .pushing : .dirty)
        }
      }
      next = last.map { $0 + 1 }
    }
  }

  /// Uncommitted entries from a number on, either all of the commit under way or all not; the last
  /// is that which `last` names, or there are none.
  private static func entries(
    from first: SequenceNumber, _ state: State
  ) -> (entries: [LogEntry], isSealed: Bool, last: SequenceNumber?) {
    let sealed = slice(state.sealedEntries, from: first)
    if let last = sealed.last { return (Array(sealed), true, last.sequence) }
    let waiting = slice(state.log?.entries ?? [], from: first)
    return (Array(waiting), false, waiting.last?.sequence)
  }

  /// Entries are in order of their numbers: a binary search finds the first one wanted.
  private static func slice(_ entries: [LogEntry], from first: SequenceNumber)
    -> ArraySlice<LogEntry>
  {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].sequence < first { low = middle + 1 } else { high = middle }
    }
    return entries[low...].prefix(entriesPerLook)
  }
}

extension Region {
  /// What is here and what is on its way.
  fileprivate func presenceMap(limit: Int) -> ChunkMap {
    let (count, pulling, isAllHere, pinned) = state.withLock { state in
      let count = chunkCount
      return (
        count, state.machine.pulling(in: 0..<count),
        state.background.phase == .done
          && !state.background.isCut, state.pinned
      )
    }
    var map = ChunkMap(chunks: count, limit: limit)
    // What a finished pull found to be a hole was never marked as present.
    if isAllHere { map.mark(0..<count, .present) } else { map.markPresent(chunks) }
    map.markPinned(pinned)
    for chunk in pulling { map.mark(chunk..<chunk + 1, .pulling) }
    return map
  }
}
