/// Chunks of a region with changes that only the log has. Their bytes must not leave the data file: the
/// committed map would bring older ones back. Pure.
struct UncommittedChunks: Sendable {
  /// The last record that changed each chunk.
  private var last: [ChunkIndex: SequenceNumber] = [:]
  /// The same for ranges that are too long to be noted chunk by chunk.
  private var ranges: [(chunks: Range<ChunkIndex>, sequence: SequenceNumber)] = []

  /// Longer ranges are noted as such.
  private static let longRange = 64
  /// More ranges than this are noted as the one that spans all of them: some chunks stay longer than
  /// they must.
  private static let rangeLimit = 256

  /// Nothing is uncommitted.
  var isEmpty: Bool { last.isEmpty && ranges.isEmpty }

  /// A record changes these chunks. Records come in the order of their numbers.
  mutating func note(_ chunks: Range<ChunkIndex>, _ sequence: SequenceNumber) {
    guard chunks.count > Self.longRange else {
      for chunk in chunks { last[chunk] = sequence }
      return
    }
    if let at = ranges.firstIndex(where: { $0.chunks == chunks }) {
      ranges[at].sequence = sequence
    } else if ranges.count < Self.rangeLimit {
      ranges.append((chunks, sequence))
    } else {
      let first = ranges.reduce(chunks.lowerBound) { min($0, $1.chunks.lowerBound) }
      let end = ranges.reduce(chunks.upperBound) { max($0, $1.chunks.upperBound) }
      ranges = [(first..<end, sequence)]
    }
  }

  /// Whether the chunk has changes that are in no commit.
  func contains(_ chunk: ChunkIndex) -> Bool {
    last[chunk] != nil || ranges.contains { $0.chunks.contains(chunk) }
  }

  /// Records up to `cut` are committed, and the map shows them.
  mutating func commit(through cut: SequenceNumber) {
    if last.contains(where: { $0.value <= cut }) { last = last.filter { $0.value > cut } }
    ranges.removeAll { $0.sequence <= cut }
  }

  /// Another log begins: its numbers have nothing to do with these.
  mutating func removeAll() { self = UncommittedChunks() }
}
