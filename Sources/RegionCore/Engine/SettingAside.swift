/// Setting a log aside that may not be replayed: by a mount that finds it, or by the daemon that lost
/// its claim when it ends.
extension Group {
  /// What a log's uncommitted records follow.
  struct Base {
    /// The root of that commit, if it is known.
    var root: Root?
    var commit: CommitID
    /// Records up to this one are in it.
    var cut: SequenceNumber

    /// A root that the log's own writer made or found.
    init(_ root: Root, of log: WriteLog) {
      self.root = root
      commit = root.commit
      cut = root.log == log.header.log ? root.cut : 0
    }

    /// Only what the log says of itself.
    init(beginning log: WriteLog) {
      commit = log.header.base
      cut = 0
    }
  }

  /// What a log follows that somebody else wrote after. The root from which its claim was taken says
  /// how much of it is committed.
  func base(of log: WriteLog, _ root: Root) async -> Base {
    let header = log.header
    if root.log == header.log { return Base(root, of: log) }
    guard root.epoch > header.epoch, isVerified else { return Base(beginning: log) }
    do throws(RemoteError) {
      if let fenced = try await objects.fencedRoot(header.epoch, of: header.writer) {
        return Base(fenced, of: log)
      }
    } catch {
      engine.log(.warning, "what log \(header.log) had committed is not known: \(error)")
    }
    return Base(beginning: log)
  }

  func setAside(_ log: WriteLog, _ entries: [LogEntry], _ base: Base, reason: String)
    throws(LocalError)
  {
    for file in log.takeUnsynced() { try file.syncData() }
    let aside = SetAsideLog(
      log.header, base: base.commit, cut: base.cut, entries: entries, reason: reason,
      since: engine.clock.wall, cache: cache)
    try cache.setLogAside(aside, base: base.root)
    engine.log(
      .error,
      "group \(id): the \(reason): \(aside.records) uncommitted changes (\(aside.bytes) bytes) were "
        + "set aside in \(aside.path), none was discarded; see regionfs recover")
  }

  /// Sets the log aside if the claim was lost with uncommitted changes; after `closeRegions`. The
  /// next mount would do it otherwise.
  public func setAsideIfLost() {
    typealias Lost = (log: WriteLog, entries: [LogEntry], base: Base)
    let lost = state.withLock { state -> Lost? in
      guard case .stopped(.stale, _) = state.role, !state.isAbandoned, let log = state.log else {
        return nil
      }
      let entries = state.sealedEntries + log.entries
      guard !entries.isEmpty else { return nil }
      state.log = nil
      return (log, entries, Base(state.root, of: log))
    }
    guard let lost else { return }
    do throws(LocalError) {
      try cache.removeDurably(Set(lost.entries.compactMap(\.record.dataFile)))
      try setAside(lost.log, lost.entries, lost.base, reason: "claim was taken over")
    } catch {
      engine.log(.warning, "the next mount sets the changes of group \(id) aside: \(error)")
    }
  }

  /// Says what the group is called, for those who look into the cache.
  public func noteName(_ name: FileName) {
    let isNew = state.withLock { state in
      defer { state.name = name }
      return state.name != name
    }
    guard isNew else { return }
    do throws(LocalError) {
      try cache.setName(name)
    } catch {
      engine.log(.debug, "\(error)")
    }
  }
}
