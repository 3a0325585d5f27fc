/// A group that was opened from the cache's copy of its root goes on with what the store has, once
/// that answers.
extension Group {
  /// Whether the root is one that the store has shown.
  public var isVerified: Bool { state.withLock { $0.isVerified } }

  /// Asks the store until it has answered.
  func verifyUntilKnown() async {
    var backoff = Backoff(longest: .seconds(2))
    while true {
      let isOver = state.withLock { state in
        if case .stopped = state.role { return true }
        return state.isVerified
      }
      if isOver { return pushSignal.signal() }
      do throws(RemoteError) {
        if try await verify() {
          engine.log(.info, "group \(id): the store answers, its root is verified")
        }
      } catch {
        engine.log(.debug, "cannot verify group \(id) yet: \(error)")
        await engine.clock.sleep(for: backoff.next(engine))
      }
    }
  }

  /// Compares the root with the store's and takes that over. Returns whether it was usable.
  private func verify() async throws(RemoteError) -> Bool {
    try await engine.requireChecked(objects.rootKey)
    let root: Root
    let etag: ETag
    do throws(RemoteError) {
      (root, etag) = try await objects.root()
    } catch {
      guard error.isNotFound else { throw error }
      state.withLock { stop(.stale, reason: "the store has no such group any more", &$0) }
      return false
    }
    enum Next { case adopt, rebase, lost, wait }
    let next = state.withLock { state -> Next in
      let isOlder =
        (root.epoch, root.commit.number) < (state.root.epoch, state.root.commit.number)
      if isOlder { return .lost }
      switch state.role {
      case .writer: return mayGoOn(root, state) ? .rebase : .lost
      case .follower: return .adopt
      // The claim reads the root by itself.
      case .claiming, .stopped: return .wait
      }
    }
    switch next {
    case .adopt: await forget(try await adopt(root, etag, claiming: false))
    case .rebase: try await rebase(onto: root, etag)
    case .lost:
      loseClaim(to: root)
      return false
    case .wait:
      await engine.clock.sleep(for: .milliseconds(100))
      return false
    }
    return true
  }

  /// Whether `root` is still this log's claim, with commits of this log only since the copy.
  private func mayGoOn(_ root: Root, _ state: borrowing State) -> Bool {
    guard let log = state.log else { return false }
    return root.epoch == state.root.epoch && root.claim == .held(engine.writer)
      && (root.commit == state.root.commit || root.log == log.header.log)
  }

  /// The store has commits of this group's own log that the copy did not know of: they are not
  /// uncommitted any more. What the group looks like does not change by that.
  private func rebase(onto root: Root, _ etag: ETag) async throws(RemoteError) {
    let tree = try await TreeLoader(objects: objects).load(root)
    keepCopy(root, tree)
    let (ready, room) = state.withLock { state -> Adopted in
      guard case .writer = state.role, !state.isVerified else { return ([], []) }
      return goOn(from: tree, of: root, etag, &state)
    }
    for completion in ready { completion(nil) }
    for retry in room { retry() }
    pushSignal.signal()
  }
}
