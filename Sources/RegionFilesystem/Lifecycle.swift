import FuseKit
import Locks
import RegionCore

/// What happens to the mount's groups besides requests: recovery at the start, the drain at the end.
extension RegionFilesystem {
  /// Opens groups whose logs hold changes that were never committed, so that they are pushed.
  public func recoverLogs(_ cache: CacheDirectory) async {
    let pending: [GroupID]
    do throws(LocalError) {
      pending = try cache.groupsWithLogs()
    } catch {
      engine.log(.error, "cannot look for logs: \(error)")
      return
    }
    for id in pending {
      let result = await groups.group(id) { [self] in
        do throws(GroupError) {
          return .success(
            try await Group.load(
              id, engine, cacheDirectory: settings.cacheDirectory, bootID: settings.bootID,
              kind: .file))
        } catch {
          return .failure(error)
        }
      }
      if case .failure(let error) = result {
        engine.log(
          .error,
          "the log of group \(id) in \(cache.path) could not be replayed and stays there: \(error)")
      }
    }
  }

  /// Whether a former mount of this store left its names in the cache.
  public var knowsStore: Bool { known.isUsable }
  /// What the names stood for that a former mount of this cache has read.
  public var knownRecords: [GroupRecord] { known.records }

  /// Whether a former mount saw that the store honours conditional writes.
  public var isStoreChecked: Bool { known.isChecked }

  /// The store answered, and honours conditional writes where that was checked.
  public func noteStore(isChecked: Bool) { known.noteStore(isChecked: isChecked) }

  /// Commits everything and gives the claims back. Returns the groups of which changes remain here.
  public func drain() async -> [GroupID] {
    await withTaskGroup(of: GroupID?.self) { tasks in
      for group in groups.all {
        tasks.addTask { await group.drain() ? nil : group.id }
      }
      var left: [GroupID] = []
      for await id in tasks {
        if let id { left.append(id) }
      }
      return left
    }
  }

  /// Closes all caches; after `drain`.
  public func closeCaches() {
    known.save()
    for group in groups.all {
      group.closeRegions()
      group.setAsideIfLost()
      guard groups.isAbandoned(group.id) else { continue }
      do throws(LocalError) {
        try group.removeCache()
      } catch {
        engine.log(.warning, "\(error)")
      }
    }
  }

  /// Takes over the claim of the group that holds a path under the mount. Returns who had it in words;
  /// nil if it was free or this mount's.
  public func takeOver(_ name: FileName) async throws(RegionError) -> String? {
    let group = try await find(name).group
    return try await group.takeOver()
  }

  /// Whether this mount holds any claim.
  public var holdsClaims: Bool { groups.all.contains { $0.isWriter } }

  /// Removes groups that lost their name longer than the grace time ago.
  public func purgeExpired() async {
    guard !engine.settings.isReadOnly else { return }
    do throws(RemoteError) {
      let expired = try await catalogue.expired()
      guard !expired.isEmpty else { return }
      // A note on a group that has a name was left by a crash in the middle of a removal.
      let named = try await catalogue.namedGroups()
      for id in expired {
        if named.contains(id) {
          try await catalogue.withdrawDeletion(id)
        } else {
          try await catalogue.purge(id)
          engine.log(.info, "removed the objects of deleted group \(id)")
        }
      }
    } catch {
      engine.log(.warning, "cannot remove deleted groups yet: \(error)")
    }
  }

  /// Bytes of all groups that are not committed.
  public var uncommittedBytes: UInt64 {
    groups.all.reduce(0) { $0 + $1.uncommittedBytes }
  }

  /// All groups with their names (empty for those without one any more).
  public func snapshots() -> [(name: FileName?, snapshot: GroupSnapshot)] {
    let tops = groups.tops
    return groups.all.map { group in
      (tops.first { $0.top.group === group }?.name, group.snapshot())
    }
  }

  /// The maps of all regions, each of at most `limit` cells, by path under the mount.
  public func chunkMaps(limit: Int) -> [[FileName]: ChunkMap] {
    let tops = groups.tops
    var maps: [[FileName]: ChunkMap] = [:]
    for group in groups.all {
      let name = tops.first { $0.top.group === group }?.name
      for (path, map) in group.chunkMaps(limit: limit) {
        maps[[name].compactMap { $0 } + path] = map
      }
    }
    return maps
  }

  /// Waits until everything accepted is committed: of the group called `name`, or of all.
  public func commit(
    _ name: FileName?, _ completion: @escaping @Sendable (RegionError?) -> Void
  ) throws(RegionError) {
    let groups: [Group]
    if let name {
      guard let top = self.groups.top(name) else { throw .notFound }
      groups = [top.group]
    } else {
      groups = self.groups.named
    }
    let pending = Lock((left: groups.count, error: RegionError?.none))
    guard !groups.isEmpty else { return completion(nil) }
    for group in groups {
      group.commit { error in
        let result = pending.withLock { pending -> RegionError?? in
          pending.left -= 1
          pending.error = pending.error ?? error
          return pending.left == 0 ? .some(pending.error) : nil
        }
        if let result { completion(result) }
      }
    }
  }
}

extension GroupTable {
  /// Whether the group lost its name.
  func isAbandoned(_ group: GroupID) -> Bool { abandonedGroups.contains(group) }
}
