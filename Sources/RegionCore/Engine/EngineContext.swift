import Locks
import Synchronization

/// How urgent a line of the log is.
public enum EventLevel: Int, Sendable, Comparable {
  case debug, info, warning, error
  /// Orders levels by urgency.
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// What the engine is told by its mount: fixed for the daemon's life.
public struct EngineSettings: Sendable {
  /// How pulls begin.
  public enum PullMode: String, Sendable, CaseIterable {
    /// Decide from misses and size.
    case auto
    /// Only what is touched, with read-ahead.
    case lazy
    /// All of an opened region in the background.
    case background
    /// The same, and opening waits for it.
    case full
  }
  /// What msync and fsync wait for.
  public enum SyncMode: String, Sendable, CaseIterable {
    /// The local log is on disk.
    case local
    /// The changes are committed in the store.
    case remote
  }

  /// How pulls begin.
  public var pull = PullMode.auto
  /// What fsync waits for.
  public var sync = SyncMode.local
  /// The longest a change stays uncommitted, not counting the upload.
  public var pushInterval = Duration.seconds(5)
  /// Bytes of uncommitted changes at which writers wait.
  public var logLimit: UInt64 = 1 << 30
  /// How long a request waits for news from the store where something older can be shown instead;
  /// zero: as long as it takes.
  public var patience = Duration.seconds(3)
  /// How long a read of an absent chunk waits for the store before it fails.
  public var faultTimeout = Duration.seconds(30)
  /// Most bytes a second from the store; nil: no limit. The store stack keeps to it; the engine only
  /// asks for less at a time, so that a fault has not long to wait behind what others took.
  public var downloadLimit: UInt64?
  /// How often a group with open files is looked at for other writers' commits; zero: only at open.
  public var followInterval = Duration.seconds(1)
  /// No change is accepted.
  public var isReadOnly = false
  /// Claim groups that another writer holds.
  public var takeover = false
  /// A claim is held until the mount ends, and a group whose claim was taken over is not followed:
  /// sizes never change but through this mount. For mounts whose kernel owns them.
  public var keepsClaims = false
  /// Geometry of groups that are made here.
  public var geometry = Geometry.standard
  /// How this daemon is called in other hosts' EBUSY messages: host, mountpoint.
  public var holder = ""
  /// How long a clean group without writers stays claimed.
  public var releaseDelay = Duration.seconds(10)
  /// Segments in the tail after which a checkpoint is due. Each costs a mount one small request.
  var checkpointSegments = 96
  /// The same when the claim is given back: the next mount is likely elsewhere, with an empty cache.
  var checkpointSegmentsAtRelease = 8
  /// Bytes of the log that one commit takes at most, so that progress shows and its segments are at
  /// most `Limits.commitSegments`.
  var commitBytes = Limits.segmentTarget * (Limits.commitSegments - 2)
  /// Scattered misses after which a small region of so many bytes is pulled.
  var fewMisses: @Sendable (UInt64) -> Int = PullDecision.fewMisses
  /// How much of the cache disk the mount may take.
  public var cacheLimit = CacheLimit()
  /// How long a dropped object stays in the store.
  public var collectionGrace = Duration.seconds(3600)

  /// Most bytes of one bulk transfer: a quarter of a second of the download limit.
  var bulkLimit: UInt64 { downloadLimit.map { $0 / 4 } ?? .max }

  /// The defaults.
  public init() {}
}

/// What every part of the engine needs: threads, time, the store, the log. One for each mount.
public final class EngineContext: Sendable {
  /// Runs the engine's tasks.
  public let executor: any TaskExecutor
  /// Time.
  public let clock: any EngineClock
  /// Where the caches are.
  public let disk: any LocalDisk
  /// The store stack: metered, retrying, verifying.
  public let store: any ObjectStore
  /// The mount's settings.
  public let settings: EngineSettings
  /// Whether the store answers.
  public let health: StoreHealth
  /// This cache directory's identity.
  public let writer: WriterID
  /// Transfer buffers.
  public let buffers = BufferPool(limit: 96 << 20)
  /// Who may fetch now, by the memory that it takes.
  let transferMemory = TransferMemory(limit: 192 << 20)
  /// Pulled chunks that are soon read, still in their transfer buffers.
  let hotChunks: HotChunks
  /// Says when bulk transfers begin.
  public let bulk: BulkTransfers
  /// How long pulls take.
  let pace = Lock(PullPace())
  /// What is asked for first.
  public let start = StartRecording()
  /// What all regions have cached, and who goes when it is too much.
  public let cacheBudget: CacheBudget
  /// Direct writes under way, of all regions.
  let directWrites = Atomic<Int>(0)
  /// Errors since the start, for `regionfs-stat`.
  public let errors = Lock<(count: Int, last: String?)>((0, nil))
  private let generator: Lock<any RandomNumberGenerator & Sendable>
  /// Makes the kernel forget pages that another writer's commit made old, and returns when it has;
  /// nil where there is no kernel.
  public let forgetPages = Lock<(@Sendable (Group, [StalePages]) async -> Void)?>(nil)
  /// Told what background pulls brought, to bring it into the kernel's cache; nil: nobody does.
  public let prefill = Lock<(@Sendable (Region, Range<UInt64>) -> Void)?>(nil)
  /// Bytes that the kernel was asked to read that way.
  public let prefilledBytes = Atomic<UInt64>(0)
  /// Writes whose answer waited because the log fills up.
  public let slowedWrites = Atomic<UInt64>(0)
  private let sink: @Sendable (EventLevel, String) -> Void

