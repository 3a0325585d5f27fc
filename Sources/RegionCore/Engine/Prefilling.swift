/// What the kernel's cache is filled with: chunks of background pulls.
extension Region {
  /// The group.
  public var group: GroupID { cache.group }

  /// The cache's file with the region's bytes.
  public var cacheFile: LocalFile { data }

  /// Tells of chunks that are present now, neighbours together, but for those whose first read is to
  /// be seen.
  func tellPrefill(_ chunks: [ChunkIndex], _ prefill: (Region, Range<UInt64>) -> Void) {
    let size = currentSize.load(ordering: .relaxed)
    let unread = state.withLock { $0.background.unread }
    let runs = RangeSet(chunks.filter { !unread.contains($0) }.map { $0..<$0 + 1 })
    for bytes in geometry.bytes(of: runs, end: size) { prefill(self, bytes) }
  }
}

extension Group {
  /// The path of a file within the group; nil if it has none any more.
  public func path(of file: FileID) -> [FileName]? {
    state.withLock { $0.namespace.path(of: file) }
  }
}
