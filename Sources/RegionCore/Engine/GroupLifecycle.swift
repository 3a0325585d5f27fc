import Glibc

/// Why a group could not be opened or made.
public enum GroupError: Error, Sendable, CustomStringConvertible {
  case remote(RemoteError)
  case local(LocalError)
  /// The log in the cache is damaged: a person has to decide.
  case log(String)

  /// One line with object or file, cause and remedy.
  public var description: String {
    switch self {
    case .remote(let error): error.description
    case .local(let error): error.description
    case .log(let text): text
    }
  }
}

/// Making, opening, ending.
extension Group {
  /// Makes a group with one inode, its top, and claims it.
  public static func create(
    _ engine: EngineContext, cacheDirectory: String, bootID: Random128, kind: InodeKind,
    mode: UInt16, uid: UInt32, gid: UInt32, target: [UInt8] = []
  ) async throws(GroupError) -> Group {
    let id = engine.freshID()
    let objects = GroupObjects(group: id, engine: engine, cacheDirectory: cacheDirectory)
    let root = Root(
      group: id, geometry: engine.settings.geometry, claim: .held(engine.writer),
      holder: engine.settings.holder, nonce: engine.freshID(), log: .zero, time: engine.clock.wall)
    let group: Group
    do throws(RemoteError) {
      let etag = try await objects.createRoot(root)
      group = try make(objects, root, etag, Namespace(nextFileID: 2), cacheDirectory, bootID)
    } catch {
      throw .remote(error)
    }
    if let error = group.beginWriting(root) { throw .local(error) }
    objects.keeping { () throws(LocalError) in try objects.copies?.keep(root) }
    let top = Inode(
      id: Namespace.top, parent: 0, name: nil, kind: kind, mode: mode, uid: uid, gid: gid,
      time: engine.clock.wall, target: target)
    do throws(RegionError) {
      try group.edit { (_, _) throws(RegionError) in ((), [.set(top)]) }
    } catch {
      throw .log("cannot log the first change of a new group: \(error)")
    }
    // Not before: a clean group may be given back at once.
    group.startPusher()
    return group
  }

  /// Opens a group: reads its tree, and replays what the cache holds of uncommitted changes.
  public static func load(
    _ id: GroupID, _ engine: EngineContext, cacheDirectory: String, bootID: Random128,
    kind: InodeKind
  ) async throws(GroupError) -> Group {
    let objects = GroupObjects(group: id, engine: engine, cacheDirectory: cacheDirectory)
    let group: Group
    do throws(RemoteError) {
      let (root, info) = try await objects.rootOrCopy()
      let tree = try await TreeLoader(objects: objects).load(root)
      var namespace = tree.namespace
      namespace.addMissingTop(kind, at: root.committedAt)
      group = try make(
        objects, root, info?.etag ?? ETag(""), namespace, cacheDirectory, bootID, asOf: info?.asOf)
      if info != nil { group.keepCopy(root, tree) }
      group.map.reset(to: tree.index, tables: tree.tables)
      group.state.withLock {
        $0.tail = TailChanges(root: root, tables: tree.tables, geometry: root.geometry)
        $0.isVerified = info != nil
      }
    } catch {
      throw .remote(error)
    }
    try await group.recover()
    if !group.isVerified { engine.executor.spawn { await group.verifyUntilKnown() } }
    return group
  }

  static func make(
    _ objects: GroupObjects, _ root: Root, _ etag: ETag, _ namespace: Namespace,
    _ cacheDirectory: String, _ bootID: Random128, asOf: MonotonicTime? = nil
  ) throws(RemoteError) -> Group {
    let cache: GroupCache
    do throws(LocalError) {
      cache = try GroupCache(
        group: root.group, cacheDirectory: cacheDirectory, disk: objects.engine.disk,
        dormant: objects.engine.cacheBudget.dormant)
    } catch {
      throw .store(
        StoreError(
          error.isOutOfSpace ? .outOfSpace : .io, operation: "open", object: error.path,
          detail: "cache directory: \(error)"))
    }
    let state = State(
      root: root, etag: etag, checkedAt: asOf ?? objects.engine.clock.now, namespace: namespace,
      lastCommitAt: root.commit.number > 0 ? root.committedAt : nil)
    return Group(
      id: root.group, engine: objects.engine, objects: objects, cache: cache, bootID: bootID,
      map: RemoteMap(objects: objects, geometry: root.geometry), state: state)
  }

