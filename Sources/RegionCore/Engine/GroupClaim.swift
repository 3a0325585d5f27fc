import Glibc

/// Ownership: claiming before the first change, adopting what others committed, giving back.
extension Group {
  /// Makes this daemon the group's writer; returns at once if it is. Another writer's claim is
  /// `.busy`, unless the mount was made with `takeover` or the caller asks for it.
  public func claim(takeover: Bool = false) async throws(RegionError) {
    do throws(RegionError) {
      return try await claimOnce(takeover: takeover)
    } catch {
      guard case .busy = error, takeover else { throw error }
    }
    // Perhaps somebody's attempt without takeover was under way, and this one waited for it.
    try await claimOnce(takeover: takeover)
  }

  private func claimOnce(takeover: Bool) async throws(RegionError) {
    enum Next { case done, wait, start }
    let result = await withCheckedContinuation {
      (continuation: CheckedContinuation<RegionError?, Never>) in
      let next: Result<Next, RegionError> = state.withLock { state in
        if engine.settings.isReadOnly { return .failure(.readOnly) }
        switch state.role {
        case .writer: return .success(.done)
        case .stopped where state.isAbandoned: return .success(.done)
        case .stopped(let error, _): return .failure(error)
        case .claiming(let waiters):
          state.role = .claiming(waiters + [{ continuation.resume(returning: $0) }])
          return .success(.wait)
        case .follower:
          state.role = .claiming([{ continuation.resume(returning: $0) }])
          return .success(.start)
        }
      }
      switch next {
      case .failure(let error): continuation.resume(returning: error)
      case .success(.done): continuation.resume(returning: nil)
      case .success(.wait): break
      case .success(.start):
        engine.executor.spawn {
          self.endClaim(await self.attemptClaim(takeover || self.engine.settings.takeover))
        }
      }
    }
    if let result { throw result }
  }

  /// Makes this daemon the group's writer, whoever is. Returns who was in words; nil if nobody else.
  public func takeOver() async throws(RegionError) -> String? {
    state.withLock { $0.takenFrom = nil }
    try await claim(takeover: true)
    return state.withLock { $0.takenFrom }
  }

  private func endClaim(_ error: RegionError?) {
    let waiters = state.withLock { state -> [@Sendable (RegionError?) -> Void] in
      guard case .claiming(let waiters) = state.role else { return [] }
      state.role = error == nil ? .writer : .follower
      return waiters
    }
    if error == nil { startPusher() }
    for waiter in waiters { waiter(error) }
  }

  /// How often a claim is tried while another writer's commits come in between.
  private static let claimAttempts = 16

  private func attemptClaim(_ takesOver: Bool) async -> RegionError? {
    var (holder, holding) = ("", WriterID?.none)
    do throws(RemoteError) {
      async let prepared = prepareLog()
      // What is known is enough to try: a swap takes place on the newest root only.
      var known = state.withLock { $0.claimable(by: engine.writer) }
      for _ in 0..<Self.claimAttempts {
        let (old, etag) =
          if let root = known.take() { root } else { try await objects.root() }
        holding = nil
        if case .held(let writer) = old.claim, writer != engine.writer {
          (holder, holding) = (old.holder, writer)
          guard takesOver else { throw .heldByOther(holder: holder) }
          // Before the claim is taken: from here its writer's changes can be saved.
          try await objects.keepFenced(old)
        }
        var new = old
        new.epoch += 1
        new.claim = .held(engine.writer)
        new.holder = engine.settings.holder
        switch try await objects.swapRoot(from: old, etag, to: new) {
        case .lost(let current, let etag):
          holder = current.holder
          known = (current, etag)
        case .done(let etag):
          objects.keeping { () throws(LocalError) in try objects.copies?.keep(new) }
          // No page may be dirtied before the kernel has forgotten the old ones: it would be written
          // back over another writer's commit.
          await forget(try await adopt(new, etag, claiming: true))
          // Also those of a look for commits that adopted this root just before.
          await everythingForgotten()
          if holding != nil {
            state.withLock { $0.takenFrom = holder.printable }
            engine.log(.info, "group \(id): took the claim over from \(holder.printable)")
          }
          return await prepared ?? beginLog(new)
        }
      }
      throw .heldByOther(holder: holder)
    } catch {
      guard case .heldByOther(let holder) = error else {
        engine.log(.error, "cannot claim group \(id) for writing: \(error)")
        return .io
      }
      await logBusy(holder, holding)
      return .busy(holder: holder)
    }
  }

  /// Says who writes the group, and whether it has been heard of lately.
  private func logBusy(_ holder: String, _ writer: WriterID?) async {
    let words = await MountRecords(engine: engine).words(writer)
    engine.log(
      .warning,
      "group \(id) cannot be written here: \(holder.printable) writes it (\(words)). Unmount it "
        + "there; if that daemon is gone for good, use regionfs takeover or mount with -o takeover")
  }

