import RegionCore

/// Recorded traces: kept at quiet moments and at the end.
extension RegionFilesystem {
  /// Groups whose traces are written at a time.
  private static let traceWidth = 16

  /// Keeps the traces of groups whose start is over or pauses; at the end those of all. What the store
  /// does not take soon is lost, for nobody should wait for it.
  public func saveTraces(atEnd: Bool) async {
    let groups = self.groups.named
    _ = await engine.patiently {
      _ = await mapConcurrently(groups, width: Self.traceWidth) { await $0.saveTrace(atEnd: atEnd) }
    }
  }

  /// Keeps what the next mount with an empty cache should ask for first; at the end. What the store does
  /// not take soon is lost.
  public func saveStartHint() async {
    _ = await engine.patiently { await self.engine.saveStartHint(self.groups.named) }
  }

  /// The loaded group that holds a path under the mount, or that is loaded for it.
  public func group(at name: FileName) async throws(RegionError) -> Group {
    try await find(name).group
  }
}
