import Glibc
import Locks
import Synchronization

/// One file of a group with its cached bytes: which chunks are here, who waits for which, and the
/// data file that holds them. Made when the file is first opened.
///
/// Reads of present chunks take no lock (`readPresent`). Everything else goes through `state`. The
/// group's lock, where needed, is taken before this one; neither is held across a wait.
public final class Region: Sendable {
  /// What the lock guards.
  struct State {
    var machine = PullMachine()
    var readAhead: ReadAhead
    var strides = StrideDetector()
    /// Pages that were written in chunks that are absent: they are valid, the others are not.
    var partial: [ChunkIndex: PageSet] = [:]
    /// Absent chunks that were zeroed here after the commit that the map shows: they read as zeros,
    /// whatever the map says.
    var zeroed = RangeSet<ChunkIndex>()
    /// Chunks whose pulled bytes are being written into the data file right now.
    var filling = Set<ChunkIndex>()
    /// Chunks that a logged change is being applied to: no pull may begin to fill them meanwhile.
    var replacing: Range<ChunkIndex> = 0..<0
    var parked: [Ticket: @Sendable (Parked) -> Void] = [:]
    /// When those that wait came. Tickets are given out in order, so the least is the oldest.
    var parkedSince: [Ticket: MonotonicTime] = [:]
    var nextTicket: Ticket = 1
    var background = BackgroundPull()
    /// Chunks with changes that are in no commit.
    var uncommitted = UncommittedChunks()
    /// Chunks that the user wants to stay.
    var pinned = RangeSet<ChunkIndex>()
    /// Nothing may be evicted.
    var keepsAll = false
    var isClosed = false
    var lastError: String?
    /// The same request may succeed later.
    var lastErrorIsPassing = false
  }

  /// How messages call the file.
  var name: String { data.path }

  /// How a parked request ends.
  public enum Parked: Sendable {
    /// The bytes are in the data file (`readData`), or the mutation may try again.
    case ready
    /// They could not be had.
    case failed(RegionError)
  }

  /// The file's number in its group.
  public let file: FileID
  let geometry: Geometry
  let engine: EngineContext
  let map: RemoteMap
  let puller: Puller
  let chunks: ChunkTable
  let data: LocalFile
  /// The same for direct writes; nil where the file system has none.
  let direct: LocalFile?
  let stateFile: StateFile
  /// The group's directory in the cache.
  let cache: GroupCache
  /// The group's trace, which learns of reads that are seen.
  let trace: GroupTrace
  /// The region's number in the cache budget.
  let cacheID: UInt32
  let state: Lock<State>
  /// The size that reads go by, in bytes.
  let currentSize: Atomic<UInt64>
  /// Reads answered without a lock; reads that had to look further; errors.
  let hits = Atomic<UInt64>(0)
  let misses = Atomic<UInt64>(0)
  let failures = Atomic<UInt64>(0)
  let bytesPulled = Atomic<UInt64>(0)
  /// How long the reads that had to look further took until their bytes were here.
  let waits = LatencyHistogram()
  let chunksPresent = Atomic<Int>(0)

  init(
    file: FileID, size: UInt64, engine: EngineContext, map: RemoteMap, puller: Puller,
    trace: GroupTrace, cached: CachedRegion
  ) throws(LocalError) {
    self.file = file
    self.trace = trace
    self.engine = engine
    self.map = map
    self.puller = puller
    geometry = map.geometry
    chunks = cached.chunks
    data = cached.data
    direct = Self.directFile(cached.data)
    stateFile = cached.stateFile
    cache = cached.cache
    cacheID = engine.cacheBudget.nextRegion()
    chunksPresent.store(cached.present.reduce(0) { $0 + $1.count }, ordering: .relaxed)
    currentSize = Atomic(size)
    state = Lock(State(readAhead: ReadAhead(geometry: map.geometry)))
    if try data.size() != dataLength(size) {
      try stateFile.declareInUse()
      try data.truncate(to: dataLength(size))
    }
    engine.cacheBudget.add(self, present: cached.present)
  }

  deinit { engine.cacheBudget.remove(self) }

  /// Length of the data file for a region of `size` bytes: whole chunks, so that a read within the
  /// region never comes back short.
  func dataLength(_ size: UInt64) -> UInt64 {
    (size + geometry.chunkSize - 1) & ~(geometry.chunkSize - 1)
  }

  /// Number of chunks the region has now.
  var chunkCount: UInt64 { dataLength(currentSize.load(ordering: .relaxed)) >> geometry.chunkShift }

  /// Fails every parked request and accepts no new ones. Afterwards nothing writes to the files.
  func close() {
    let parked = state.withLock { state -> [@Sendable (Parked) -> Void] in
      state.isClosed = true
      for ticket in state.machine.parked { _ = state.machine.cancel(ticket) }
      defer {
        state.parked = [:]
        state.parkedSince = [:]
      }
      return state.parked.sorted { $0.key < $1.key }.map(\.value)
    }
    for completion in parked { completion(.failed(.io)) }
    // A fill is a few local writes and takes no other lock; none begins any more.
    while state.withLock({ !$0.filling.isEmpty }) { sched_yield() }
    engine.hotChunks.removeAll(of: chunks)
  }
}
