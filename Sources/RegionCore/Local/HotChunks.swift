/// Pulled chunks that stay in their transfer buffers for a while after they were written to the data
/// file: who reads ahead reads soon, and then needs neither a system call nor a second copy of the
/// bytes in the page cache.
///
/// A chunk's word names its slot (`ChunkTable`), so that readers find the bytes without a lock. The
/// oldest chunk goes when the limit is reached, after its readers have left. Whoever changes a
/// chunk's bytes in the data file makes it cold first.
@safe final class HotChunks: @unchecked Sendable {
  // Sound because a slot's place is written before a word names it and changed only after no word
  // names it and no reader is inside; everything else is behind the lock.

  /// All bytes of one chunk within a buffer.
  struct Bytes {
    let buffer: PooledBuffer
    /// Where the chunk begins in the buffer.
    let offset: Int
    /// The chunk's size in bytes.
    let count: Int
  }

  private struct Entry {
    let table: ChunkTable
    let chunk: ChunkIndex
    let bytes: Bytes
  }

  private struct State {
    /// By slot; a ring.
    var entries: [Entry?]
    /// The slot that is filled next; from here on the oldest come first.
    var next = 0
    /// The oldest slot that may be filled.
    var oldest = 0
    var bytes = 0
  }

  /// The most bytes kept.
  let limit: Int
  private let places: UnsafeMutablePointer<UnsafeRawPointer?>
  private let state: Lock<State>

  /// Slots: enough for the limit in the smallest chunks.
  private static let slotCount = 1024

  init(limit: Int) {
    self.limit = limit
    unsafe places = .allocate(capacity: Self.slotCount)
    unsafe places.initialize(repeating: nil, count: Self.slotCount)
    state = Lock(State(entries: Array(repeating: nil, count: Self.slotCount)))
  }

  deinit { unsafe places.deallocate() }

  /// The bytes of `range` of the chunk in a slot. The caller has entered the chunk and found the
  /// slot in its word, and stays inside while it uses them.
  func bytes(_ slot: Int, _ range: Range<Int>) -> UnsafeRawBufferPointer {
    guard let place = unsafe places[slot] else { preconditionFailure("a word names an empty slot") }
    return unsafe UnsafeRawBufferPointer(start: place + range.lowerBound, count: range.count)
  }

  /// Keeps the bytes of a chunk that is about to become present. The region's lock is held.
  func add(_ bytes: Bytes, as chunk: ChunkIndex, of table: ChunkTable) {
    precondition(bytes.offset >= 0 && bytes.offset + bytes.count <= bytes.buffer.buffer.count)
    state.withLock { state in
      while state.bytes + bytes.count > limit || state.entries[state.next] != nil {
        guard removeOldest(&state) else { return }
      }
      let slot = state.next
      state.next = (slot + 1) % Self.slotCount
      state.bytes += bytes.count
      state.entries[slot] = Entry(table: table, chunk: chunk, bytes: bytes)
      // SAFETY: the entry keeps the buffer alive; the precondition bounds the chunk within it.
      unsafe places[slot] = UnsafeRawPointer(bytes.buffer.buffer.base) + bytes.offset
      table.setHot(chunk, slot: slot)
    }
  }

  /// Lets go of all chunks of a region; nobody adds any more.
  func removeAll(of table: ChunkTable) {
    state.withLock { state in
      for slot in state.entries.indices where state.entries[slot]?.table === table {
        remove(slot, &state)
      }
    }
  }

  /// Bytes kept now.
  var byteCount: Int { state.withLock { $0.bytes } }

  /// Whether there was one.
  private func removeOldest(_ state: inout State) -> Bool {
    guard state.bytes > 0 else { return false }
    while state.entries[state.oldest] == nil { state.oldest = (state.oldest + 1) % Self.slotCount }
    remove(state.oldest, &state)
    return true
  }

  /// Waits for the readers inside, who are copying at most one answer.
  private func remove(_ slot: Int, _ state: inout State) {
    guard let entry = state.entries[slot] else { return }
    entry.table.setCold(entry.chunk, slot: slot)
    unsafe places[slot] = nil
    state.entries[slot] = nil
    state.bytes -= entry.bytes.count
  }
}
