import Glibc
import Locks
import Synchronization

/// How much of the cache disk a mount may take.
public struct CacheLimit: Hashable, Sendable {
  /// Most bytes of all data files together (`cache_size`); nil: as many as the disk has.
  public var bytes: UInt64?
  /// Bytes of the disk that are left free for others, as far as the cache can help it.
  public var reserve: UInt64

  /// A limit.
  public init(bytes: UInt64? = nil, reserve: UInt64 = 0) {
    self.bytes = bytes
    self.reserve = reserve
  }

  /// What the reserve never takes from the cache, in bytes: a disk that others fill must not make
  /// every read wait for the store.
  static let floor: UInt64 = 64 << 20

  /// Bytes that are to go: all above the limit, and what the reserve lacks.
  func excess(used: UInt64, free: UInt64) -> UInt64 {
    let overLimit = bytes.map { used > $0 ? used - $0 : 0 } ?? 0
    let lacking = free < reserve ? reserve - free : 0
    return max(overLimit, min(lacking, used > Self.floor ? used - Self.floor : 0))
  }
}

/// The one budget of a mount's cached bytes, over all groups and regions: counts them, and makes room by
/// evicting chunks (`Region.evict`) in the order of a `Sieve`.
///
/// Its lock is a leaf: taken with a region's lock held, and nothing is taken inside it. How much is
/// used is asked of the data files (holes take nothing); between two such measurements what was
/// written is added up.
public final class CacheBudget: Sendable {
  fileprivate struct Entry {
    weak var region: Region?
    let table: ChunkTable
  }

  fileprivate struct State {
    var sieve = Sieve()
    var regions: [UInt32: Entry] = [:]
    var nextRegion: UInt32 = 1
    /// Somebody makes room.
    var isEvicting = false
    /// The mount is over: the files may be another daemon's.
    var isStopped = false
    var statistics = CacheStatistics()
  }

  /// The mount's limit.
  public let limit: CacheLimit
  /// Files of the cache that are not open.
  let dormant = DormantFiles()
  private let disk: any LocalDisk
  private let health: StoreHealth
  private let state = Lock(State())
  /// Bytes at the last measurement, and bytes written since.
  private let measured = Atomic<UInt64>(0)
  private let added = Atomic<UInt64>(0)
  /// The last round did not make all the room that is wanted: the rest is uncommitted or in use.
  private let isTight = Atomic<Bool>(false)

  /// Bytes written between two looks at the free space, where only that limits the cache.
  private static let interval: UInt64 = 16 << 20
  /// Refusals in a row after which a short queue is given up for now.
  private static let batch = 64

  init(limit: CacheLimit, disk: any LocalDisk, health: StoreHealth) {
    self.limit = limit
    self.disk = disk
    self.health = health
  }

  private var isLimited: Bool { limit.bytes != nil || limit.reserve > 0 }

  // MARK: What is cached

  /// Counts what earlier mounts left in the cache.
  public func scan(_ cacheDirectory: String) throws(LocalError) {
    try dormant.scan(cacheDirectory, on: disk)
    measured.store(dormant.bytes, ordering: .relaxed)
  }

  /// A number for a region that is being made.
  func nextRegion() -> UInt32 {
    state.withLock { state in
      defer { state.nextRegion += 1 }
      return state.nextRegion
    }
  }

  /// A region begins, with what its table says is present.
  func add(_ region: Region, present: [Range<ChunkIndex>]) {
    let bytes = (try? region.data.allocatedBytes()) ?? 0
    // Those of a file that was dormant are counted twice until the next measurement.
    measured.add(bytes, ordering: .relaxed)
    state.withLock { state in
      state.regions[region.cacheID] = Entry(region: region, table: region.chunks)
      for run in present {
        for chunk in run { enqueue(chunk, region.cacheID, region.chunks, &state) }
      }
    }
  }

  /// The last user of a region is gone; its file stays in the cache.
  func remove(_ region: borrowing Region) {
    let id = region.cacheID
    state.withLock { $0.regions[id] = nil }
    dormant.closed(
      DormantFiles.Name(group: region.cache.group, file: region.file), region.cache,
      bytes: (try? region.data.allocatedBytes()) ?? 0)
  }

  /// A chunk of a region came, whole or in part. The region's lock is held.
  func noteArrival(_ chunk: ChunkIndex, of region: Region) {
    guard isLimited else { return }
    state.withLock { enqueue(chunk, region.cacheID, region.chunks, &$0) }
  }

  private func enqueue(
    _ chunk: ChunkIndex, _ id: UInt32, _ table: ChunkTable, _ state: inout State
  ) {
    guard isLimited, table.setQueued(chunk) else { return }
    let regions = state.regions
    state.sieve.insert(CachedChunk(region: id, chunk: UInt32(chunk))) { key in
      _ = regions[key.region]?.table.takeVisited(ChunkIndex(key.chunk))
    }
  }

  // MARK: Room

  /// Notes bytes that were written into data files. Returns whether room should be made.
  func noteWritten(_ bytes: UInt64) -> Bool {
    let sum = added.add(bytes, ordering: .relaxed).newValue
    guard isLimited else { return false }
    if let most = limit.bytes, !isTight.load(ordering: .relaxed) {
      if measured.load(ordering: .relaxed) + sum > most { return true }
    }
    return sum >= Self.interval && (limit.reserve > 0 || isTight.load(ordering: .relaxed))
  }

  /// Something was committed: what could not go may go now.
  func shouldTryAgain() -> Bool { isLimited && isTight.load(ordering: .relaxed) }

