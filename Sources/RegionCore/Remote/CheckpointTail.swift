/// The end of a checkpoint's object, read at once: the index, and what lies before it, which is the
/// names and some pages of the map, mostly. Asked for one after the other, each would take a round trip.
struct CheckpointTail: Sendable {
  fileprivate var key: ObjectKey
  fileprivate var start: UInt64
  fileprivate var bytes: IOBuffer

  /// A piece of the object, if all of it is here and has that checksum.
  func piece(_ key: ObjectKey, _ range: Range<UInt64>, _ checksum: UInt32) -> [UInt8]? {
    guard covers(key, range) else { return nil }
    let piece = bytes.array(Int(range.lowerBound - start)..<Int(range.upperBound - start))
    return CRC32C.checksum(piece) == checksum ? piece : nil
  }

  private func covers(_ key: ObjectKey, _ range: Range<UInt64>) -> Bool {
    key == self.key && range.lowerBound >= start && range.upperBound - start <= UInt64(bytes.count)
  }
}

extension GroupObjects {
  /// Bytes before the index that are read with it: the names of a few thousand files, a page of the map.
  private static let tailLength: UInt64 = 192 << 10

  /// The end of a checkpoint; nil where the cache has the index. What cannot be read is an error at once:
  /// the index is part of it, and asking for that alone would wait for the store once more.
  func tail(
    of reference: Root.CheckpointReference
  ) async throws(RemoteError) -> CheckpointTail? {
    let key = mapKey(reference.object)
    let name = MetadataCache.name(key, offset: reference.indexOffset)
    let length = Int(reference.indexLength)
    guard length <= Limits.indexLength,
      copies?.piece(name, length: length, checksum: reference.indexChecksum) == nil
    else { return nil }
    let start = reference.indexOffset - min(reference.indexOffset, Self.tailLength)
    let end = reference.indexOffset + UInt64(length)
    let buffer = IOBuffer(capacity: Int(end - start))
    _ = try await get(key, range: start..<end, into: buffer, priority: .demand)
    return CheckpointTail(key: key, start: start, bytes: buffer)
  }

  /// Keeps copies of the pages of the map that came with the index.
  func keepPages(_ pages: [CheckpointIndex.MapPageEntry], in tail: CheckpointTail) {
    var last: CheckpointIndex.PageReference?
    // Neighbours may be one page of the store, and then each is not written again.
    for page in pages.map(\.page) where page != last {
      last = page
      let key = mapKey(page.object)
      let range = page.offset..<page.offset + UInt64(page.length)
      guard let bytes = tail.piece(key, range, page.checksum) else { continue }
      keeping { () throws(LocalError) in
        try copies?.keep(bytes, as: MetadataCache.name(key, offset: page.offset))
      }
    }
  }
}