  /// Makes durable what a log's beginning rests on, while the store is asked: that its directory is
  /// there, and that the files of an older log are gone, none of which may stand beside its own.
  func prepareLog() -> RegionError? {
    do throws(LocalError) {
      try cache.makeDurable()
      try cache.disk.syncDirectory(cache.logDirectory)
      return nil
    } catch {
      return noLog(error)
    }
  }

  private func noLog(_ error: LocalError) -> RegionError {
    engine.log(.error, "cannot begin a write log: \(error)")
    return error.isOutOfSpace ? .noSpace : .io
  }

  /// Starts the log of a new epoch, which was prepared. Nothing uncommitted is in the cache.
  func beginLog(_ root: Root) -> RegionError? {
    do throws(LocalError) {
      try cache.disk.removeFiles(in: cache.logDirectory)
      let log = engine.freshID()
      var header = LogFileHeader(
        group: id, epoch: root.epoch, writer: engine.writer, log: log, base: root.commit, index: 0,
        firstSequence: 1, chain: LogCodec.initialChain(of: log))
      header.boot = bootID.low
      let former = try cache.lineage()
      let since =
        former.flatMap { $0.until == root.commit && $0.writer == engine.writer ? $0.since : nil }
        ?? root.commit
      // The lineage comes first: without it a crash would only cost the cache's warmth. A power loss
      // costs that anyway.
      try cache.setLineage(
        Lineage(since: since, until: root.commit, log: log, writer: engine.writer), durably: false)
      let writeLog = try WriteLog(
        directory: cache.logDirectory, header: header, on: cache.disk)
      state.withLock { state in
        state.log = writeLog
        state.sync = SyncState()
        state.push = PushState()
        // Its numbers begin anew; of the last one nothing is uncommitted.
        noteCommitted(through: .max, state)
        state.before = [:]
      }
      return nil
    } catch {
      return noLog(error)
    }
  }

  // MARK: Following

  /// Asks for the newest root if what is known is older than `maxAge`. A writer knows. Errors are
  /// left to the reads that need the store; where it does not answer soon, what is known stands.
  public func refresh(maxAge: Duration) async {
    let isDue = state.withLock { state -> Bool in
      guard case .follower = state.role else { return false }
      return engine.clock.now.since(state.checkedAt) >= maxAge
    }
    guard isDue else { return }
    _ = await engine.patiently { await self.refreshNow() }
  }

  func refreshNow() async {
    do throws(RemoteError) {
      let (root, etag) = try await objects.root()
      let stale = try await adopt(root, etag, claiming: false)
      // Not awaited: a read that waits for this refresh may be what the kernel waits for.
      engine.executor.spawn { await self.forget(stale) }
    } catch {
      engine.log(.warning, "cannot look for newer commits of group \(id): \(error)")
    }
  }

  /// Takes over a root that may have commits of others: new tree, and what is old in the cache goes.
  ///
  /// A follower that looks for commits (`claiming` false) loses against a claim that began meanwhile:
  /// what it read may be older than what the claim adopted. Returns what the caller must `forget`.
  func adopt(_ root: Root, _ etag: ETag, claiming: Bool) async throws(RemoteError) -> [StalePages] {
    let isKnown = state.withLock { state in
      root.commit == state.root.commit && root.checkpoint == state.root.checkpoint
    }
    let tree = isKnown ? nil : try await TreeLoader(objects: objects).load(root)
    if let tree { keepCopy(root, tree) }
    return state.withLock { state in
      guard mayAdopt(root, state, claiming) else { return [] }
      let stale = tree.map { adopt($0, of: root, &state) } ?? []
      state.root = root
      state.etag = etag
      state.isVerified = true
      state.checkedAt = engine.clock.now
      if !stale.isEmpty { state.forgetting.underWay += 1 }
      return stale
    }
  }

  /// Keeps a copy of a root whose tree was loaded, so that all it refers to is in the cache. Before
  /// the cached chunks follow it: a copy that is older than they are would not know what is old.
  func keepCopy(_ root: Root, _ tree: TreeLoader.Tree) {
    objects.keeping { () throws(LocalError) in
      try objects.copies?.keep(root)
      try objects.copies?.retain(root.pieceNames(tree.index))
    }
  }

