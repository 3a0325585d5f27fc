/// How far a mount's life has got.
public enum MountState: String, Codable, Sendable {
  /// Mounted and serving.
  case running
  /// Unmounted; uncommitted changes are still being pushed.
  case draining
  /// Unmounted and everything committed; the daemon is about to end.
  case drained
}

/// One mount and its daemon, as `hello` answers.
public struct MountStatus: Codable, Equatable, Sendable {
  /// The store's address as it was given (never with secrets).
  public var storeAddress = ""
  /// Absolute path of the mountpoint, in the daemon's mount namespace.
  public var mountpoint = ""
  /// The daemon's process, in its pid namespace.
  public var pid: Int32 = 0
  /// regionfs's version.
  public var version = ""
  /// Identifies this mount among all; also the socket's name.
  public var mountID = ""
  /// Device number of the mount as in mountinfo: `major:minor` in decimal.
  public var device = ""
  /// When the daemon started, seconds since 1970-01-01 UTC.
  public var startedUnixSeconds: Double = 0
  /// Running, draining or drained.
  public var state = MountState.running
  /// It was mounted without its store, from what the cache had, and the store has not answered since.
  public var offline = false
  /// `-o pull=`: auto, lazy, background, full.
  public var pullMode = ""
  /// `-o sync=`: local, remote.
  public var syncMode = ""
  /// The cache directory.
  public var cacheDirectory = ""
  /// The kernel's limits for this mount were set.
  public var kernelTuned = false
  /// Why they were not; nil when they were.
  public var kernelTuningReason: String?
  /// Nothing can be changed through this mount.
  public var readOnly = false
  /// Why; nil when it is writable.
  public var readOnlyReason: String?

  /// All empty; set what is known.
  public init() {}
}

/// The last thing that went wrong.
public struct ErrorStatus: Codable, Equatable, Sendable {
  /// One line.
  public var message: String
  /// When, seconds since 1970-01-01 UTC.
  public var unixSeconds: Double

  /// An error at a time.
  public init(message: String, unixSeconds: Double) {
    self.message = message
    self.unixSeconds = unixSeconds
  }
}

/// Traffic with the store since the mount.
public struct StoreStatus: Codable, Equatable, Sendable {
  /// Requests by operation (`get`, `put`, `cas`, `delete`, `list` …), retries included.
  public var requests: [String: UInt64] = [:]
  /// Payload bytes sent.
  public var uploadedBytes: UInt64 = 0
  /// Payload bytes received.
  public var downloadedBytes: UInt64 = 0
  /// Requests that failed, retried ones included.
  public var errors: UInt64 = 0
  /// The last failure; nil: none yet.
  public var lastError: ErrorStatus?
  /// The last request was answered by the store.
  public var reachable = true
  /// What came and went in each of the last seconds; nil from daemons that do not tell.
  public var throughput: ThroughputStatus?

  /// All zero; set what is known.
  public init() {}
}

/// The daemon's memory.
public struct MemoryStatus: Codable, Equatable, Sendable {
  /// Resident set.
  public var residentBytes: UInt64 = 0
  /// Largest resident set so far.
  public var peakResidentBytes: UInt64 = 0
  /// What buffers of pulls take now: under way, kept for the next one, not read yet; nil from daemons
  /// that do not tell.
  public var bufferBytes: UInt64?
  /// What the formula in docs/ARCHITECTURE.md comes to for this mount now; nil from daemons that do not
  /// tell.
  public var boundBytes: UInt64?

  /// All zero; set what is known.
  public init() {}
}

/// The cache's chunks, of all regions.
public struct CacheStatus: Codable, Equatable, Sendable {
  /// What they take on the disk.
  public var usedBytes: UInt64 = 0
  /// The most that they may take (`cache_size`); nil: no limit.
  public var limitBytes: UInt64?
  /// Chunks that made room for others since the mount.
  public var evictedChunks: UInt64 = 0
  /// How often a chunk was to go that could not: uncommitted, pinned or in use.
  public var keptChunks: UInt64 = 0
  /// Bytes that the kernel was asked to read ahead of faults, since the mount.
  public var prefilledBytes: UInt64 = 0
  /// Writes that were answered later than they could have been because a log came near its limit
  /// (`log_limit`), since the mount; nil from daemons that do not tell.
  public var slowedWrites: UInt64?

  /// All zero; set what is known.
  public init() {}
}

/// What this mount may do with a group.
public enum RegionRole: String, Codable, Sendable {
  /// It holds the claim and may push.
  case writer
  /// It reads what another mount writes.
  case follower
  /// Nothing may be changed; see the reason.
  case readOnly
  /// The claim was lost or the group failed: writes answer ESTALE or EIO; see the reason.
  case lost
  /// Nobody here has opened it for writing yet.
  case idle
}

/// Bringing a region's chunks here.
public struct PullStatus: Codable, Equatable, Sendable {
  /// The mode in effect: lazy, background, full.
  public var mode = ""
  /// Why it was chosen.
  public var reason: String?
  /// Bytes of the running pull that have arrived; 0 when none runs.
  public var doneBytes: UInt64 = 0
  /// Bytes that the running pull wants altogether; 0 when none runs.
  public var totalBytes: UInt64 = 0
  /// Bytes per second, lately.
  public var rateBytesPerSecond: Double = 0
  /// Estimated time to the end; nil: unknown or nothing to pull.
  public var secondsLeft: Double?