  /// Becomes the writer of the epoch that `root` holds, with a new log.
  private func beginWriting(_ root: Root) -> LocalError? {
    if let error = prepareLog() ?? beginLog(root) {
      return LocalError("open", path: cache.logDirectory, code: error == .noSpace ? ENOSPC : EIO)
    }
    state.withLock { $0.role = .writer }
    return nil
  }

  // MARK: Recovery

  /// Looks at the log that the cache holds: committed records are passed over; the rest is replayed
  /// if nobody else has written since, and set aside otherwise.
  private func recover() async throws(GroupError) {
    let recovered: RecoveredLog?
    do throws(LogRecoveryError) {
      let (log, cut) = state.withLock { ($0.root.log, $0.root.cut) }
      recovered = try WriteLog.recover(
        in: cache.logDirectory, on: cache.disk, boot: bootID.low, committed: (log, cut),
        continues: isVerified)
    } catch {
      throw .log("\(error). Nothing was discarded; move the file away to go on without its changes")
    }
    guard let recovered else { return try checkLogIsNotLost() }
    let log = recovered.log
    if recovered.tornBytes > 0 {
      engine.log(.info, "\(log.directory): cut off a torn record of \(recovered.tornBytes) bytes")
    }
    let root = state.withLock { $0.root }
    let isOurs = root.log == log.header.log
    let mayReplay =
      log.header.writer == engine.writer && log.header.epoch == root.epoch
      && root.claim == .held(engine.writer) && (isOurs || root.commit == log.header.base)
    let base = mayReplay ? Base(root, of: log) : await base(of: log, root)
    let isGapless = log.header.firstSequence <= base.cut + 1
    log.entries.removeAll { $0.sequence <= base.cut }
    let fitsCopy = mayReplay && isGapless && recovered.isWhole
    if !isVerified, !fitsCopy, !engine.settings.isReadOnly {
      // Only the store can tell what became of the log: the copy of the root is older than it, or the
      // host lost the log's end, of which the store may have more than the copy knows. New records
      // must not get the numbers of those.
      if log.entries.isEmpty { return }
      throw .remote(
        .store(
          StoreError(
            .unavailable, operation: "GET", object: objects.address(objects.rootKey),
            detail: "the cache's copy does not fit the log, and the store does not answer")))
    }
    do throws(LocalError) {
      if log.lastSequence < base.cut {
        // Committed from memory, and lost with the host's power: what the log would append now would
        // count as committed. Nothing of it is needed; the next change begins another one.
        try cache.disk.removeFiles(in: cache.logDirectory)
        try cache.removeFiles()
      } else if mayReplay, !engine.settings.isReadOnly {
        try replay(log, base.cut)
      } else if log.entries.isEmpty {
        try cache.disk.removeFiles(in: cache.logDirectory)
      } else {
        // The cached bytes have the changes that the group will not have.
        try cache.removeDurably(Set(log.entries.compactMap(\.record.dataFile)))
        if engine.settings.isReadOnly { return }
        try setAside(
          log, log.entries, base, reason: "group was written by \(root.holder.printable) since")
      }
    } catch {
      throw .local(error)
    }
  }

  /// A claim of ours without a log: it was moved away, or never begun. The cached bytes may have
  /// changes that only it knew of.
  private func checkLogIsNotLost() throws(GroupError) {
    guard state.withLock({ $0.root.claim == .held(engine.writer) }) else { return }
    do throws(LocalError) { try cache.removeFiles() } catch { throw .local(error) }
  }

  /// Applies the records again (they may have been applied or not) and goes on as the writer.
  private func replay(_ log: WriteLog, _ cut: SequenceNumber) throws(LocalError) {
    var bytes: UInt64 = 0
    try state.withLock { (state) throws(LocalError) in
      for entry in log.entries {
        bytes += UInt64(entry.length)
        state.push.noteAppended(
          bytes: entry.length, file: entry.record.dataFile, at: engine.clock.now)
        for id in InodeFold.touched(by: entry.record) where state.before[id] == nil {
          state.before[id] = .some(state.namespace[id])
        }
        try replay(entry, &state)
      }
      state.log = log
      state.role = .writer
      state.sync.committed = cut
    }
    if !log.entries.isEmpty {
      engine.log(.info, "group \(id): replayed \(log.entries.count) changes (\(bytes) bytes)")
    }
    startPusher()
  }

