/// What must hold for a segment's table, whether it is written or read.
extension SegmentCodec {
  static func validate(_ table: SegmentTable, payloadEnd: UInt64, geometry: Geometry)
    throws(FormatError)
  {
    func require(_ condition: Bool, _ why: @autoclosure () -> String) throws(FormatError) {
      guard condition else { throw FormatError(.invalid(why()), what: Self.table.what) }
    }
    try require(table.epoch >= 1, "epoch 0")
    try require((1...Limits.commitSegments).contains(Int(table.count)), "number of segments")
    try require(table.index < table.count, "index of the segment")
    try require(table.changes.count <= Limits.tableChanges, "too many changes")
    var inodes: Set<FileID> = []
    var pages: [(file: FileID, pages: Range<PageIndex>)] = []
    for change in table.changes {
      switch change {
      case .data(let file, let extent, let checksums):
        guard case .unit(let unit, let first) = extent.source else {
          throw FormatError(.invalid("a data change without a unit"), what: Self.table.what)
        }
        try require(UInt64(checksums.count) == extent.pageCount, "number of page checksums")
        try require(extent.firstPage < Limits.pageCount, "page beyond the largest region")
        try validate(
          pageCount: extent.pageCount, firstPageInUnit: first, unit: unit, payloadEnd: payloadEnd,
          geometry: geometry, what: Self.table.what)
        try require(extent.pages.upperBound <= Limits.pageCount, "page beyond the largest region")
        let chunk = geometry.pages(of: geometry.chunk(ofPage: extent.firstPage))
        try require(extent.pages.upperBound <= chunk.upperBound, "extent crosses a chunk's end")
        pages.append((file, extent.pages))
      case .zero(let file, let range):
        try require(!range.isEmpty, "empty zero range")
        try require(range.upperBound <= Limits.pageCount, "page beyond the largest region")
        pages.append((file, range))
      case .name(let change):
        try require(inodes.insert(change.inode).inserted, "inode \(change.inode) is named twice")
      }
    }
    try require(
      pages.allSatisfy { (1...Limits.fileID).contains($0.file) }, "inode number out of range")
    pages.sort { ($0.file, $0.pages.lowerBound) < ($1.file, $1.pages.lowerBound) }
    for (one, next) in zip(pages, pages.dropFirst()) where one.file == next.file {
      try require(one.pages.upperBound <= next.pages.lowerBound, "a page is named twice")
    }
  }

  /// A unit lies within the payload, holds at most a chunk, and the extent's pages lie within it.
  static func validate(
    pageCount: UInt64, firstPageInUnit: UInt32, unit: StoredUnit, payloadEnd: UInt64,
    geometry: Geometry, what: String
  ) throws(FormatError) {
    func require(_ condition: Bool, _ why: @autoclosure () -> String) throws(FormatError) {
      guard condition else { throw FormatError(.invalid(why()), what: what) }
    }
    try require((1...geometry.pagesPerChunk).contains(pageCount), "pages in an extent")
    try require((1...geometry.pagesPerChunk).contains(UInt64(unit.pageCount)), "pages in a unit")
    try require(
      UInt64(firstPageInUnit) + pageCount <= UInt64(unit.pageCount), "extent is not in its unit")
    // Only the codec `none` exists, which neither shrinks nor grows.
    try require(
      UInt64(unit.storedLength) == UInt64(unit.pageCount) * UInt64(Geometry.pageSize),
      "unit's length")
    try require(unit.offset >= UInt64(headerLength), "unit lies before the payload")
    let (end, overflow) = unit.offset.addingReportingOverflow(UInt64(unit.storedLength))
    try require(!overflow && end <= payloadEnd, "unit lies behind the payload")
  }
}
