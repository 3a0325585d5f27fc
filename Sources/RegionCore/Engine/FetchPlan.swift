/// Which ranges of which objects a pull has to fetch, and where each page is in them. Pure.
struct FetchPlan: Sendable {
  /// One range request.
  struct Fetch: Sendable {
    var segment: ObjectID
    var range: Range<UInt64>
    /// The units in it, to be verified.
    var units: [StoredUnit]
  }

  /// Neighbouring pages of a chunk whose bytes lie one after the other: they start at `offset` of the
  /// buffer of fetch `fetch`.
  struct Piece: Sendable {
    var pages: Range<PageIndex>
    var fetch: Int
    var offset: Int
  }

  /// An extent that takes its pages from a unit.
  private struct Use {
    var unit: StoredUnit
    /// Which of the chunks it belongs to.
    var position: Int
    var pages: Range<PageIndex>
    /// The first of them, counted within the unit.
    var first: UInt32
  }

  /// Gaps up to this are fetched along rather than asked for apart, in bytes.
  static let mergeGap: UInt64 = 32 << 10

  private(set) var fetches: [Fetch] = []
  /// The pieces of each chunk, in the order of their pages. Pages in no piece are zero.
  private(set) var pieces: [ChunkIndex: [Piece]] = [:]

  /// Plans for chunks with the given extents.
  init(_ chunks: [(chunk: ChunkIndex, extents: [Extent])]) {
    var found = Array(repeating: [Piece](), count: chunks.count)
    // A region that is written page by page has thousands of units in one plan: sorted, not hashed.
    for use in Self.uses(of: chunks) {
      if fetches.last?.units.last != use.unit { fetch(use.unit) }
      let start = fetches[fetches.count - 1].range.lowerBound
      found[use.position].append(
        Piece(
          pages: use.pages, fetch: fetches.count - 1,
          offset: Int(use.unit.offset - start) + Int(use.first) << Int(Geometry.pageShift)))
    }
    for (position, (chunk, _)) in chunks.enumerated() {
      pieces[chunk] = Self.merged(found[position])
    }
  }

  /// All uses of units, in the order in which these lie in their segments.
  private static func uses(of chunks: [(chunk: ChunkIndex, extents: [Extent])]) -> [Use] {
    var uses: [Use] = []
    for (position, (_, extents)) in chunks.enumerated() {
      for extent in extents {
        guard case .unit(let unit, let first) = extent.source else { continue }
        uses.append(Use(unit: unit, position: position, pages: extent.pages, first: first))
      }
    }
    uses.sort {
      let (one, other) = ($0.unit, $1.unit)
      guard one.segment == other.segment else { return one.segment < other.segment }
      return one.offset < other.offset
    }
    return uses
  }

  /// Fetches a unit that lies behind all others of its segment so far: along with them, or apart.
  private mutating func fetch(_ unit: StoredUnit) {
    guard let last = fetches.indices.last, fetches[last].segment == unit.segment,
      unit.offset <= fetches[last].range.upperBound + Self.mergeGap
    else {
      return fetches.append(Fetch(segment: unit.segment, range: unit.range, units: [unit]))
    }
    let range = fetches[last].range
    fetches[last].range = range.lowerBound..<max(range.upperBound, unit.range.upperBound)
    fetches[last].units.append(unit)
  }

  private static func merged(_ pieces: [Piece]) -> [Piece] {
    var merged: [Piece] = []
    for piece in pieces.sorted(by: { $0.pages.lowerBound < $1.pages.lowerBound }) {
      if let last = merged.last, last.pages.upperBound == piece.pages.lowerBound,
        last.fetch == piece.fetch,
        last.offset + last.pages.count << Int(Geometry.pageShift) == piece.offset
      {
        merged[merged.count - 1].pages = last.pages.lowerBound..<piece.pages.upperBound
      } else {
        merged.append(piece)
      }
    }
    return merged
  }
}
