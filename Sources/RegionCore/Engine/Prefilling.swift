/// What the kernel's cache is filled with: chunks of background pulls.
extension Region {
  /// The group.
  public var group: GroupID { cache.group }

  /// The cache's file with the region's bytes.
  public var cacheFile: LocalFile { data }

  /// Tells the kernel's cache of chunks that are present now, neighbours together, but for those whose
  /// first read is to be seen.
  func tellPrefill(_ chunks: [ChunkIndex]) {
    guard let prefill = engine.prefill.withLock({ $0 }) else { return }
    let size = currentSize.load(ordering: .relaxed)
    let runs = state.withLock { state -> RangeSet<ChunkIndex> in
      let runs = RangeSet(
        chunks.filter { !state.background.unread.contains($0) }.map { $0..<$0 + 1 })
      guard isToldAtTheEnd(state) else { return runs }
      state.background.untold.formUnion(runs)
      return RangeSet()
    }
    for bytes in geometry.bytes(of: runs, end: size) { prefill(self, bytes) }
  }

  /// Whether the kernel is told at once of some of what a background pull brought, and so asks for it
  /// soon.
  func isToldSoon(_ chunks: [ChunkIndex]) -> Bool {
    guard engine.prefill.withLock({ $0 != nil }) else { return false }
    return state.withLock { state in
      !isToldAtTheEnd(state) && chunks.contains { !state.background.unread.contains($0) }
    }
  }

  /// While all of a small region is about to be here its reads wait for that, and the kernel gets it
  /// afterwards: taking it now would cost the pull a quarter of its speed.
  private func isToldAtTheEnd(_ state: State) -> Bool {
    state.background.sweeps && state.background.phase == .running && isSoonHere
  }
}

extension Group {
  /// The path of a file within the group; nil if it has none any more.
  public func path(of file: FileID) -> [FileName]? {
    state.withLock { $0.namespace.path(of: file) }
  }

  /// A file as users know it: its path under the mount, as far as it has one.
  func describe(_ file: FileID) -> String {
    let (top, path) = state.withLock { ($0.name, $0.namespace.path(of: file)) }
    guard let path else { return "a removed file (\(file) of group \(id))" }
    return ([top.map { "\($0)" } ?? "group \(id)"] + path.map { "\($0)" }).joined(separator: "/")
  }
}
