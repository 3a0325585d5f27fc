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
    chunksPresent.store(cached.presentCount, ordering: .relaxed)
    currentSize = Atomic(size)
    state = Lock(State(readAhead: ReadAhead(geometry: map.geometry)))
    if try data.size() != dataLength(size) {
      try stateFile.declareInUse()
      try data.truncate(to: dataLength(size))
    }
  }

  /// Length of the data file for a region of `size` bytes: whole chunks, so that a read within the
  /// region never comes back short.
  func dataLength(_ size: UInt64) -> UInt64 {
    (size + geometry.chunkSize - 1) & ~(geometry.chunkSize - 1)
  }

  /// Number of chunks the region has now.
  var chunkCount: UInt64 { dataLength(currentSize.load(ordering: .relaxed)) >> geometry.chunkShift }

  // MARK: The hit path

  /// How a read of what is present went.
  public enum HitResult {
    /// This many bytes are in the buffer; fewer than it holds only at the region's end.
    case bytes(Int)
    /// The bytes are lent, not copied: the loan must be given back at once (`giveBack`).
    case lent(Loan)
    /// Some chunk is not present: `demand` it.
    case missed
    /// The cache file could not be read.
    case failed(LocalError)
  }

  /// Bytes of a chunk that is still in memory. Until they are given back the chunk has a reader, for
  /// whom a writer may be waiting with the region's lock held: nothing that takes a lock may happen.
  @safe public struct Loan {
    /// What was asked for, up to the region's end.
    public let bytes: UnsafeRawBufferPointer
    fileprivate let chunk: ChunkIndex
    fileprivate let slot: Int
    fileprivate let isMarked: Bool
  }

  /// Ends a loan; its bytes must not be used any more.
  public func giveBack(_ loan: Loan) {
    let isRead = engine.hotChunks.noteRead(loan.slot, unsafe loan.bytes.count)
    chunks.leave(loan.chunk)
    if isRead { engine.hotChunks.remove(loan.slot, loan.chunk, of: chunks) }
    hits.add(1, ordering: .relaxed)
    if loan.isMarked { extendReadAhead(at: loan.chunk) }
  }

  /// Reads into `buffer` if all chunks it touches are present. No lock, no allocation (but for the
  /// one read in a window that extends the read-ahead, or the last of a chunk kept in memory).
  public func readPresent(_ offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) -> HitResult
  {
    let size = currentSize.load(ordering: .relaxed)
    guard offset < size else { return .bytes(0) }
    let end = min(offset + UInt64(buffer.count), size)
    guard end > offset else { return .bytes(0) }
    let first = geometry.chunk(ofByte: offset)
    let last = geometry.chunk(ofByte: end - 1)
    var chunk = first
    var marked: ChunkIndex?
    while chunk <= last {
      switch chunks.enter(chunk) {
      case .entered: break
      case .enteredAtMark: marked = chunk
      case .absent:
        leave(first, below: chunk)
        return .missed
      }
      chunk += 1
    }
    if first == last, let slot = chunks.hotSlot(first) {
      let start = Int(offset - geometry.bytes(of: first).lowerBound)
      let bytes = unsafe engine.hotChunks.bytes(slot, start..<start + Int(end - offset))
      return unsafe .lent(Loan(bytes: bytes, chunk: first, slot: slot, isMarked: marked != nil))
    }
    let result = unsafe readData(offset, into: buffer, end: end)
    leave(first, below: last + 1)
    hits.add(1, ordering: .relaxed)
    if let marked { extendReadAhead(at: marked) }
    return result
  }

  private func leave(_ first: ChunkIndex, below end: ChunkIndex) {
    var chunk = first
    while chunk < end {
      chunks.leave(chunk)
      chunk += 1
    }
  }

  private func readData(_ offset: UInt64, into buffer: UnsafeMutableRawBufferPointer, end: UInt64)
    -> HitResult
  {
    let length = Int(end - offset)
    do throws(LocalError) {
      let count = try unsafe data.read(into: buffer.prefixBytes(length), at: offset)
      if count < length {
        // Only beyond the data file's end, which is beyond the region's: those bytes are zero.
        unsafe buffer.prefixBytes(length)[count...].initializeMemory(as: UInt8.self, repeating: 0)
      }
      return .bytes(length)
    } catch {
      return .failed(error)
    }
  }

  /// Reads what a `.ready` spoke of. `.missed` if it was dropped again since, because another
  /// writer's commit was adopted: `demand` it once more.
  public func readData(_ offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) -> HitResult {
    state.withLock { state in
      let size = currentSize.load(ordering: .relaxed)
      guard offset < size else { return .bytes(0) }
      let end = min(offset + UInt64(buffer.count), size)
      guard end > offset else { return .bytes(0) }
      // With the lock held nothing is dropped; and pages of absent chunks have no reader count.
      let isThere = geometry.chunks(touching: offset..<end).allSatisfy {
        isReadable($0, offset..<end, &state)
      }
      return isThere ? unsafe readData(offset, into: buffer, end: end) : .missed
    }
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