  /// A context; `sink` gets one line for each event. Names of objects and nonces come from
  /// `generator`.
  public init(
    executor: any TaskExecutor, clock: any EngineClock, store: any ObjectStore,
    disk: any LocalDisk = HostDisk(), settings: EngineSettings, writer: WriterID,
    generator: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator(),
    health: StoreHealth = StoreHealth(),
    sink: @escaping @Sendable (EventLevel, String) -> Void
  ) {
    self.executor = executor
    self.clock = clock
    bulk = BulkTransfers(clock: clock, health: health, mostBytes: settings.bulkLimit)
    self.store = store
    self.disk = disk
    self.generator = Lock(generator)
    self.settings = settings
    self.writer = writer
    self.health = health
    // They cannot be evicted: of a small cache they may be a part only.
    hotChunks = HotChunks(limit: Int(min(64 << 20, (settings.cacheLimit.bytes ?? .max) / 4)))
    cacheBudget = CacheBudget(limit: settings.cacheLimit, disk: disk, health: health)
    self.sink = sink
  }

  /// What the engine's buffers take, and the most that they ever may.
  public var bufferUsage: BufferUsage {
    let transfers = transferMemory.usage
    return BufferUsage(
      transferBytes: transfers.used, keptBytes: buffers.keptBytes, hotBytes: hotChunks.byteCount,
      limitBytes: transferMemory.limit + buffers.limit + hotChunks.limit)
  }

  /// 128 bits that nobody else has.
  func freshID() -> Random128 {
    generator.withLock { Random128.random(using: &$0) }
  }

  /// A number of nanoseconds up to `bound`, at random.
  func random(upTo bound: Duration) -> Duration {
    let bound = UInt64(bound.wholeNanoseconds)
    return .nanoseconds(generator.withLock { UInt64.random(in: 0...bound, using: &$0) })
  }

  /// Writes a line of the log; errors are counted too.
  public func log(_ level: EventLevel, _ message: String) {
    if level >= .error {
      errors.withLock { $0 = ($0.count + 1, message) }
    }
    sink(level, message)
  }
}

extension EngineContext {
  /// What `body` comes to, if that is soon: nil where the store lets it wait longer than there is
  /// patience for (hardly any while the store is known to be down). `body` goes on in any case.
  public func patiently<Value: Sendable>(
    _ body: @escaping @Sendable () async -> Value
  ) async -> Value? {
    guard settings.patience > .zero else { return await body() }
    // Several such waits, one after the other, should fit into what a request may take.
    let patience = min(settings.patience, settings.faultTimeout / 4)
    let limit = health.isDown ? min(patience, .milliseconds(20)) : patience
    let value = await value(of: body, within: limit)
    if value == nil { health.noteSilence() }
    return value
  }

  /// What `body` comes to; nil if that takes longer than `limit`. `body` goes on in any case.
  public func value<Value: Sendable>(
    of body: @escaping @Sendable () async -> Value, within limit: Duration
  ) async -> Value? {
    let waiter = Lock<CheckedContinuation<Value?, Never>?>(nil)
    let timer = Lock<Task<Void, Never>?>(nil)
    let answer: @Sendable (Value?) -> Void = { value in
      let waiting = waiter.withLock { $0.take() }
      waiting?.resume(returning: value)
    }
    return await withCheckedContinuation { continuation in
      waiter.withLock { $0 = continuation }
      executor.spawn {
        answer(await body())
        timer.withLock { $0 }?.cancel()
      }
      let task = executor.spawn {
        await self.clock.sleep(for: limit)
        answer(nil)
      }
      timer.withLock { $0 = task }
    }
  }

  /// Throws where conditional writes are not known to be honoured, because the store has not answered
  /// since the mount; waits while they are being checked.
  func requireChecked(_ key: ObjectKey) async throws(RemoteError) {
    guard await !health.isChecked() else { return }
    throw .store(
      StoreError(
        .unavailable, operation: "PUT", object: key.text,
        detail: "conditional writes could not be checked since the mount"))
  }
}

/// What the engine's buffers take.
public struct BufferUsage: Sendable {
  /// Of pulls under way.
  public var transferBytes: Int
  /// Free ones, kept for the next pull.
  public var keptBytes: Int
  /// Of chunks that stay in memory until they are read.
  public var hotBytes: Int
  /// The most that these come to.
  public var limitBytes: Int
}
