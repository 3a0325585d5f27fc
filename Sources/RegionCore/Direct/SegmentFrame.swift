/// What a segment says about itself, without the root's word for it.
struct SegmentFrame: Sendable {
  /// How a root would refer to it.
  let reference: Root.SegmentReference
  /// Its table, encoded, with the checksum of the footer.
  let table: [UInt8]

  /// Where its payload ends, in bytes.
  var payloadEnd: UInt64 { UInt64(reference.tableOffset) }
  /// Length of the whole object, in bytes.
  var length: UInt64 { UInt64(reference.length) }
}

extension GroupObjects {
  /// Reads a segment's header, footer and table, and compares lengths and checksums.
  func frame(of object: ObjectID) async throws(RemoteError) -> SegmentFrame {
    let key = segmentKey(object)
    let head = IOBuffer(capacity: SegmentCodec.headerLength)
    let headerEnd = UInt64(SegmentCodec.headerLength)
    let info = try await get(key, range: 0..<headerEnd, into: head, priority: .background)
    let footerLength = UInt64(SegmentCodec.footerLength)
    let total = info.totalLength
    guard total >= headerEnd + footerLength else { throw invalidSegment(key, "it is too short") }
    let tail = IOBuffer(capacity: SegmentCodec.footerLength)
    _ = try await get(key, range: total - footerLength..<total, into: tail, priority: .background)
    let header = try parsing(key) { () throws(FormatError) in
      try SegmentCodec.decodeHeader(head.array)
    }
    guard header.group == group, header.epoch == object.epoch else {
      throw invalidSegment(key, "its header names another group or epoch")
    }
    let footer = try parsing(key) { () throws(FormatError) in
      try SegmentCodec.decodeFooter(tail.array)
    }
    guard UInt64(footer.length) == total else {
      throw invalidSegment(key, "it has \(total) bytes, its footer says \(footer.length)")
    }
    let start = UInt64(footer.tableOffset)
    let table = IOBuffer(capacity: Int(footer.tableLength))
    _ = try await get(
      key, range: start..<start + UInt64(footer.tableLength), into: table, priority: .background)
    guard unsafe CRC32C.checksum(table.bytes) == footer.tableChecksum else {
      throw .damaged(object: address(key), FormatError(.checksum, what: "segment table"))
    }
    let reference = Root.SegmentReference(
      object: object, commit: header.commit, length: footer.length,
      tableOffset: footer.tableOffset, tableLength: footer.tableLength,
      tableChecksum: footer.tableChecksum)
    return SegmentFrame(reference: reference, table: table.array)
  }

  private func invalidSegment(_ key: ObjectKey, _ why: String) -> RemoteError {
    .damaged(object: address(key), FormatError(.invalid(why), what: "segment"))
  }
}
