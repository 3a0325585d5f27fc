/// Durability: fsync waits for the log on disk, `sync=remote` and unmount for the commit.
extension Group {
  /// Calls `completion` when everything accepted so far is durable in the sense of the mount's
  /// `sync` option; with an error if it cannot be.
  public func sync(_ completion: @escaping @Sendable (RegionError?) -> Void) {
    switch engine.settings.sync {
    case .local: makeDurable(completion)
    case .remote:
      makeDurable { [self] error in
        if let error { return completion(error) }
        commit(completion)
      }
    }
  }

  /// Calls `completion` when everything accepted so far is on this host's disk. Several callers
  /// share one `fdatasync`.
  func makeDurable(_ completion: @escaping @Sendable (RegionError?) -> Void) {
    enum Next { case answer(RegionError?), wait, start }
    let next = state.withLock { state -> Next in
      if state.isAbandoned { return .answer(nil) }
      if case .stopped(let error, _) = state.role { return .answer(error) }
      guard let log = state.log, log.lastSequence > state.sync.durable else { return .answer(nil) }
      state.sync.durableWaiters.append((log.lastSequence, completion))
      if state.sync.isSyncing { return .wait }
      state.sync.isSyncing = true
      return .start
    }
    switch next {
    case .answer(let error): completion(error)
    case .wait: break
    case .start: engine.executor.spawn { self.syncUntilNobodyWaits() }
    }
  }

  private func syncUntilNobodyWaits() {
    while true {
      let (log, files, through) = state.withLock { state in
        (state.log, state.log?.takeUnsynced() ?? [], state.log?.lastSequence ?? 0)
      }
      do throws(LocalError) {
        for file in files { try file.syncData() }
      } catch {
        return syncFailed(error)
      }
      let (ready, goOn) = state.withLock { state -> ([@Sendable (RegionError?) -> Void], Bool) in
        // Another claim's log counts from 1 again and has a loop of its own: this sync says nothing
        // about its records.
        guard state.log === log else { return ([], false) }
        state.sync.durable = max(state.sync.durable, through)
        log?.synced = state.sync.durable
        let ready = SyncState.take(&state.sync.durableWaiters, through: state.sync.durable)
        let goOn = !state.sync.durableWaiters.isEmpty
        state.sync.isSyncing = goOn
        return (ready, goOn)
      }
      for completion in ready { completion(nil) }
      if !goOn { return }
    }
  }

  /// After a failed fdatasync nobody knows what is on the disk, and the kernel reports it only once:
  /// the group is read-only until it is mounted again.
  private func syncFailed(_ error: LocalError) {
    let waiters = state.withLock { state in
      stop(.io, reason: "a sync of the log failed: \(error)", &state)
      state.sync.isSyncing = false
      defer { state.sync.durableWaiters = [] }
      return state.sync.durableWaiters.map(\.completion)
    }
    for completion in waiters { completion(.io) }
  }

  /// Calls `completion` when everything accepted so far is committed.
  public func commit(_ completion: @escaping @Sendable (RegionError?) -> Void) {
    let answer = state.withLock { state -> RegionError?? in
      if state.isAbandoned { return .some(nil) }
      if case .stopped(let error, _) = state.role { return .some(error) }
      guard let log = state.log, log.lastSequence > state.sync.committed else { return .some(nil) }
      state.sync.commitWaiters.append((log.lastSequence, completion))
      state.push.wantsCommit = true
      return nil
    }
    if let answer { return completion(answer) }
    pushSignal.signal()
  }

  /// Ends all changes here: reads go on, changes and syncs answer `error`.
  func stop(_ error: RegionError, reason: String, _ state: inout State) {
    if case .stopped = state.role { return }
    var claimers: [@Sendable (RegionError?) -> Void] = []
    if case .claiming(let waiting) = state.role { claimers = waiting }
    state.role = .stopped(error, reason: reason)
    state.lastError = reason
    keepAll(true, state)
    engine.log(.error, "group \(id) is read-only until it is mounted again: \(reason)")
    let waiters = state.sync.commitWaiters.map(\.completion) + claimers
    state.sync.commitWaiters = []
    let parked = state.spaceWaiters
    state.spaceWaiters = []
    engine.executor.spawn {
      for completion in waiters { completion(error) }
      for retry in parked { retry() }
    }
  }
}
