import Locks
import Synchronization

/// Pulled chunks that stay in their transfer buffers until they are read: who reads ahead reads soon,
/// and then needs neither a system call nor a second copy of the bytes in the page cache.
///
/// A chunk's word names its slot (`ChunkTable`), so that readers find the bytes without a lock. A
/// chunk goes when as many bytes were read as it has, or after a while when others need the room.
/// Whoever changes a chunk's bytes in the data file makes it cold first.
@safe final class HotChunks: @unchecked Sendable {
  // Sound because a slot's place is written before a word names it and changed only after no word
  // names it and no reader is inside; everything else is atomic or behind the lock.

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
    let since: MonotonicTime
  }

  private struct State {
    /// By slot; a ring.
    var entries: [Entry?]
    /// The slot that is filled next.
    var next = 0
    /// No slot from here to `next` is older.
    var oldest = 0
    var bytes = 0
  }

  /// What readers see of a slot.
  // SAFETY: `start` is valid while an entry holds the buffer.
  @safe private struct Place: ~Copyable {
    var start: UnsafeRawPointer?
    /// Bytes that nobody has read yet.
    let unread = Atomic<Int>(0)
  }

  /// About the most bytes kept.
  let limit: Int
  private let places: UnsafeMutablePointer<Place>
  private let state: Lock<State>

  /// Slots: enough for the limit in the smallest chunks.
  private static let slotCount = 1024
  /// How long bytes that nobody reads may keep others out.
  private static let patience = Duration.seconds(2)

  init(limit: Int) {
    self.limit = limit
    unsafe places = .allocate(capacity: Self.slotCount)
    for slot in 0..<Self.slotCount { unsafe (places + slot).initialize(to: Place()) }
    state = Lock(State(entries: Array(repeating: nil, count: Self.slotCount)))
  }

  deinit {
    unsafe places.deinitialize(count: Self.slotCount)
    unsafe places.deallocate()
  }

  // MARK: Readers

  /// The bytes of `range` of the chunk in a slot. The caller has entered the chunk and found the
  /// slot in its word, and stays inside while it uses them.
  func bytes(_ slot: Int, _ range: Range<Int>) -> UnsafeRawBufferPointer {
    guard let start = unsafe places[slot].start else {
      preconditionFailure("a word names an empty slot")
    }
    return unsafe UnsafeRawBufferPointer(start: start + range.lowerBound, count: range.count)
  }

  /// Notes that `count` bytes were read; whether that was the last of them. The caller is still
  /// inside.
  func noteRead(_ slot: Int, _ count: Int) -> Bool {
    let old = unsafe places[slot].unread.subtract(count, ordering: .relaxed).oldValue
    return old > 0 && old <= count
  }

  /// Lets go of a chunk that was read; the caller has left it.
  func remove(_ slot: Int, _ chunk: ChunkIndex, of table: ChunkTable) {
    state.withLock { state in
      guard let entry = state.entries[slot], entry.table === table, entry.chunk == chunk else {
        return
      }
      remove(slot, &state)
    }
  }

  // MARK: Writers

  /// Whether there is room for `count` bytes now.
  func hasRoom(for count: Int, at now: MonotonicTime) -> Bool {
    state.withLock { state in
      while state.bytes + count > limit, let slot = oldest(&state),
        let entry = state.entries[slot], now.since(entry.since) >= Self.patience
      {
        remove(slot, &state)
      }
      return state.bytes + count <= limit
    }
  }

  /// Keeps the bytes of a chunk that is about to become present, if a slot is free. The region's
  /// lock is held.
  func add(_ bytes: Bytes, as chunk: ChunkIndex, of table: ChunkTable, at now: MonotonicTime) {
    precondition(bytes.offset >= 0 && bytes.offset + bytes.count <= bytes.buffer.buffer.count)
    state.withLock { state in
      let slot = state.next
      guard state.entries[slot] == nil else { return }
      state.next = (slot + 1) % Self.slotCount
      // The whole buffer lives as long as one chunk in it is hot.
      if bytes.buffer.hotCount.add(1, ordering: .relaxed).oldValue == 0 {
        state.bytes += bytes.buffer.buffer.capacity
      }
      state.entries[slot] = Entry(table: table, chunk: chunk, bytes: bytes, since: now)
      // SAFETY: the entry keeps the buffer alive; the precondition bounds the chunk within it.
      unsafe places[slot].start = UnsafeRawPointer(bytes.buffer.buffer.base) + bytes.offset
      unsafe places[slot].unread.store(bytes.count, ordering: .relaxed)
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

  private func oldest(_ state: inout State) -> Int? {
    guard state.bytes > 0 else { return nil }
    while state.entries[state.oldest] == nil { state.oldest = (state.oldest + 1) % Self.slotCount }
    return state.oldest
  }

  /// Waits for the readers inside, who are copying at most one answer.
  private func remove(_ slot: Int, _ state: inout State) {
    guard let entry = state.entries[slot] else { return }
    entry.table.setCold(entry.chunk, slot: slot)
    unsafe places[slot].start = nil
    state.entries[slot] = nil
    if entry.bytes.buffer.hotCount.subtract(1, ordering: .relaxed).newValue == 0 {
      state.bytes -= entry.bytes.buffer.buffer.capacity
    }
  }
}
