/// What becomes of a writer whose root was replaced by somebody else: a former daemon of the same
/// cache, whose last request came late, or another writer that took the claim over.
extension Group {
  // MARK: A late request of a former daemon

  /// Whether a root that is not the one expected was written by a former daemon of this cache in the
  /// same claim: it was killed with the request under way. Its log is this one's beginning.
  func isPredecessor(_ root: Root) -> Bool {
    state.withLock { state in
      guard let log = state.log else { return false }
      let isOurs = root.log == log.header.log && root.cut < log.nextSequence
      return root.epoch == state.root.epoch && root.claim == .held(engine.writer)
        && (isOurs || root.commit == log.header.base)
        && root.commit.number >= state.root.commit.number
    }
  }

  /// Goes on from a predecessor's root: what it committed leaves the log, the rest is sealed anew.
  /// Nothing of what readers see changes, for it was applied when the log was replayed. Returns
  /// whether that worked.
  func adoptPredecessor(_ root: Root, _ etag: ETag) async -> Bool {
    let tree: TreeLoader.Tree
    do throws(RemoteError) {
      tree = try await TreeLoader(objects: objects).load(root)
    } catch {
      engine.log(.warning, "cannot read commit \(root.commit.number) of group \(id): \(error)")
      return false
    }
    // Before the log lets go of what this root holds.
    keepCopy(root, tree)
    let (ready, room) = state.withLock { state -> Adopted in
      switch state.role {
      case .writer, .claiming: break
      case .follower, .stopped: return ([], [])
      }
      return goOn(from: tree, of: root, etag, &state)
    }
    for completion in ready { completion(nil) }
    for retry in room { retry() }
    engine.log(
      .info,
      "group \(id): a former daemon of this cache had made commit \(root.commit.number); going on")
    return true
  }

  /// Who waited for commits that are made, and who waited for room in the log.
  typealias Adopted = (
    ready: [@Sendable (RegionError?) -> Void], room: [@Sendable () -> Void]
  )

  /// Takes over a root with commits of this group's own log that were not known here: they are not
  /// uncommitted any more. What the group looks like does not change by that.
  func goOn(
    from tree: TreeLoader.Tree, of root: Root, _ etag: ETag, _ state: inout State
  ) -> Adopted {
    guard let log = state.log else { return ([], []) }
    let cut = root.log == log.header.log ? root.cut : 0
    log.entries = (state.sealedEntries + log.entries).filter { $0.sequence > cut }
    state.sealed = nil
    state.sealedEntries = []
    state.pendingSwap = nil
    state.collected = []
    state.root = root
    state.etag = etag
    state.isVerified = true
    state.checkedAt = engine.clock.now
    if root.commit.number > 0 { state.lastCommitAt = root.committedAt }
    map.reset(to: tree.index, tables: tree.tables, keeping: state.orphans)
    state.tail = TailChanges(root: root, tables: tree.tables, geometry: geometry)
    state.before = [:]
    state.push.restart()
    for entry in log.entries {
      for id in InodeFold.touched(by: entry.record) where state.before[id] == nil {
        state.before[id] = .some(tree.namespace[id])
      }
      state.push.noteAppended(
        bytes: entry.length, file: entry.record.dataFile, at: engine.clock.now)
    }
    state.sync.committed = max(state.sync.committed, cut)
    noteCommitted(through: cut, state)
    do throws(LocalError) {
      try log.drop(through: cut)
    } catch {
      engine.log(.warning, "cannot drop committed log files: \(error)")
    }
    defer { state.spaceWaiters = [] }
    return (SyncState.take(&state.sync.commitWaiters, through: cut), state.spaceWaiters)
  }

  // MARK: A claim that was taken over

  /// The root has a higher epoch: nothing more can be committed from here. Where nothing is lost by
  /// it the group is followed from now on; else it stops, and its log stays.
  func loseClaim(to root: Root) {
    let isClean = state.withLock { state -> Bool in
      // A follower has no claim to lose: the store's root is older than what was seen of it.
      let isFollower = if case .follower = state.role { true } else { false }
      if mayBeginToFollow(state), !isFollower {
        state.beginFollowing()
        return true
      }
      stop(
        .stale,
        reason: "its claim was taken over by \(root.holder.printable) (epoch \(root.epoch)); "
          + "uncommitted changes stay in \(cache.logDirectory)", &state)
      return false
    }
    guard isClean else { return }
    engine.log(
      .warning,
      "group \(id): the claim was taken over by \(root.holder.printable) (epoch \(root.epoch)); "
        + "everything accepted here had been committed")
    engine.executor.spawn { await self.becomeFollower() }
  }

  /// The last file that was open for writing is closed, and everything accepted is committed: the
  /// group need not stay stopped.
  func endStaleness() {
    let mayFollow = state.withLock { state -> Bool in
      guard case .stopped(.stale, _) = state.role, mayBeginToFollow(state) else { return false }
      state.beginFollowing()
      state.lastError = nil
      return true
    }
    guard mayFollow else { return }
    engine.log(.info, "group \(id): nothing here is uncommitted any more; following its writer")
    engine.executor.spawn { await self.becomeFollower() }
  }

  /// Nothing would be lost if this daemon stopped writing now, and what readers see may change.
  func mayBeginToFollow(_ state: borrowing State) -> Bool {
    !engine.settings.keepsClaims && state.hasNothingToLose
  }

  /// Ends the log of a claim that is gone, of which everything is committed, and looks for news.
  private func becomeFollower() async {
    let (root, etag) = state.withLock { state in
      keepAll(false, state)
      return (state.root, state.etag)
    }
    endLog(root, etag)
    let waiters = state.withLock { state -> [@Sendable (RegionError?) -> Void] in
      guard case .claiming(let waiters) = state.role else { return [] }
      state.role = .follower
      return waiters
    }
    await refresh(maxAge: .zero)
    claimAgain(waiters)
  }
}

extension Group.State {
  /// Nothing would be lost if this daemon stopped writing now: everything accepted is committed, and
  /// no mapping can hand over more.
  var hasNothingToLose: Bool {
    push.uncommittedBytes == 0 && sealed == nil && pendingSwap == nil && !isAbandoned
      && !regions.values.contains { $0.writableOpens > 0 }
  }

  /// No change is accepted until the role is `follower`.
  mutating func beginFollowing() {
    if case .claiming = role { return }
    role = .claiming([])
  }
}

extension Root {
  /// Whether the commit is the newest or among the last ones before it.
  func contains(_ commit: CommitID) -> Bool { self.commit == commit || history.contains(commit) }
}

extension String {
  /// Words of others for a line of the log: what could break the line or hide text is left out.
  var printable: String {
    String(
      String.UnicodeScalarView(
        unicodeScalars.filter { scalar in
          switch scalar.properties.generalCategory {
          case .control, .format, .lineSeparator, .paragraphSeparator: false
          default: true
          }
        }))
  }
}