  func replay(_ entry: LogEntry, _ state: inout State) throws(LocalError) {
    switch entry.record {
    case .names(let changes):
      for change in changes {
        if case .remove(let file) = change {
          state.regions.removeValue(forKey: file)?.region.close()
          try cache.remove(file)
        }
        state.namespace.apply(change)
      }
    case .data(let record):
      guard let inode = state.namespace[record.file] else { return }
      let region: Region
      do throws(RegionError) {
        region = try self.region(of: inode, &state)
      } catch {
        throw LocalError("open", path: cache.dataPath(record.file), code: EIO)
      }
      let length = Int(record.payloadPages) << Int(Geometry.pageShift)
      let buffer = IOBuffer(capacity: length)
      buffer.count = length
      if let payload = entry.payload {
        let count = try unsafe payload.file.read(
          into: buffer.memory.prefixBytes(length), at: payload.offset)
        guard count == length else { throw LocalError("pread", path: payload.file.path, code: EIO) }
      }
      region.noteUncommitted(record, entry.sequence)
      try unsafe region.apply(record, buffer.bytes)
      state.namespace.update(record.file) { $0.note(record) }
    }
  }

  // MARK: The end

  /// Commits everything and gives the claim back; returns when that is done, however long the store
  /// takes. Returns false if there are changes that can no longer be committed from here.
  public func drain() async -> Bool {
    while true {
      let isDone = state.withLock { state -> Bool? in
        switch state.role {
        case .follower: return true
        case .stopped: return state.bytesToCommit == 0
        case .writer, .claiming:
          state.push.isDraining = true
          return nil
        }
      }
      if let isDone { return isDone }
      pushSignal.signal()
      await engine.clock.sleep(for: .milliseconds(20))
    }
  }

  /// Stops as a killed daemon does: nothing is drained, noted or closed in order. For tests, which
  /// load the group again from what is in the cache.
  func crash() {
    let waiters = state.withLock { state in
      defer { state.sync.durableWaiters = [] }
      return state.sync.durableWaiters.map(\.completion)
    }
    for waiter in waiters { waiter(.io) }
    let regions = state.withLock { state in
      stop(.io, reason: "it crashed", &state)
      state.log = nil
      defer { state.regions = [:] }
      return state.regions.sorted { $0.key < $1.key }.map(\.value.region)
    }
    for region in regions { region.close() }
    pushSignal.signal()
  }

  /// Fails every parked read, so that the session can end.
  public func failParked() {
    for region in state.withLock({ $0.regions.values.map(\.region) }) { region.close() }
  }

  /// Closes the cached regions after the mount's end and makes their bytes durable, so that the next
  /// mount finds them warm.
  public func closeRegions() {
    let (regions, commit, log) = state.withLock { state in
      defer { state.regions = [:] }
      let regions = state.regions.sorted { $0.key < $1.key }.map(\.value.region)
      return (regions, state.root.commit, state.log?.takeUnsynced() ?? [])
    }
    var synced = true
    do throws(LocalError) {
      // Durable bytes of changes that are not durable themselves would be taken for committed ones.
      for file in log { try file.syncData() }
      try cache.syncNames()
    } catch {
      engine.log(.warning, "\(error)")
      synced = false
    }
    objects.keeping { () throws(LocalError) in try objects.copies?.sync() }
    for region in regions { retire(region, commit, synced: synced) }
  }

  /// The group lost its name: what is open stays readable, nothing more is pushed, and the cache
  /// goes with the last close.
  public func abandon() {
    state.withLock { state in
      stop(.notFound, reason: "it was removed", &state)
      state.isAbandoned = true
    }
  }

  /// Removes the group's cache after the last use.
  public func removeCache() throws(LocalError) { try cache.removeAll() }
}
