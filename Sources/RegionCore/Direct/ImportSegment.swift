import Glibc

/// Some bytes of a local file that become pages of a file in the store.
public struct ImportPart: Sendable {
  /// The file in the group.
  public var file: FileID
  /// Where the bytes come from.
  public var source: LocalFile
  /// Which bytes, of both files alike; begins where a chunk does. At the file's end the last page
  /// is filled with zeros.
  public var bytes: Range<UInt64>

  /// A part.
  public init(file: FileID, source: LocalFile, bytes: Range<UInt64>) {
    self.file = file
    self.source = source
    self.bytes = bytes
  }
}

/// Makes one segment out of local files. Pages that are all zero are left out, because nothing lies
/// beneath them in a new group.
struct ImportSegment {
  let object: ObjectID
  private let geometry: Geometry
  private let body: IOBuffer
  private var table: SegmentTable

  init(
    _ parts: [ImportPart], names: [NameChange], group: GroupID, root: Root, index: Int, count: Int
  ) throws(LocalError) {
    geometry = root.geometry
    object = ObjectID(epoch: root.epoch, random: .random())
    table = SegmentTable(
      group: group, epoch: root.epoch, commit: root.commit.number + 1, parent: root.commit.nonce,
      index: UInt16(index), count: UInt16(count))
    let payload = parts.reduce(0) {
      $0 + Int(Geometry.pageCount(ofBytes: UInt64($1.bytes.count))) << Int(Geometry.pageShift)
    }
    body = IOBuffer(capacity: payload + SegmentCodec.headerLength)
    append(
      SegmentCodec.encodeHeader(
        group: group, epoch: root.epoch, commit: root.commit.number + 1))
    for part in parts { try add(part) }
    table.changes += names.map { .name($0) }
  }

  private func append(_ bytes: [UInt8]) {
    unsafe bytes.span.bytes.withUnsafeBytes { unsafe body.append($0) }
  }

  private mutating func add(_ part: ImportPart) throws(LocalError) {
    for chunk in geometry.chunks(touching: part.bytes) {
      try add(part, geometry.bytes(of: chunk).clamped(to: part.bytes))
    }
  }

  /// Reads the bytes of one chunk to the body's end and keeps the runs of pages that are not zero.
  private mutating func add(_ part: ImportPart, _ bytes: Range<UInt64>) throws(LocalError) {
    let pages = Int(Geometry.pageCount(ofBytes: UInt64(bytes.count)))
    let start = body.count
    let length = pages << Int(Geometry.pageShift)
    precondition(length <= body.capacity - start, "the body was made for all parts")
    // SAFETY: within the buffer, by the precondition.
    let target = unsafe UnsafeMutableRawBufferPointer(rebasing: body.memory[start..<start + length])
    let wanted = unsafe UnsafeMutableRawBufferPointer(rebasing: target[0..<bytes.count])
    let count = try unsafe part.source.read(into: wanted, at: bytes.lowerBound)
    guard count == bytes.count else {
      // It became shorter while it was copied.
      throw LocalError("pread", path: part.source.path, code: ESTALE)
    }
    for at in bytes.count..<length { unsafe target[at] = 0 }
    let isZero = (0..<pages).map { page in
      let begin = page << Int(Geometry.pageShift)
      return unsafe Self.isZero(
        UnsafeRawBufferPointer(rebasing: target[begin..<begin + Geometry.pageSize]))
    }
    let firstPage = bytes.lowerBound >> Geometry.pageShift
    var page = 0
    while page < pages {
      guard !isZero[page] else {
        page += 1
        continue
      }
      var end = page + 1
      while end < pages, !isZero[end] { end += 1 }
      appendUnit(part.file, firstPage + UInt64(page), from: start + page << 12, pages: end - page)
      page = end
    }
  }

  /// Whether every byte is zero. memcmp of the page with itself, one byte on.
  private static func isZero(_ page: UnsafeRawBufferPointer) -> Bool {
    guard let base = page.baseAddress, unsafe page[0] == 0 else { return false }
    // SAFETY: both sides lie within the page.
    return unsafe memcmp(base, base + 1, page.count - 1) == 0
  }

  /// Makes the `pages` that lie at `offset` of the body, at or behind its end, the next unit.
  private mutating func appendUnit(
    _ file: FileID, _ firstPage: PageIndex, from offset: Int, pages: Int
  ) {
    let length = pages << Int(Geometry.pageShift)
    let place = body.count
    if offset != place {
      // SAFETY: both ranges lie within the buffer and the target is in front.
      unsafe memmove(body.base + place, body.base + offset, length)
    }
    body.count = place + length
    let checksums = (0..<pages).map { page in
      let begin = place + page << Int(Geometry.pageShift)
      return unsafe CRC32C.checksum(body.bytes.bytes(begin..<begin + Geometry.pageSize))
    }
    let unit = StoredUnit(
      segment: object, offset: UInt64(place), storedLength: UInt32(length),
      pageCount: UInt32(pages),
      checksum: unsafe CRC32C.checksum(body.bytes.bytes(place..<place + length)))
    let extent = Extent(
      firstPage: firstPage, pageCount: UInt64(pages), source: .unit(unit, firstPageInUnit: 0))
    table.changes.append(.data(file, extent, pageChecksums: checksums))
  }

  /// The finished object.
  func finish() throws(FormatError) -> (
    body: IOBuffer, table: SegmentTable, reference: Root.SegmentReference
  ) {
    let encoded = try SegmentCodec.encodeTable(table, geometry: geometry)
    let offset = UInt32(body.count)
    let checksum = CRC32C.checksum(encoded)
    let whole = IOBuffer(capacity: body.count + encoded.count + SegmentCodec.footerLength)
    unsafe whole.append(body.bytes)
    let footer = SegmentCodec.encodeFooter(
      tableOffset: offset, tableLength: UInt32(encoded.count), tableChecksum: checksum)
    for bytes in [encoded, footer] {
      unsafe bytes.span.bytes.withUnsafeBytes { unsafe whole.append($0) }
    }
    let reference = Root.SegmentReference(
      object: object, commit: table.commit, length: UInt32(whole.count), tableOffset: offset,
      tableLength: UInt32(encoded.count), tableChecksum: checksum)
    return (whole, table, reference)
  }
}
