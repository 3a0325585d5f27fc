/// What the kernel may have of an open file that another writer's commit made old.
public struct StalePages: Sendable {
  /// The file's region, which has the new bytes or knows that it lacks them.
  let region: Region
  /// Its path in the group, for those who have to touch it; nil if it has none.
  public let path: [FileName]?
  /// The bytes, in order and apart; nothing beyond the old and the new end.
  public let ranges: [Range<UInt64>]
  /// The file got longer or shorter.
  public let isResized: Bool

  /// The file's number in its group.
  public var file: FileID { region.file }

  /// Whether a read waits for bytes of `range`: its pages are locked, and the kernel would wait for
  /// them.
  public func isAwaited(_ range: Range<UInt64>) -> Bool { region.isAwaited(range) }
}

extension Region {
  /// Whether a read waits for any chunk of these bytes.
  func isAwaited(_ bytes: Range<UInt64>) -> Bool {
    let chunks = geometry.chunks(touching: bytes)
    return state.withLock { $0.machine.isAwaited(chunks) }
  }
}

extension Group {
  /// Looks for a newer commit if files of the group are open here and another mount may write it.
  /// Once at a time: a store that is away is not asked more often than it answers.
  public func follow() async {
    let isDue = state.withLock { state -> Bool in
      guard case .follower = state.role, !state.isFollowing,
        state.regions.contains(where: { $0.value.opens > 0 })
      else { return false }
      state.isFollowing = true
      return true
    }
    guard isDue else { return }
    await refreshNow()
    state.withLock { $0.isFollowing = false }
  }
}
