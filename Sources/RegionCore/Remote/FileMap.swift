/// Where the committed content of one file lies, on top of the checkpoint's map pages: what the
/// segments since the checkpoint changed. A value; no I/O.
///
/// A chunk's content is: its extents in the checkpoint, minus `zeroed`, overlaid by `patches`.
/// Later changes override earlier ones, which `apply` keeps true by clipping what it overrides.
struct FileMap: Sendable {
  /// Extents of unit pages by chunk, in order, not overlapping.
  private(set) var patches: [ChunkIndex: [Extent]] = [:]
  /// Pages that became zero after the checkpoint (where no patch lies, the content is zero).
  private(set) var zeroed = RangeSet<PageIndex>()

  var isEmpty: Bool { patches.isEmpty && zeroed.isEmpty }

  /// Chunks whose patches or zeros would change the page of the map that holds them.
  func touchedChunks(geometry: Geometry) -> RangeSet<ChunkIndex> {
    var chunks = RangeSet<ChunkIndex>()
    for chunk in patches.keys { chunks.insert(contentsOf: chunk..<chunk + 1) }
    for range in zeroed.ranges { chunks.insert(contentsOf: geometry.chunks(touchingPages: range)) }
    return chunks
  }

  /// New content for the extent's pages, which lie within one chunk.
  mutating func apply(_ extent: Extent, geometry: Geometry) {
    let chunk = geometry.chunk(ofPage: extent.firstPage)
    patches[chunk] = Self.overlay(extent, on: patches[chunk] ?? [])
  }

  /// `pages` became zero.
  mutating func applyZero(_ pages: Range<PageIndex>, geometry: Geometry) {
    guard !pages.isEmpty else { return }
    zeroed.insert(contentsOf: pages)
    let chunks = geometry.chunks(touchingPages: pages)
    let affected =
      patches.count < chunks.count
      ? patches.keys.filter { chunks.contains($0) } : chunks.filter { patches[$0] != nil }
    for chunk in affected {
      let kept = Self.subtract(pages, from: patches[chunk] ?? [])
      patches[chunk] = kept.isEmpty ? nil : kept
    }
  }

  /// The chunk's extents, given those of the checkpoint (`nil` while they are not known). Nil if the
  /// checkpoint's are needed and not known.
  func resolve(_ chunk: ChunkIndex, base: [Extent]?, geometry: Geometry) -> [Extent]? {
    let pages = geometry.pages(of: chunk)
    let patches = patches[chunk] ?? []
    guard let base else {
      var covered = zeroed.intersection(RangeSet(pages))
      for extent in patches { covered.insert(contentsOf: extent.pages) }
      return covered == RangeSet(pages) ? patches : nil
    }
    var extents = base
    for range in zeroed.intersection(RangeSet(pages)).ranges {
      extents = Self.subtract(range, from: extents)
    }
    for patch in patches { extents = Self.overlay(patch, on: extents) }
    return extents
  }

  /// `extents` with `new` over them, in order.
  static func overlay(_ new: Extent, on extents: [Extent]) -> [Extent] {
    // The frequent case: behind all others.
    if let last = extents.last, last.pages.upperBound <= new.firstPage { return extents + [new] }
    var result = subtract(new.pages, from: extents)
    let at = result.firstIndex { $0.firstPage > new.firstPage } ?? result.endIndex
    result.insert(new, at: at)
    return result
  }

  /// `extents` without `pages`.
  static func subtract(_ pages: Range<PageIndex>, from extents: [Extent]) -> [Extent] {
    guard extents.contains(where: { $0.pages.overlaps(pages) }) else { return extents }
    return extents.flatMap { extent -> [Extent] in
      guard extent.pages.overlaps(pages) else { return [extent] }
      var parts: [Extent] = []
      if extent.firstPage < pages.lowerBound,
        let left = extent.clamped(to: extent.firstPage..<pages.lowerBound)
      {
        parts.append(left)
      }
      if pages.upperBound < extent.pages.upperBound,
        let right = extent.clamped(to: pages.upperBound..<extent.pages.upperBound)
      {
        parts.append(right)
      }
      return parts
    }
  }
}
