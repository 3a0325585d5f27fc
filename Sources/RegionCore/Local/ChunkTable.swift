import Glibc
import Synchronization

/// One atomic word for each chunk of a region: whether its bytes are in the data file, and how many
/// readers rely on that right now. The hit path touches nothing else.
///
/// | bits    | meaning                                                        |
/// |---------|----------------------------------------------------------------|
/// | 0 ... 15  | readers inside (so that an eviction can wait for them)       |
/// | 16      | present: all bytes of the chunk are in the data file           |
/// | 17      | mark: the next read of it should extend the read-ahead         |
/// | 18      | hot: the pulled bytes are still in memory too, in slot 21 ... 31 |
/// | 19      | visited: read since the eviction's hand passed                 |
/// | 20      | queued: the eviction's queue has it                            |
///
/// Two levels, so that a region of 8 TiB costs memory only where it was touched. Leaves are never
/// freed while the region is open, so that a reader needs no lock to follow them.
@safe final class ChunkTable: @unchecked Sendable {
  // Sound because all shared memory is atomic: leaves are published once by compare-and-swap.
  typealias Word = Atomic<UInt32>
  private typealias Leaf = UnsafeMutablePointer<Word>

  private static let readers: UInt32 = (1 << 16) - 1
  static let present: UInt32 = 1 << 16
  static let mark: UInt32 = 1 << 17
  private static let hot: UInt32 = 1 << 18
  private static let visited: UInt32 = 1 << 19
  private static let queued: UInt32 = 1 << 20
  private static let slotShift: UInt32 = 21
  private static let hotAndSlot = hot | ~UInt32(0) << slotShift
  /// Slots that a word can name.
  static let slotCount = 1 << 11
  private static let leafShift: UInt64 = 12
  private static let leafCount = 1 << 12

  private let top: UnsafeMutablePointer<Atomic<UInt>>
  private let topCount: Int
  private let topBytes: Int

