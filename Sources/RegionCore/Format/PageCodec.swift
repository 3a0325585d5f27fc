/// The pages of a checkpoint. A map page takes 28 bytes an extent.
extension CheckpointCodec {
  static let mapPage = Frame(magic: "RGFSMAPP", what: "map page", limit: Limits.mapPageLength)
  static let namePage = Frame(magic: "RGFSNAMP", what: "name page", limit: Limits.namePageLength)
  private static let extentLength = 28

  /// The page as bytes: equal pages give equal bytes. Throws if a value is out of its range or the
  /// whole is longer than `Limits.mapPageLength`.
  public static func encodeMapPage(_ page: MapPage, geometry: Geometry) throws(FormatError)
    -> [UInt8]
  {
    try validate(page, geometry: geometry)
    var objects = ObjectTable()
    var extents = 0
    for chunk in page.chunks {
      extents += chunk.extents.count
      for extent in chunk.extents {
        if case .unit(let unit, _) = extent.source { objects.add(unit.segment) }
      }
    }
    var writer = mapPage.begin(capacity: 64 + page.chunks.count * 4 + extents * extentLength)
    writer.u32(UInt32(page.chunks.count))
    writer.reserved(4)
    objects.encode(into: &writer)
    for chunk in page.chunks {
      writer.u16(chunk.index)
      writer.u16(UInt16(chunk.extents.count))
      for extent in chunk.extents { encode(extent, objects, into: &writer) }
    }
    return try mapPage.seal(writer)
  }

  /// The map page in `bytes`.
  public static func decodeMapPage(_ bytes: [UInt8], geometry: Geometry) throws(FormatError)
    -> MapPage
  {
    var reader = try mapPage.open(bytes[...])
    let chunks = try reader.u32()
    try reader.reserved(4)
    var objects = try ObjectTable(decoding: &reader)
    let count = try reader.count(
      chunks, limit: Int(Limits.chunksPerMapPage), minimum: 4 + extentLength, of: "chunks")
    var page = MapPage(chunks: [])
    page.chunks.reserveCapacity(count)
    for _ in 0..<count {
      let index = try reader.u16()
      let extents = try reader.count(
        try reader.u16(), limit: Limits.extentsPerChunk, minimum: extentLength, of: "extents")
      var chunk = MapPage.Chunk(index: index, extents: [])
      chunk.extents.reserveCapacity(extents)
      for _ in 0..<extents { chunk.extents.append(try decodeExtent(&objects, from: &reader)) }
      page.chunks.append(chunk)
    }
    try objects.finish(reader)
    try reader.finish()
    try validate(page, geometry: geometry)
    return page
  }

  /// The page as bytes; throws if a value is out of its range or the inodes are not of one page.
  public static func encodeNamePage(_ page: NamePage) throws(FormatError) -> [UInt8] {
    try validate(page)
    var writer = namePage.begin(capacity: 64 + page.inodes.count * 128)
    writer.u32(UInt32(page.inodes.count))
    writer.reserved(4)
    for inode in page.inodes {
      try InodeCodec.encode(inode, into: &writer, what: namePage.what)
    }
    return try namePage.seal(writer)
  }

  /// The name page in `bytes`.
  public static func decodeNamePage(_ bytes: [UInt8]) throws(FormatError) -> NamePage {
    var reader = try namePage.open(bytes[...])
    let inodes = try reader.u32()
    try reader.reserved(4)
    let count = try reader.count(
      inodes, limit: Int(Limits.inodesPerNamePage), minimum: InodeCodec.minimumLength, of: "inodes")
    var page = NamePage(inodes: [])
    page.inodes.reserveCapacity(count)
    for _ in 0..<count { page.inodes.append(try InodeCodec.decode(from: &reader)) }
    try reader.finish()
    try validate(page)
    return page
  }

