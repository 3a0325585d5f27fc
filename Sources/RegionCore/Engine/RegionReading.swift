import Synchronization

/// The hit path, and reads of what was waited for.
extension Region {
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
    fileprivate let isProgram: Bool
  }

  /// Ends a loan; its bytes must not be used any more.
  public func giveBack(_ loan: Loan) {
    let isRead = engine.hotChunks.noteRead(loan.slot, unsafe loan.bytes.count)
    chunks.leave(loan.chunk)
    if isRead { engine.hotChunks.remove(loan.slot, loan.chunk, of: chunks) }
    if loan.isProgram { hits.add(1, ordering: .relaxed) }
    if loan.isMarked { extendReadAhead(at: loan.chunk) }
  }

  /// Reads into `buffer` if all chunks it touches are present. No lock, no allocation (but for the
  /// one read in a window that extends the read-ahead, or the last of a chunk kept in memory).
  ///
  /// - Parameter isProgram: a program's read, by which counts and read-ahead go.
  public func readPresent(
    _ offset: UInt64, into buffer: UnsafeMutableRawBufferPointer, isProgram: Bool = true
  ) -> HitResult {
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
      case .enteredAtMark where isProgram: marked = chunk
      case .enteredAtMark: chunks.setMark(chunk)
      case .absent:
        leave(first, below: chunk)
        return .missed
      }
      chunk += 1
    }
    if first == last, let slot = chunks.hotSlot(first) {
      let start = Int(offset - geometry.bytes(of: first).lowerBound)
      let bytes = unsafe engine.hotChunks.bytes(slot, start..<start + Int(end - offset))
      let isMarked = marked != nil
      return unsafe .lent(
        Loan(bytes: bytes, chunk: first, slot: slot, isMarked: isMarked, isProgram: isProgram))
    }
    let result = unsafe readData(offset, into: buffer, end: end)
    leave(first, below: last + 1)
    if isProgram { hits.add(1, ordering: .relaxed) }
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
}
