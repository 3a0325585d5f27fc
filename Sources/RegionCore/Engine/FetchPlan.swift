/// Which ranges of which objects a pull has to fetch, and where each page is in them. Pure.
struct FetchPlan: Sendable {
  /// One range request.
  struct Fetch: Sendable {
    var segment: ObjectID
    var range: Range<UInt64>
    /// The units in it, to be verified.
    var units: [StoredUnit]
  }

  /// One extent of a chunk: its bytes start at `offset` of the buffer of fetch `fetch`.
  struct Piece: Sendable {
    var pages: Range<PageIndex>
    var fetch: Int
    var offset: Int
  }

  /// Gaps up to this are fetched along rather than asked for apart, in bytes.
  static let mergeGap: UInt64 = 32 << 10

  private(set) var fetches: [Fetch] = []
  /// The pieces of each chunk. Pages in no piece are zero.
  private(set) var pieces: [ChunkIndex: [Piece]] = [:]

  /// Plans for chunks with the given extents.
  init(_ chunks: [(chunk: ChunkIndex, extents: [Extent])]) {
    var units = Set<StoredUnit>()
    for (_, extents) in chunks {
      for case .unit(let unit, _) in extents.map(\.source) { units.insert(unit) }
    }
    var places: [StoredUnit: (fetch: Int, offset: Int)] = [:]
    let ordered = units.sorted {
      ($0.segment.epoch, $0.segment.random.high, $0.segment.random.low, $0.offset)
        < ($1.segment.epoch, $1.segment.random.high, $1.segment.random.low, $1.offset)
    }
    for unit in ordered {
      if let last = fetches.indices.last, fetches[last].segment == unit.segment,
        unit.offset <= fetches[last].range.upperBound + Self.mergeGap
      {
        let start = fetches[last].range.lowerBound
        fetches[last].range = start..<max(fetches[last].range.upperBound, unit.range.upperBound)
        fetches[last].units.append(unit)
        places[unit] = (last, Int(unit.offset - start))
      } else {
        fetches.append(Fetch(segment: unit.segment, range: unit.range, units: [unit]))
        places[unit] = (fetches.count - 1, 0)
      }
    }
    for (chunk, extents) in chunks {
      pieces[chunk] = extents.compactMap { extent in
        guard case .unit(let unit, let first) = extent.source, let place = places[unit] else {
          return nil
        }
        return Piece(
          pages: extent.pages, fetch: place.fetch,
          offset: place.offset + Int(first) << Int(Geometry.pageShift))
      }
    }
  }
}
