/// What the kernel may have of a file that another writer's commit made old.
public struct StalePages: Sendable {
  /// The file's number in its group.
  public let file: FileID
  /// The open file's region, which has the new bytes or knows that it lacks them; nil for a closed
  /// file, of which everything is to go.
  let region: Region?
  /// Its path in the group, for those who have to touch it; nil if it has none.
  public let path: [FileName]?
  /// The bytes, in order and apart; nothing beyond the old and the new end.
  public let ranges: [Range<UInt64>]
  /// The open file got longer or shorter.
  public let isResized: Bool

  /// Everything that the kernel has of the file is to go.
  public var isWhole: Bool { region == nil }

  /// Whether a read waits for bytes of `range`: its pages are locked, and the kernel would wait for
  /// them.
  public func isAwaited(_ range: Range<UInt64>) -> Bool { region?.isAwaited(range) ?? false }
}

extension Region {
  /// Whether a read waits for any chunk of these bytes.
  func isAwaited(_ bytes: Range<UInt64>) -> Bool {
    let chunks = geometry.chunks(touching: bytes)
    return state.withLock { $0.machine.isAwaited(chunks) }
  }
}

/// Adoptions whose old pages the kernel may still have.
struct Forgetting {
  var underWay = 0
  /// Who waits until there are none.
  var waiters: [@Sendable () -> Void] = []
}

extension Group {
  /// Files that commits after `commit` changed (nil: all may have been) and that were open once, so
  /// that the kernel may have pages of them. It drops these when they are opened again; but where two
  /// open a file at once, one may be through before that and store into an old page.
  func closedFilesChanged(since commit: CommitID?, _ state: borrowing State) -> [StalePages] {
    let changed = commit.flatMap { state.tail.files(after: $0.number) } ?? Set(state.openedAt.keys)
    return changed.sorted().compactMap { file in
      let isOpen = state.regions[file].map { $0.opens > 0 } ?? false
      guard !isOpen, state.openedAt[file] != nil, state.namespace[file] != nil else { return nil }
      return StalePages(file: file, region: nil, path: nil, ranges: [], isResized: false)
    }
  }

  /// Waits until the kernel has forgotten old pages of one adoption.
  func forget(_ stale: [StalePages]) async {
    guard !stale.isEmpty else { return }
    if let forget = engine.forgetPages.withLock({ $0 }) { await forget(self, stale) }
    let waiters = state.withLock { state -> [@Sendable () -> Void] in
      state.forgetting.underWay -= 1
      guard state.forgetting.underWay == 0 else { return [] }
      defer { state.forgetting.waiters = [] }
      return state.forgetting.waiters
    }
    for waiter in waiters { waiter() }
  }

  /// Waits until the kernel has forgotten the old pages of every adoption so far.
  func everythingForgotten() async {
    await withCheckedContinuation { continuation in
      let isDone = state.withLock { state -> Bool in
        guard state.forgetting.underWay > 0 else { return true }
        state.forgetting.waiters.append { continuation.resume() }
        return false
      }
      if isDone { continuation.resume() }
    }
  }

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