  /// A table for all chunks that a region may ever have; nothing is present.
  init(geometry: Geometry) {
    topCount = Int((Limits.regionSize >> geometry.chunkShift) >> Self.leafShift)
    topBytes = topCount * MemoryLayout<Atomic<UInt>>.stride
    // SAFETY: fresh zero pages are valid atomics holding 0; unmapped in deinit only. Only touched
    // pages cost memory.
    let memory = unsafe mmap(
      nil, topBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
    guard let memory = unsafe memory, unsafe memory != MAP_FAILED else {
      fatalError("mmap of \(topBytes) bytes for a chunk table failed: \(errnoText(errno))")
    }
    unsafe top = memory.bindMemory(to: Atomic<UInt>.self, capacity: topCount)
  }

  deinit {
    for slot in 0..<topCount {
      if let leaf = unsafe leaf(slot) { unsafe leaf.deallocate() }
    }
    unsafe munmap(top, topBytes)
  }

  private func leaf(_ slot: Int) -> Leaf? {
    unsafe Leaf(bitPattern: top[slot].load(ordering: .acquiring))
  }

  /// The word of a chunk, or nil if its leaf was never made (so nothing about it is present).
  private func word(_ chunk: ChunkIndex) -> Leaf? {
    guard let leaf = unsafe leaf(Int(chunk >> Self.leafShift)) else { return nil }
    return unsafe leaf + Int(chunk) & (Self.leafCount - 1)
  }

  private func wordMaking(_ chunk: ChunkIndex) -> Leaf {
    if let word = unsafe word(chunk) { return unsafe word }
    let slot = Int(chunk >> Self.leafShift)
    let fresh = Leaf.allocate(capacity: Self.leafCount)
    // SAFETY: all-zero memory is a valid array of atomics holding 0.
    unsafe memset(fresh, 0, Self.leafCount * MemoryLayout<Word>.stride)
    let published = unsafe top[slot].compareExchange(
      expected: 0, desired: UInt(bitPattern: fresh), ordering: .acquiringAndReleasing)
    if !published.exchanged {
      unsafe fresh.deallocate()
      guard let other = unsafe Leaf(bitPattern: published.original) else {
        fatalError("a published leaf is never taken back")
      }
      return unsafe other + Int(chunk) & (Self.leafCount - 1)
    }
    return unsafe fresh + Int(chunk) & (Self.leafCount - 1)
  }

  /// What a reader that wants a chunk is told.
  enum Entry {
    /// Present: the caller is inside and must `leave`.
    case entered
    /// Present and marked: inside, and the read-ahead should go on.
    case enteredAtMark
    /// Not present: the caller is not inside.
    case absent
  }

  /// Enters a chunk for reading if it is present. No lock, no allocation.
  func enter(_ chunk: ChunkIndex) -> Entry {
    guard let word = unsafe word(chunk) else { return .absent }
    let value = unsafe word.pointee.add(1, ordering: .acquiring).newValue
    if value & Self.present == 0 {
      unsafe word.pointee.subtract(1, ordering: .releasing)
      return .absent
    }
    // Once in a round of the hand; afterwards it costs nothing.
    if value & Self.visited == 0 {
      unsafe word.pointee.bitwiseOr(Self.visited, ordering: .relaxed)
    }
    if value & Self.mark != 0 {
      let old = unsafe word.pointee.bitwiseAnd(~Self.mark, ordering: .relaxed).oldValue
      return old & Self.mark != 0 ? .enteredAtMark : .entered
    }
    return .entered
  }

  /// Leaves a chunk that `enter` let the caller into.
  func leave(_ chunk: ChunkIndex) {
    if let word = unsafe word(chunk) { unsafe word.pointee.subtract(1, ordering: .releasing) }
  }

  /// Whether the chunk is present.
  func isPresent(_ chunk: ChunkIndex) -> Bool {
    guard let word = unsafe word(chunk) else { return false }
    return unsafe word.pointee.load(ordering: .acquiring) & Self.present != 0
  }

  /// Makes the chunk present: its bytes are in the data file.
  func setPresent(_ chunk: ChunkIndex) {
    unsafe wordMaking(chunk).pointee.bitwiseOr(Self.present, ordering: .releasing)
  }

  /// Makes the chunk absent; readers that are inside stay so.
  func setAbsent(_ chunk: ChunkIndex) {
    guard let word = unsafe word(chunk) else { return }
    unsafe word.pointee.bitwiseAnd(Self.readers | Self.queued, ordering: .acquiringAndReleasing)
  }

  // MARK: Eviction, see `CacheBudget`

  /// Notes that the chunk is queued, used for now. Returns whether it was not queued before.
  func setQueued(_ chunk: ChunkIndex) -> Bool {
    let old = unsafe wordMaking(chunk).pointee.bitwiseOr(
      Self.queued | Self.visited, ordering: .relaxed
    ).oldValue
    return old & Self.queued == 0
  }

  /// The queue has the chunk no more.
  func clearQueued(_ chunk: ChunkIndex) {
    guard let word = unsafe word(chunk) else { return }
    unsafe word.pointee.bitwiseAnd(~Self.queued, ordering: .relaxed)
  }

  /// Whether the chunk was read since this was asked last.
  func takeVisited(_ chunk: ChunkIndex) -> Bool {
    guard let word = unsafe word(chunk) else { return false }
    guard unsafe word.pointee.load(ordering: .relaxed) & Self.visited != 0 else { return false }
    unsafe word.pointee.bitwiseAnd(~Self.visited, ordering: .relaxed)
    return true
  }

  /// Makes a present chunk absent if nobody is reading it and its bytes are in the data file alone;
  /// whether that was so. In one step, so that nobody has to be waited for.
  func takeAway(_ chunk: ChunkIndex) -> Bool {
    guard let word = unsafe word(chunk) else { return false }
    let value = unsafe word.pointee.load(ordering: .acquiring)
    guard value & Self.present != 0, value & (Self.readers | Self.hot) == 0 else { return false }
    return unsafe word.pointee.compareExchange(
      expected: value, desired: value & Self.queued, ordering: .acquiringAndReleasing
    ).exchanged
  }

  // MARK: Hot chunks, see `HotChunks`

  /// The slot that holds the bytes of a chunk, for who has entered it; nil if they are only in the
  /// data file. Valid until the caller leaves.
  func hotSlot(_ chunk: ChunkIndex) -> Int? {
    guard let word = unsafe word(chunk) else { return nil }
    let value = unsafe word.pointee.load(ordering: .acquiring)
    return value & Self.hot == 0 ? nil : Int(value >> Self.slotShift)
  }

  /// Names the slot of a chunk that is not present yet.
  func setHot(_ chunk: ChunkIndex, slot: Int) {
    let word = unsafe wordMaking(chunk)
    unsafe word.pointee.bitwiseAnd(~Self.hotAndSlot, ordering: .relaxed)
    unsafe word.pointee.bitwiseOr(
      Self.hot | UInt32(slot) << Self.slotShift, ordering: .releasing)
  }

  /// From now on readers that enter take the chunk's bytes from the data file: they are about to
  /// change there.
  func setCold(_ chunk: ChunkIndex) {
    guard let word = unsafe word(chunk) else { return }
    guard unsafe word.pointee.load(ordering: .relaxed) & Self.hot != 0 else { return }
    unsafe word.pointee.bitwiseAnd(~Self.hotAndSlot, ordering: .acquiringAndReleasing)
  }

  /// As `setCold`, if the chunk's bytes are in `slot`; then waits for the readers that use them.
  func setCold(_ chunk: ChunkIndex, slot: Int) {
    guard let word = unsafe word(chunk) else { return }
    while true {
      let value = unsafe word.pointee.load(ordering: .acquiring)
      guard value & Self.hot != 0, Int(value >> Self.slotShift) == slot else { break }
      let result = unsafe word.pointee.compareExchange(
        expected: value, desired: value & ~Self.hotAndSlot, ordering: .acquiringAndReleasing)
      if result.exchanged { break }
    }
    // Also where it was cold already: a reader may have entered before that.
    waitForReaders(of: chunk)
  }

  /// Waits until nobody who found the chunk present reads it any more: for one local read at most.
  func waitForReaders(of chunk: ChunkIndex) {
    guard let word = unsafe word(chunk) else { return }
    while unsafe word.pointee.load(ordering: .acquiring) & Self.readers != 0 { sched_yield() }
  }

  /// Marks the chunk, so that reading it extends the read-ahead.
  func setMark(_ chunk: ChunkIndex) {
    unsafe wordMaking(chunk).pointee.bitwiseOr(Self.mark, ordering: .relaxed)
  }

  /// Chunks of `range` whose leaf exists, i.e. that may be present.
  func touched(in range: Range<ChunkIndex>) -> [Range<ChunkIndex>] {
    guard !range.isEmpty else { return [] }
    let slots =
      Int(range.lowerBound >> Self.leafShift)...Int((range.upperBound - 1) >> Self.leafShift)
    return slots.filter { unsafe $0 < topCount && leaf($0) != nil }.map {
      (UInt64($0) << Self.leafShift..<UInt64($0 + 1) << Self.leafShift).clamped(to: range)
    }
  }
}
