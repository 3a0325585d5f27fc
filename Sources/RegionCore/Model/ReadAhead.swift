/// Recognises sequential reading of a region and says what to pull ahead. Pure.
///
/// A stream is two touches of neighbouring chunks, or one of the first, though that has a smaller window:
/// who begins at the beginning often goes on. A window grows fourfold each time the reader reaches what was
/// pulled last (a mark on that chunk, or a miss), up to a maximum, so that between one and two windows are
/// always under way.
struct ReadAhead: Sendable {
  /// What to do: pull `chunks`, and set the mark on `mark`.
  struct Advice: Equatable, Sendable {
    var chunks: Range<ChunkIndex>
    var mark: ChunkIndex
  }

  private struct Stream: Sendable {
    /// The chunk touched last.
    var last: ChunkIndex
    /// Where the newest step began.
    var newest: ChunkIndex
    /// Where the read-ahead goes on.
    var frontier: ChunkIndex
    /// Chunks of the newest step, before it was rounded; 0 while only one touch was seen.
    var window: UInt64
  }

  /// Streams remembered at a time: readers interleave, but not without bound.
  private static let streamLimit = 8
  /// Bytes of one transfer, where chunks lie together: what a segment holds. A store spends as much
  /// on a request as on megabytes (SeaweedFS a quarter more processor time with ranges of 4 MiB than
  /// with whole segments).
  private static let transferBytes: UInt64 = 8 << 20

  /// Chunks of one transfer.
  static func transferLength(_ geometry: Geometry) -> Int {
    max(1, Int(transferBytes >> geometry.chunkShift))
  }

  /// How far behind its newest touch a stream may still be touched, in bytes: the kernel asks for several
  /// neighbouring pieces at once, and the threads that take them are not in order.
  private static let disorderBytes: UInt64 = 1 << 20

  private let firstWindow: UInt64
  /// The largest window while the store is near, and while it is not.
  private let nearWindow: UInt64
  private let farWindow: UInt64
  private let transfer: UInt64
  private let disorder: UInt64
  private var streams: [Stream] = []

  /// Windows grow from 4 MiB (at least two chunks): each step costs the reader a wait, and two
  /// neighbours touched by chance are rare. They end at 32 MiB, which is more than a near store
  /// brings while the reader is at the window before; from a far one 64 MiB are under way in a round trip.
  init(geometry: Geometry) {
    firstWindow = max(2, (4 << 20) >> geometry.chunkShift)
    nearWindow = max(4, (32 << 20) >> geometry.chunkShift)
    farWindow = max(4, (64 << 20) >> geometry.chunkShift)
    transfer = UInt64(Self.transferLength(geometry))
    disorder = max(1, Self.disorderBytes >> geometry.chunkShift)
  }

  /// Whether a read of `chunk` goes on where a stream is. Others may lie in its window by chance.
  func isNext(_ chunk: ChunkIndex) -> Bool {
    streams.contains { $0.window > 0 && chunk + disorder >= $0.last && chunk <= $0.last + 1 }
  }

  /// Whether a reader that goes on where a stream is would be seen at `chunk` next: there, or where the
  /// newest step began, if it found all before that.
  func isSeenNext(_ chunk: ChunkIndex) -> Bool {
    isNext(chunk) || streams.contains { $0.window > 0 && $0.newest == chunk }
  }

  /// A read reached `chunk`, which was absent, being pulled or marked. `end` is the region's number
  /// of chunks, `isFar` whether the store is. `isKnown` says whether the read continues a stream.
  mutating func touched(
    _ chunk: ChunkIndex, end: ChunkIndex, isFar: Bool
  ) -> (advice: Advice?, isKnown: Bool) {
    let most = isFar ? farWindow : nearWindow
    guard let at = streams.firstIndex(where: { isPart(chunk, $0) }) else {
      var stream = Stream(last: chunk, newest: chunk + 1, frontier: chunk + 1, window: 0)
      var advice: Advice?
      if chunk == 0 {
        stream.window = max(1, firstWindow / 16)
        advice = step(&stream, to: chunk, end: end, most: most)
      }
      remember(stream)
      return (advice, false)
    }
    var stream = streams.remove(at: at)
    let advice = advance(&stream, to: chunk, end: end, most: most)
    remember(stream)
    return (advice, true)
  }

  private func isPart(_ chunk: ChunkIndex, _ stream: Stream) -> Bool {
    // Two touches are no stream yet, and who reads backwards makes none.
    let start = stream.window > 0 ? stream.last - min(stream.last, disorder) : stream.last
    return (start...stream.frontier).contains(chunk)
  }

  private func advance(
    _ stream: inout Stream, to chunk: ChunkIndex, end: ChunkIndex, most: UInt64
  ) -> Advice? {
    let isForward = chunk > stream.last
    stream.last = max(stream.last, chunk)
    // Only a reader that reached the newest step needs another one.
    guard chunk >= stream.newest, isForward || stream.window > 0 else { return nil }
    return step(&stream, to: chunk, end: end, most: most)
  }

  /// The next window of a stream whose reader is at `chunk`.
  private func step(
    _ stream: inout Stream, to chunk: ChunkIndex, end: ChunkIndex, most: UInt64
  ) -> Advice? {
    stream.window = stream.window == 0 ? firstWindow : min(stream.window * 4, most)
    let first = max(stream.frontier, chunk + 1)
    // Wide windows end where transfers do, which begin at multiples of their length.
    let wanted = first + stream.window
    let edge = stream.window < transfer ? wanted : (wanted + transfer - 1) / transfer * transfer
    let chunks = first..<max(first, min(edge, end))
    stream.newest = first
    stream.frontier = chunks.upperBound
    return chunks.isEmpty ? nil : Advice(chunks: chunks, mark: first)
  }

  private mutating func remember(_ stream: Stream) {
    if streams.count >= Self.streamLimit { streams.removeFirst() }
    streams.append(stream)
  }
}
