/// Pinned bytes: what of a file stays in this cache, whatever its limit says.
extension Group {
  /// The file's pinned ranges, in order.
  public func pins(of file: FileID) throws(RegionError) -> [Range<UInt64>] {
    try state.withLock { (_) throws(RegionError) in try readPins().files[file] ?? [] }
  }

  /// Sets the file's pinned ranges, durably. What of them is not here yet stays once it comes.
  public func pin(_ file: FileID, _ ranges: [Range<UInt64>]) throws(RegionError) {
    try state.withLock { (state) throws(RegionError) in
      guard let inode = state.inode(file) else { throw .notFound }
      guard inode.kind == .file else { throw inode.kind == .directory ? .isDirectory : .invalid }
      var pins = try readPins()
      do throws(LocalError) {
        try pins.set(PinText.merged(ranges), of: file)
      } catch {
        engine.log(.error, "cannot keep pins: \(error)")
        throw error.isOutOfSpace ? .noSpace : .io
      }
      state.regions[file]?.region.setPins(pins.chunks(of: file, geometry: geometry))
    }
  }

  private func readPins() throws(RegionError) -> Pins {
    do throws(LocalError) {
      return try Pins(cache)
    } catch {
      engine.log(.error, "cannot read pins: \(error)")
      throw .io
    }
  }
}

extension Region {
  /// The user wants these chunks to stay.
  func setPins(_ chunks: RangeSet<ChunkIndex>) { state.withLock { $0.pinned = chunks } }

  /// Pinned chunks within the region's size.
  func pinnedCount(_ state: borrowing State) -> UInt64 {
    state.pinned.ranges.reduce(0) { $0 + UInt64($1.clamped(to: 0..<chunkCount).count) }
  }
}