  private func adopt(_ tree: TreeLoader.Tree, of root: Root, _ state: inout State) -> [StalePages] {
    let old = state.root
    // Files that others removed while they are open here: what they had stays readable.
    for (file, open) in state.regions
    where open.opens > 0 && tree.namespace[file] == nil && state.unlinked[file] == nil {
      state.unlinked[file] = state.namespace[file]
      open.region.keepAll(true)
    }
    map.reset(to: tree.index, tables: tree.tables, keeping: state.orphans)
    state.tail = TailChanges(root: root, tables: tree.tables, geometry: geometry)
    state.namespace = tree.namespace
    state.generation += 1
    let isContinued = root.contains(old.commit)
    for (file, open) in state.regions.sorted(by: { $0.key < $1.key })
    where tree.namespace[file] == nil && open.opens == 0 {
      open.region.close()
      state.regions[file] = nil
    }
    var stale = closedFilesChanged(since: isContinued ? old.commit : nil, state)
    for (file, open) in state.regions.sorted(by: { $0.key < $1.key })
    where state.unlinked[file] == nil {
      let changed =
        (isContinued ? state.tail.ranges(of: file, after: old.commit.number) : nil)
        ?? [0..<Limits.regionSize >> geometry.chunkShift]
      drop(changed, of: open.region)
      let oldSize = open.region.size
      follow(open.region, state)
      guard open.opens > 0 else { continue }
      let end = max(oldSize, open.region.size)
      let pages = StalePages(
        file: file, region: open.region, path: state.namespace.path(of: file),
        ranges: geometry.bytes(of: RangeSet(changed), end: end),
        isResized: oldSize != open.region.size)
      if pages.isResized || !pages.ranges.isEmpty { stale.append(pages) }
    }
    return stale
  }

  private func mayAdopt(_ root: Root, _ state: borrowing State, _ claiming: Bool) -> Bool {
    guard root.epoch >= state.root.epoch, root.commit.number >= state.root.commit.number else {
      return false
    }
    switch state.role {
    case .follower: return !claiming
    case .claiming: return claiming
    case .writer, .stopped: return false
    }
  }

  private func drop(_ changed: [Range<ChunkIndex>], of region: Region) {
    do throws(LocalError) {
      for range in changed { try region.invalidate(range) }
    } catch {
      engine.log(.error, "cannot drop old bytes of \(region.name): \(error)")
    }
  }

  private func follow(_ region: Region, _ state: borrowing State) {
    guard let inode = state.namespace[region.file] else { return }
    do throws(LocalError) {
      try region.resize(to: inode.size)
    } catch {
      engine.log(.error, "\(error)")
    }
  }

  // MARK: Giving back

  /// Gives the claim back; nothing is uncommitted. Returns whether that worked.
  func release() async -> Bool {
    let (old, etag) = state.withLock { ($0.root, $0.etag) }
    var new = old
    new.claim = .free
    do throws(RemoteError) {
      switch try await objects.swapRoot(from: old, etag, to: new) {
      case .done(let etag):
        objects.keeping { () throws(LocalError) in try objects.copies?.keep(new) }
        endLog(new, etag)
        return true
      case .lost(let current, let currentTag):
        if isPredecessor(current) {
          _ = await adoptPredecessor(current, currentTag)
          return false
        }
        // Nothing is uncommitted, and nobody may change anything meanwhile.
        let isClean = state.withLock { $0.hasNothingToLose }
        if isClean { endLog(old, etag) } else { loseClaim(to: current) }
        return true
      }
    } catch {
      engine.log(.warning, "cannot give the claim of group \(id) back yet: \(error)")
      return false
    }
  }

  func endLog(_ root: Root, _ etag: ETag) {
    let (directory, log, waiters) = state.withLock { state in
      state.root = root
      state.etag = etag
      state.checkedAt = engine.clock.now
      defer {
        state.log = nil
        state.sync.durableWaiters = []
      }
      return (
        state.log?.directory, state.log?.header.log, state.sync.durableWaiters.map(\.completion)
      )
    }
    // What is committed need not be on this disk any more.
    for waiter in waiters { waiter(nil) }
    guard let directory, let log else { return }
    do throws(LocalError) {
      if let lineage = try cache.lineage(), lineage.log == log {
        try cache.setLineage(
          Lineage(since: lineage.since, until: root.commit, log: log, writer: lineage.writer))
      }
      try cache.disk.removeFiles(in: directory)
    } catch {
      engine.log(.warning, "\(error)")
    }
  }
}

extension Group.State {
  /// The root as far as it is known here, unless a claim needs a newer one: the holder of another
  /// claim may have given it back, and a copy of the cache has no version.
  func claimable(by writer: WriterID) -> (Root, ETag)? {
    if case .held(let holder) = root.claim, holder != writer { return nil }
    return isVerified ? (root, etag) : nil
  }
}

extension TailChanges {
  /// The changes that a root's tail makes.
  init(root: Root, tables: [SegmentTable], geometry: Geometry) {
    self.init(after: root.checkpoint?.commit.number ?? 0)
    for table in tables { note(table, geometry: geometry) }
  }
}
