import Glibc
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
    cached: CachedRegion
  ) throws(LocalError) {
    self.file = file
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

  // MARK: Misses

  /// Parks a request until `bytes` can be read from the data file; `completion` is called once, on
  /// any thread, maybe before this returns. The ticket serves to `cancel`.
  @discardableResult
  public func demand(
    _ bytes: Range<UInt64>, counts: Bool = true, _ completion: @escaping @Sendable (Parked) -> Void
  ) -> Ticket {
    let now = engine.clock.now
    let completion = counts ? counted(completion, since: now) : completion
    let (ticket, work) = state.withLock { state -> (Ticket, Work) in
      let ticket = state.nextTicket
      state.nextTicket += 1
      var work = Work()
      if state.isClosed {
        work.completions.append((completion, .failed(.io)))
        return (ticket, work)
      }
      if counts { advise(geometry.chunk(ofByte: bytes.lowerBound), &state, &work) }
      wait(for: bytes, ticket, completion, &state, &work)
      if state.parked[ticket] != nil { state.parkedSince[ticket] = now }
      return (ticket, work)
    }
    perform(work)
    return ticket
  }

  /// Counts a read that missed, now and when it is answered.
  private func counted(
    _ completion: @escaping @Sendable (Parked) -> Void, since start: MonotonicTime
  ) -> @Sendable (Parked) -> Void {
    misses.add(1, ordering: .relaxed)
    return { [self] outcome in
      if case .ready = outcome { waits.note(engine.clock.now.since(start)) }
      completion(outcome)
    }
  }

  /// What is to be done once the lock was given back.
  struct Work {
    var completions: [(@Sendable (Parked) -> Void, Parked)] = []
    var demands: [ChunkIndex] = []
    var readAheads: [ChunkIndex] = []
    var startBackground = 0
  }

  /// Either `bytes` can be read now, or the ticket waits for the chunks that cannot.
  private func wait(
    for bytes: Range<UInt64>, _ ticket: Ticket, _ completion: @escaping @Sendable (Parked) -> Void,
    _ state: inout State, _ work: inout Work
  ) {
    let missing = geometry.chunks(touching: bytes).filter {
      !isReadable($0, bytes, &state)
    }
    guard !missing.isEmpty else {
      work.completions.append((completion, .ready))
      return
    }
    work.demands += state.machine.demand(missing, ticket: ticket)
    state.parked[ticket] = { [self] outcome in
      switch outcome {
      case .failed:
        self.state.withLock { $0.parkedSince[ticket] = nil }
        completion(outcome)
      case .ready: lookAgain(at: bytes, ticket, completion)
      }
    }
  }

  /// What was waited for is done: the bytes are there, or were thrown away and must be waited for
  /// again.
  private func lookAgain(
    at bytes: Range<UInt64>, _ ticket: Ticket, _ completion: @escaping @Sendable (Parked) -> Void
  ) {
    let work = state.withLock { state -> Work in
      var work = Work()
      if state.isClosed {
        work.completions.append((completion, .failed(.io)))
      } else {
        wait(for: bytes, ticket, completion, &state, &work)
      }
      if state.parked[ticket] == nil { state.parkedSince[ticket] = nil }
      return work
    }
    perform(work)
  }

  /// Whether the part of `chunk` within `bytes` is valid in the data file. Settles chunks of which
  /// it is known that they are zero.
  func isReadable(_ chunk: ChunkIndex, _ bytes: Range<UInt64>, _ state: inout State) -> Bool {
    if chunks.isPresent(chunk) { return true }
    if state.filling.contains(chunk) { return false }
    if isZero(chunk, state) {
      settle(chunk, &state)
      return true
    }
    guard let pages = state.partial[chunk] else { return false }
    let wanted = Geometry.pages(touching: bytes).clamped(to: geometry.pages(of: chunk))
    let first = geometry.firstPage(of: chunk)
    return pages.contains(Int(wanted.lowerBound - first)..<Int(wanted.upperBound - first))
  }

  /// Whether an absent chunk is known to be zero where it was not written.
  private func isZero(_ chunk: ChunkIndex, _ state: State) -> Bool {
    state.zeroed.contains(chunk) || map.known(file, chunk)?.isEmpty == true
  }

  /// Makes a chunk present whose bytes are in the data file already.
  private func settle(_ chunk: ChunkIndex, _ state: inout State) {
    state.partial[chunk] = nil
    state.zeroed.remove(contentsOf: chunk..<chunk + 1)
    state.machine.discard(chunk)
    notePresent(chunk)
  }

  /// All bytes of the chunk are in the data file: readers may enter. The lock is held.
  func notePresent(_ chunk: ChunkIndex) {
    chunks.setPresent(chunk)
    engine.cacheBudget.noteArrival(chunk, of: self)
    chunksPresent.add(1, ordering: .relaxed)
    do throws(LocalError) {
      try stateFile.set(chunk..<chunk + 1, present: true)
    } catch {
      // A hint: lost, the chunk is pulled again after a restart.
      engine.log(.warning, "\(error)")
    }
  }

  /// Gives a parked request up. Returns whether it was still parked; then its completion is not
  /// called any more.
  public func cancel(_ ticket: Ticket) -> Bool {
    state.withLock { state in
      guard state.machine.cancel(ticket) else { return false }
      state.parked[ticket] = nil
      state.parkedSince[ticket] = nil
      return true
    }
  }

  /// Carries out what was decided under the lock.
  func perform(_ work: Work) {
    for (completion, outcome) in work.completions { completion(outcome) }
    puller.start(self, work.demands, priority: .demand)
    puller.start(self, work.readAheads, priority: .readAhead)
    for _ in 0..<work.startBackground { puller.startBackgroundWorker(self) }
  }

  // MARK: Read-ahead

  func extendReadAhead(at chunk: ChunkIndex) {
    let work = state.withLock { state -> Work in
      var work = Work()
      advise(chunk, &state, &work)
      return work
    }
    perform(work)
  }

  private func advise(_ chunk: ChunkIndex, _ state: inout State, _ work: inout Work) {
    guard !state.isClosed else { return }
    let (advice, isKnown) = state.readAhead.touched(chunk, end: chunkCount)
    if let advice {
      let most = engine.cacheBudget.readAheadLimit >> geometry.chunkShift
      work.readAheads += advice.chunks.prefix(Int(clamping: max(2, most))).filter {
        takeForPrefetch($0, &state)
      }
      chunks.setMark(advice.mark)
    }
    noteMiss(isSequential: isKnown, &state, &work)
  }

  /// Whether the chunk has to be pulled; then it counts as being pulled.
  func takeForPrefetch(_ chunk: ChunkIndex, _ state: inout State) -> Bool {
    if chunks.isPresent(chunk) || isZero(chunk, state) { return false }
    return state.machine.prefetch(chunk)
  }

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