  /// The most that one step of a read-ahead may bring, in bytes: it must not push out itself.
  var readAheadLimit: UInt64 { limit.bytes.map { $0 / 16 } ?? .max }

  /// Eviction is behind by more than a few transfers.
  var isFarOver: Bool {
    guard let most = limit.bytes, !isTight.load(ordering: .relaxed) else { return false }
    let used = measured.load(ordering: .relaxed) + added.load(ordering: .relaxed)
    return used > most + Self.interval
  }

  /// Whether `bytes` more may come that nobody asked for: without pushing out what was used.
  func hasRoom(for bytes: UInt64) -> Bool {
    guard let most = limit.bytes else { return !isTight.load(ordering: .relaxed) }
    let used = measured.load(ordering: .relaxed) + added.load(ordering: .relaxed)
    return used + bytes <= most - most / 16
  }

  /// Measures, and evicts as much as the limit wants and a little more. One caller at a time; others
  /// return at once.
  func makeRoom() {
    guard isLimited, state.withLock({ $0.beginEvicting() }) else { return }
    defer { state.withLock { $0.isEvicting = false } }
    // What is here is all there is.
    guard !health.isDown else { return }
    var excess = measure()
    guard excess > 0 else { return isTight.store(false, ordering: .relaxed) }
    // A little more, so that the next round is not due at once.
    let extra = (limit.bytes ?? limit.reserve) / 32
    while excess > 0, evict(excess + extra) { excess = measure() }
    isTight.store(excess > 0, ordering: .relaxed)
  }

  /// Where eviction does not keep up, who fills helps along, or waits for who makes room.
  func keepUp() {
    guard isFarOver else { return }
    makeRoom()
    while isFarOver, isAtWork { sched_yield() }
  }

  /// Nothing is evicted any more when this returns.
  public func stop() {
    state.withLock { $0.isStopped = true }
    while isAtWork { sched_yield() }
  }

  /// Evicts chunks of so many bytes. False if there were not enough that may go.
  private func evict(_ wanted: UInt64) -> Bool {
    var freed: UInt64 = 0
    var refusals = 0
    let patience = state.withLock { 2 * $0.sieve.count + Self.batch }
    while freed < wanted {
      if state.withLock({ $0.isStopped }) { return false }
      let dormantBytes = dormant.evict(min(wanted - freed, 16 << 20), on: disk)
      freed += dormantBytes
      guard dormantBytes == 0 else { continue }
      guard refusals < patience, let (bytes, isKept) = evictOne() else { return false }
      freed += bytes
      refusals = isKept ? refusals + 1 : 0
    }
    return true
  }

  /// Somebody makes room now.
  var isAtWork: Bool { state.withLock { $0.isEvicting } }

  /// Evicts the next chunk if that is possible. Nil if there is none.
  private func evictOne() -> (bytes: UInt64, isKept: Bool)? {
    guard let (region, key, place) = nextVictim() else { return nil }
    let outcome = region.evict(ChunkIndex(key.chunk))
    state.withLock { state in
      switch outcome {
      case .evicted:
        state.sieve.remove(place)
        state.statistics.evictedChunks += 1
      case .gone: state.sieve.remove(place)
      case .kept: state.statistics.refusals += 1
      }
    }
    return (outcome == .evicted ? region.geometry.chunkSize : 0, outcome == .kept)
  }

  private func nextVictim() -> (Region, CachedChunk, place: Int)? {
    // A region that lives only by this reference must not end inside the lock.
    var regions: [Region] = []
    defer { withExtendedLifetime(regions) {} }
    return state.withLock { state in
      let known = state.regions
      let found = state.sieve.next { key in
        guard let entry = known[key.region] else { return .gone }
        return entry.table.takeVisited(ChunkIndex(key.chunk)) ? .used : .unused
      }
      guard let found, let region = known[found.key.region]?.region else { return nil }
      regions.append(region)
      return (region, found.key, found.place)
    }
  }

  /// Asks the data files what they take. Returns what is too much.
  private func measure() -> UInt64 {
    let regions = state.withLock { state in
      state.regions.sorted { $0.key < $1.key }.compactMap(\.value.region)
    }
    let before = added.load(ordering: .relaxed)
    var used = dormant.bytes
    for region in regions { used += (try? region.data.allocatedBytes()) ?? 0 }
    added.subtract(before, ordering: .relaxed)
    measured.store(used, ordering: .relaxed)
    let free = regions.first.flatMap { try? $0.data.freeSpace() } ?? .max
    return limit.excess(used: used, free: free)
  }

  /// What the cache takes and what became of it.
  public var statistics: CacheStatistics {
    state.withLock { state in
      var statistics = state.statistics
      statistics.usedBytes =
        measured.load(ordering: .relaxed) + added.load(ordering: .relaxed)
      statistics.limitBytes = limit.bytes
      statistics.queueBytes = UInt64(state.sieve.memoryBytes)
      return statistics
    }
  }
}

extension CacheBudget.State {
  fileprivate mutating func beginEvicting() -> Bool {
    guard !isEvicting, !isStopped else { return false }
    isEvicting = true
    return true
  }
}

/// What the cache takes and what became of it, for `regionfs-stat`.
public struct CacheStatistics: Sendable {
  /// Bytes of all data files, as last measured and added up since.
  public var usedBytes: UInt64 = 0
  /// `cache_size`; nil: no limit.
  public var limitBytes: UInt64?
  /// Chunks that made room for others since the mount.
  public var evictedChunks: UInt64 = 0
  /// How often one was to go that could not: uncommitted, pinned, in use.
  public var refusals: UInt64 = 0
  /// Memory of the eviction's queue.
  public var queueBytes: UInt64 = 0
}