  private static func encode(
    _ extent: Extent, _ objects: ObjectTable, into writer: inout ByteWriter
  ) {
    guard case .unit(let unit, let first) = extent.source else {
      preconditionFailure("validated: every extent of a map page has a unit")
    }
    writer.u16(UInt16(extent.firstPage))
    writer.u16(UInt16(extent.pageCount))
    writer.u16(UInt16(first))
    writer.u16(UInt16(unit.pageCount))
    writer.u32(objects.index(of: unit.segment))
    writer.u32(UInt32(truncatingIfNeeded: unit.offset))
    // 48 bits, so that extents into imported objects will fit.
    writer.u16(UInt16(truncatingIfNeeded: unit.offset >> 32))
    writer.u8(unit.codec.rawValue)
    writer.u8(unit.encryption.rawValue)
    writer.u32(unit.storedLength)
    writer.u32(unit.checksum)
  }

  private static func decodeExtent(_ objects: inout ObjectTable, from reader: inout ByteReader)
    throws(FormatError) -> Extent
  {
    let firstPage = UInt64(try reader.u16())
    let pageCount = UInt64(try reader.u16())
    let firstPageInUnit = UInt32(try reader.u16())
    let unitPages = UInt32(try reader.u16())
    let segment = try objects.object(at: try reader.u32(), reader)
    let offset = UInt64(try reader.u32()) | UInt64(try reader.u16()) << 32
    let (codec, encryption) = try SegmentCodec.decodeTransforms(from: &reader)
    let unit = StoredUnit(
      segment: segment, offset: offset, storedLength: try reader.u32(), pageCount: unitPages,
      codec: codec, encryption: encryption, checksum: try reader.u32())
    return Extent(
      firstPage: firstPage, pageCount: pageCount,
      source: .unit(unit, firstPageInUnit: firstPageInUnit))
  }

  private static func validate(_ page: MapPage, geometry: Geometry) throws(FormatError) {
    func require(_ condition: Bool, _ why: @autoclosure () -> String) throws(FormatError) {
      guard condition else { throw FormatError(.invalid(why()), what: mapPage.what) }
    }
    var previous: UInt16?
    for chunk in page.chunks {
      try require(chunk.index < Limits.chunksPerMapPage, "chunk out of range")
      try require(previous.map { $0 < chunk.index } ?? true, "chunks are not in order")
      previous = chunk.index
      try require((1...Limits.extentsPerChunk).contains(chunk.extents.count), "number of extents")
      var end: PageIndex = 0
      for extent in chunk.extents {
        guard case .unit(let unit, let first) = extent.source else {
          throw FormatError(.invalid("a zero extent in a map page"), what: mapPage.what)
        }
        try require(unit.segment.epoch >= 1, "object of epoch 0")
        try SegmentCodec.validate(
          pageCount: extent.pageCount, firstPageInUnit: first, unit: unit,
          payloadEnd: UInt64(SegmentCodec.headerLength + Limits.segmentPayload),
          geometry: geometry, what: mapPage.what)
        try require(extent.firstPage >= end, "extents overlap or are not in order")
        try require(extent.firstPage < geometry.pagesPerChunk, "page out of its chunk")
        end = extent.pages.upperBound
        try require(end <= geometry.pagesPerChunk, "extent crosses its chunk's end")
      }
    }
  }

  private static func validate(_ page: NamePage) throws(FormatError) {
    func require(_ condition: Bool, _ why: @autoclosure () -> String) throws(FormatError) {
      guard condition else { throw FormatError(.invalid(why()), what: namePage.what) }
    }
    try require(page.inodes.count <= Limits.inodesPerNamePage, "too many inodes")
    for (one, next) in zip(page.inodes, page.inodes.dropFirst()) {
      try require(one.id < next.id, "inodes are not in order")
      try require(
        one.id / Limits.inodesPerNamePage == next.id / Limits.inodesPerNamePage,
        "inodes of different pages")
    }
  }
}
