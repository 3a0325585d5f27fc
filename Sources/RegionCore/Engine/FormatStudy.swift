/// A region's ends are looked at, so that what its format says is pulled before the rest.
extension Region {
  func studyFormat() {
    let size = currentSize.load(ordering: .relaxed)
    let tailStart = size - min(size, UInt64(FileFormats.tailLength))
    guard let head = presentBytes(0..<min(size, UInt64(FileFormats.headLength))),
      let tail = presentBytes(tailStart..<size)
    else { return }
    let wanted = FileFormats.wanted(head: head, tail: tail, size: size)
    state.withLock { state in
      state.background.knowsFormat = true
      state.background.order.wish(wanted.map { geometry.chunks(touching: $0) }, .format)
    }
  }

  /// Bytes of chunks that are all here; nil if one is not, or they cannot be read.
  private func presentBytes(_ range: Range<UInt64>) -> [UInt8]? {
    let buffer = IOBuffer(capacity: range.count)
    let memory = unsafe buffer.memory.prefixBytes(range.count)
    // Not `readPresent`: this is no program's read, which a trace or a read-ahead should go by.
    guard case .bytes(let count) = unsafe readData(range.lowerBound, into: memory) else {
      return nil
    }
    buffer.count = count
    return buffer.array
  }
}
