/// Stored units, fetched and verified.
extension GroupObjects {
  /// The bytes of one range of a segment, all of whose units are intact. The buffer comes from the
  /// engine's pool.
  func units(
    _ fetch: FetchPlan.Fetch, priority: TransferPriority
  ) async throws(RemoteError) -> IOBuffer {
    let key = segmentKey(fetch.segment)
    for _ in 0..<Self.damagedAttempts {
      let buffer = engine.buffers.take(fetch.range.count)
      _ = try await get(key, range: fetch.range, into: buffer, priority: priority)
      if fetch.isIntact(buffer) { return buffer }
      engine.log(.warning, "\(address(key)): bytes \(fetch.range) arrived damaged, asking again")
      engine.buffers.give(buffer)
    }
    throw .damaged(object: address(key), FormatError(.checksum, what: "segment payload"))
  }
}

extension FetchPlan.Fetch {
  /// Whether the buffer, which starts where the range does, holds every unit with its checksum.
  func isIntact(_ buffer: IOBuffer) -> Bool {
    units.allSatisfy { unit in
      let start = Int(unit.offset - range.lowerBound)
      let end = start + Int(unit.storedLength)
      guard end <= buffer.count else { return false }
      return unsafe CRC32C.checksum(buffer.bytes.bytes(start..<end)) == unit.checksum
    }
  }
}
