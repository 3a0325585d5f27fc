/// What a group's regions look like at one moment, for `regionfs-stat`.
public struct RegionSnapshot: Sendable {
  /// Path within the group; empty for the group's top.
  public var path: [FileName]
  /// The file's size in bytes.
  public var size: UInt64
  /// Bytes in a chunk.
  public var chunkSize: UInt64
  /// Chunks that the size spans, holes included.
  public var chunksTotal: UInt64
  /// Chunks whose bytes are in the cache, or known to be zero; at most `chunksTotal`.
  public var chunksPresent: UInt64
  /// Chunks that stay in the cache whatever its limit says, here already or not.
  public var chunksPinned: UInt64
  /// Chunks being pulled now.
  public var chunksPulling: UInt64
  /// "lazy", or "background" once a pull of the whole region has begun.
  public var pullMode: String
  /// Why the background pull began, or why it did not, in words.
  public var pullReason: String
  /// Bytes that the running background pull has brought; 0 when none runs.
  public var pulledBytes: UInt64
  /// `pulledBytes` and what is still absent; 0 when no background pull runs.
  public var pullTotalBytes: UInt64
  /// Bytes a second of the running background pull, over its whole run; 0 when none runs.
  public var pullRate: Double
  /// Seconds until the background pull is through at this rate; nil when that cannot be said.
  public var secondsLeft: Double?
  /// Bytes of the log that belong to this file and are not committed yet.
  public var uncommittedBytes: UInt64
  /// Reads that found all their chunks present, since the file was opened.
  public var hits: UInt64
  /// Reads that had to wait for a chunk or to settle it, since the file was opened.
  public var misses: UInt64
  /// Requests that wait for a chunk now.
  public var parked: UInt64
  /// How long the oldest of them has been waiting; nil when none does.
  public var oldestParked: Duration?
  /// How long reads that missed had to wait, since the file was opened: what half of them, and what
  /// 99 of 100, did not exceed; nil when there was none.
  public var waits: (median: Duration, p99: Duration)?
  /// Pulls that failed for good, since the file was opened.
  public var errors: UInt64
  /// The last of those errors, in one line.
  public var lastError: String?
}

/// What a group looks like at one moment.
public struct GroupSnapshot: Sendable {
  /// Who may change it here.
  public enum Role: Sendable {
    /// This mount does not hold the claim (it may be asking for it).
    case idle
    /// This mount holds the claim.
    case writer
    /// It accepts no change any more; `isStale` where another writer took the claim.
    case stopped(reason: String, isStale: Bool)
  }
  /// The group's identity.
  public var id: GroupID
  /// What this mount may do with it.
  public var role: Role
  /// Files, directories and symlinks.
  public var inodes: Int
  /// Bytes of the log that are not committed yet.
  public var uncommittedBytes: UInt64
  /// Bytes of the commit that is being uploaded; 0 when none is.
  public var bytesInUpload: UInt64
  /// Age of the oldest change that is not committed; nil when all are.
  public var oldestUncommitted: Duration?
  /// The newest commit that this mount knows of.
  public var commit: CommitNumber
  /// When that commit was made, by its writer's clock; nil for a group without commits.
  public var committedAt: Timestamp?
  /// The last error of the group, in one line.
  public var lastError: String?
  /// Its files that are open or were lately, ordered by path.
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
        id: id, role: role, inodes: state.namespace.count, uncommittedBytes: state.bytesToCommit,
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

  /// Whether the file is open for writing.
  public func isOpenForWriting(_ file: FileID) -> Bool {
    state.withLock { ($0.regions[file]?.writableOpens ?? 0) > 0 }
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
        background.phase == .done && !background.isCut
        ? total : min(total, UInt64(max(0, chunksPresent.load(ordering: .relaxed))))
      let elapsed = background.startedAt.map { now.since($0).secondsValue } ?? 0
      let isRunning = background.phase == .running
      let rate = isRunning && elapsed > 0 ? Double(background.bytes) / elapsed : 0
      let left = (total - present) << geometry.chunkShift
      return RegionSnapshot(
        path: path, size: currentSize.load(ordering: .relaxed), chunkSize: geometry.chunkSize,
        chunksTotal: total, chunksPresent: present,
        chunksPinned: pinnedCount(state), chunksPulling: UInt64(state.machine.pullCount),
        pullMode: background.phase == .idle ? "lazy" : "background",
        pullReason: background.reason, pulledBytes: isRunning ? background.bytes : 0,
        pullTotalBytes: isRunning ? background.bytes + left : 0, pullRate: rate,
        secondsLeft: rate > 0 ? Double(left) / rate : nil, uncommittedBytes: uncommitted,
        hits: hits.load(ordering: .relaxed), misses: misses.load(ordering: .relaxed),
        parked: UInt64(state.machine.parkedCount),
        oldestParked: state.parkedSince.values.min().map { now.since($0) },
        waits: waits.quantiles([0.5, 0.99]).map { ($0[0], $0[1]) },
        errors: failures.load(ordering: .relaxed),
        lastError: state.lastError)
    }
  }
}