  /// All zero; set what is known.
  public init() {}
}

/// Faults served: READs of a region by the kernel.
public struct FaultStatus: Codable, Equatable, Sendable {
  /// Answered from chunks that were here.
  public var hits: UInt64 = 0
  /// Needed a pull.
  public var misses: UInt64 = 0
  /// Waiting for a pull at this moment.
  public var parked: UInt64 = 0
  /// How long the oldest of these has been waiting; nil: none waits.
  public var oldestParkedSeconds: Double?
  /// How long half of the reads that needed a pull waited at most; nil: there was none.
  public var medianWaitSeconds: Double?
  /// How long 99 of 100 of them waited at most.
  public var p99WaitSeconds: Double?
  /// Answered with an error.
  public var errors: UInt64 = 0
  /// The last such error; nil: none yet.
  public var lastError: ErrorStatus?

  /// All zero; set what is known.
  public init() {}
}

/// One region: a file under the mount.
public struct RegionStatus: Codable, Equatable, Sendable {
  /// Path under the mount, without a leading slash.
  public var name: String
  /// The group it belongs to: 32 hexadecimal digits.
  public var groupID = ""
  /// Its size.
  public var sizeBytes: UInt64 = 0
  /// Unit of pull.
  public var chunkBytes: UInt64 = 0
  /// Chunks in the whole region, holes included.
  public var chunksTotal: UInt64 = 0
  /// Chunks that can be read without the store.
  public var chunksPresent: UInt64 = 0
  /// Chunks that stay in the cache whatever its limit says; nil from daemons that do not tell.
  public var chunksPinned: UInt64?
  /// Chunks on their way.
  public var chunksPulling: UInt64 = 0
  /// Pull mode and progress.
  public var pull = PullStatus()
  /// Logged here and not yet committed.
  public var dirtyBytes: UInt64 = 0
  /// Of these, being uploaded now.
  public var uploadingBytes: UInt64 = 0
  /// Age of the oldest uncommitted change; nil: clean.
  public var oldestUncommittedSeconds: Double?
  /// Estimated time until what is uncommitted is pushed; nil: unknown or nothing to push.
  public var pushSecondsLeft: Double?
  /// Number of the group's last commit; nil: none known.
  public var lastCommitNumber: UInt64?
  /// When this mount made or saw it, seconds since 1970-01-01 UTC.
  public var lastCommitUnixSeconds: Double?
  /// Reads of it.
  public var faults = FaultStatus()
  /// What this mount may do with it.
  public var role = RegionRole.idle
  /// Why, where the role needs an explanation.
  public var roleReason: String?
  /// What its chunks are doing; nil: not asked for.
  public var map: ChunkMapStatus?

  /// A region of which only the name is known; set the rest.
  public init(name: String) {
    self.name = name
  }

  /// Everything is committed.
  public var isCommitted: Bool { dirtyBytes == 0 && uploadingBytes == 0 }
  /// Every chunk is here.
  public var isPulled: Bool { chunksPresent >= chunksTotal }
}

/// What the daemon's watchdog sees: requests that wait too long.
public struct WatchdogStatus: Codable, Equatable, Sendable {
  /// Calls of the kernel that the daemon has been working on for seconds, without letting its thread
  /// go. Always 0 in a sound daemon.
  public var stuckCallbacks: UInt64 = 0
  /// Requests parked until the store answers, of the whole mount.
  public var parked: UInt64 = 0
  /// How long the oldest of these has been waiting; nil: none waits.
  public var oldestParkedSeconds: Double?
  /// Whether that is too long (half of `fault_timeout`, at least 10 s).
  public var isOverdue = false
  /// Reports written to the log so far.
  public var reports: UInt64 = 0

  /// All is well; set what is known.
  public init() {}
}

/// All that `regionfs-stat` shows of one mount.
public struct StatusReport: Codable, Equatable, Sendable {
  /// The mount and its daemon.
  public var mount: MountStatus
  /// Traffic with the store.
  public var store: StoreStatus
  /// The daemon's memory.
  public var memory: MemoryStatus
  /// The cache; nil from daemons that do not tell.
  public var cache: CacheStatus?
  /// Requests that wait too long; nil from daemons that do not tell.
  public var watchdog: WatchdogStatus?
  /// Its regions, ordered by name.
  public var regions: [RegionStatus]

  /// A report.
  public init(
    mount: MountStatus, store: StoreStatus = .init(), memory: MemoryStatus = .init(),
    regions: [RegionStatus] = []
  ) {
    self.mount = mount
    self.store = store
    self.memory = memory
    self.regions = regions
  }
}

/// How far a sync or a drain has got.
public struct SyncProgress: Codable, Equatable, Sendable {
  /// Bytes still to be committed, or to be pulled.
  public var remainingBytes: UInt64
  /// Bytes a second to the store, or from it, lately; nil: unknown.
  public var rateBytesPerSecond: Double?
  /// The store answers. While false nothing moves, and a drain may take for ever.
  public var storeReachable: Bool
  /// Why it does not move, in one line; nil: it does.
  public var problem: String?

  /// A state of progress.
  public init(
    remainingBytes: UInt64, rateBytesPerSecond: Double? = nil, storeReachable: Bool = true,
    problem: String? = nil
  ) {
    self.remainingBytes = remainingBytes
    self.rateBytesPerSecond = rateBytesPerSecond
    self.storeReachable = storeReachable
    self.problem = problem
  }
}
