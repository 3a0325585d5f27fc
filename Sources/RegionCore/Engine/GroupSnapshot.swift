/// What a group's regions look like at one moment, for `regionfs-stat`.
public struct RegionSnapshot: Sendable {
  /// Path within the group; empty for the group's top.
  public var path: [FileName]
  public var size: UInt64
  public var chunkSize: UInt64
  public var chunksTotal: UInt64
  public var chunksPresent: UInt64
  public var chunksPulling: UInt64
  public var pullMode: String
  public var pullReason: String
  public var pulledBytes: UInt64
  public var pullTotalBytes: UInt64
  public var pullRate: Double
  public var secondsLeft: Double?
  public var uncommittedBytes: UInt64
  public var hits: UInt64
  public var misses: UInt64
  public var parked: UInt64
  public var errors: UInt64
  public var lastError: String?
}

/// What a group looks like at one moment.
public struct GroupSnapshot: Sendable {
  /// Who may change it here.
  public enum Role: Sendable {
    case idle
    case writer
    case stopped(reason: String, isStale: Bool)
  }
  public var id: GroupID
  public var role: Role
  public var uncommittedBytes: UInt64
  public var bytesInUpload: UInt64
  public var oldestUncommitted: Duration?
  public var commit: CommitNumber
  public var committedAt: Timestamp?
  public var lastError: String?
  public var regions: [RegionSnapshot]
}

extension Group {
  /// The group now.
  public func snapshot() -> GroupSnapshot {
    let now = engine.clock.now
    return state.withLock { state in
      let role: GroupSnapshot.Role =
        switch state.role {
        case .follower, .claiming: .idle
        case .writer: .writer
        case .stopped(let error, let reason): .stopped(reason: reason, isStale: error == .stale)
        }
      let regions = state.regions.compactMap { file, open -> RegionSnapshot? in
        guard let path = state.namespace.path(of: file) else { return nil }
        return open.region.snapshot(path, uncommitted: state.push.uncommittedByFile[file] ?? 0, now)
      }
      return GroupSnapshot(
        id: id, role: role, uncommittedBytes: state.bytesToCommit,
        bytesInUpload: state.push.bytesInUpload,
        oldestUncommitted: state.push.oldestUncommitted.map { now.since($0) },
        commit: state.root.commit.number, committedAt: state.lastCommitAt,
        lastError: state.lastError,
        regions: regions.sorted { $0.path.lexicographicallyPrecedes($1.path) })
    }
  }

  /// Files that are open for writing: their mappings may hold pages that nobody has seen yet.
  public var writableFiles: [[FileName]] {
    state.withLock { state in
      guard case .writer = state.role else { return [] }
      return state.regions.compactMap { file, open in
        open.writableOpens > 0 ? state.namespace.path(of: file) : nil
      }
    }
  }

  /// Bytes that are not committed yet.
  public var uncommittedBytes: UInt64 { state.withLock { $0.bytesToCommit } }
}

extension Region {
  fileprivate func snapshot(_ path: [FileName], uncommitted: UInt64, _ now: MonotonicTime)
    -> RegionSnapshot
  {
    state.withLock { state in
      let background = state.background
      let total = chunkCount
      let present =
        background.phase == .done
        ? total : min(total, UInt64(max(0, chunksPresent.load(ordering: .relaxed))))
      let elapsed = background.startedAt.map { now.since($0).secondsValue } ?? 0
      let isRunning = background.phase == .running
      let rate = isRunning && elapsed > 0 ? Double(background.bytes) / elapsed : 0
      let left = (total - present) << geometry.chunkShift
      return RegionSnapshot(
        path: path, size: currentSize.load(ordering: .relaxed), chunkSize: geometry.chunkSize,
        chunksTotal: total, chunksPresent: present,
        chunksPulling: UInt64(state.machine.pullCount),
        pullMode: background.phase == .idle ? "lazy" : "background",
        pullReason: background.reason, pulledBytes: isRunning ? background.bytes : 0,
        pullTotalBytes: isRunning ? background.bytes + left : 0, pullRate: rate,
        secondsLeft: rate > 0 ? Double(left) / rate : nil, uncommittedBytes: uncommitted,
        hits: hits.load(ordering: .relaxed), misses: misses.load(ordering: .relaxed),
        parked: UInt64(state.machine.parkedCount), errors: failures.load(ordering: .relaxed),
        lastError: state.lastError)
    }
  }
}
