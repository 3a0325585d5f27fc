import RegionTesting
import Testing

@testable import RegionCore

/// How starts become a trace.
@Suite struct AccessTraceTests {
  private typealias Entry = AccessTrace.Entry
  private let empty = AccessTrace(group: Random128(high: 1, low: 2), geometry: .standard)

  private func start(
    _ chunks: [ChunkIndex], file: FileID = 5, offered: [Range<ChunkIndex>] = []
  ) -> TraceRecording {
    var start = TraceRecording(geometry: .standard)
    start.offer(file, RangeSet(offered))
    for chunk in chunks { start.note(file, chunk, isStream: false) }
    return start
  }

  private func trace(_ starts: TraceRecording...) -> AccessTrace {
    starts.reduce(empty) { $0.merged(with: $1) }
  }

  private func entry(_ chunks: Range<ChunkIndex>, unread: UInt8 = 0) -> Entry {
    Entry(file: 5, chunks: chunks, unreadStarts: unread)
  }

  @Test func aStartIsKeptInItsOrder() {
    let trace = trace(start([7, 8, 9, 3, 40, 41, 8, 2]))
    #expect(trace.entries == [entry(7..<10), entry(3..<4), entry(40..<42), entry(2..<3)])
    #expect(trace.chunkCount == 7)
  }

  @Test func theNewestOrderCounts() {
    let trace = trace(start([1, 5, 9]), start([9, 1, 5], offered: [0..<10]))
    #expect(trace.entries == [entry(9..<10), entry(1..<2), entry(5..<6)])
  }

  @Test func whatWasNotReadStaysBehindWhatStoodBeforeIt() {
    let trace = trace(start([20, 10, 30, 50]), start([50, 10, 60]))
    // Nothing came before 20 that was read; 30 stood behind 10.
    #expect(
      trace.entries == [20, 50, 10, 30, 60].map { entry($0..<$0 + 1) })
  }

  @Test func whatSeveralStartsPulledForNothingGoes() {
    var trace = trace(start([1, 3, 5, 7]))
    for unread in 1..<Limits.traceUnreadStarts {
      trace = trace.merged(with: start([1, 5, 7], offered: [1..<8]))
      #expect(trace.entries.map(\.unreadStarts) == [0, unread, 0, 0])
    }
    // Read once more, it stays as long again.
    let again = trace.merged(with: start([1, 3, 5, 7], offered: [1..<8]))
    #expect(again.entries.allSatisfy { $0.unreadStarts == 0 })
    trace = trace.merged(with: start([1, 5, 7], offered: [1..<8]))
    #expect(trace.entries == [1, 5, 7].map { entry($0..<$0 + 1) })
  }

  @Test func whatWasHereAlreadyIsNotBlamedForNotBeingSeen() {
    var trace = trace(start([1, 3, 5, 7]))
    for _ in 0..<10 { trace = trace.merged(with: start([5, 7])) }
    #expect(trace.entries == [1, 3, 5, 7].map { entry($0..<$0 + 1) })
  }

  @Test func anotherProgramsStartSaysNothingOfWhatItDidNotRead() {
    var trace = trace(start(Array(0..<40)))
    for _ in 0..<10 { trace = trace.merged(with: start([100], offered: [0..<40])) }
    #expect(trace.entries == [entry(0..<40), entry(100..<101)])
  }

  @Test func ofAStreamTheBeginningIsRecorded() {
    let sixteenMiB: ChunkIndex = 64
    let trace = trace(start(Array(0..<500) + [1000, 1001]))
    #expect(trace.entries == [entry(0..<sixteenMiB), entry(1000..<1002)])
    // Read-ahead shows only where its windows begin; what is between was read.
    var start = TraceRecording(geometry: .standard)
    start.note(5, 10, isStream: false)
    start.note(5, 11, isStream: true)
    start.note(5, 27, isStream: true)
    start.note(5, 5000, isStream: true)
    #expect(empty.merged(with: start).entries == [entry(10..<28), entry(5000..<5001)])
  }

  @Test func aReadBeyondTheRecordedPartOfAStreamIsARead() {
    var trace = trace(start(Array(stride(from: 40, to: 100, by: 3))))
    let before = Set(trace.entries.map(\.chunks))
    for _ in 0..<5 { trace = trace.merged(with: start(Array(0..<100), offered: [0..<100])) }
    #expect(trace.entries.first == entry(0..<64))
    #expect(before.isSuperset(of: trace.entries.dropFirst().map(\.chunks)))
    #expect(trace.entries.allSatisfy { $0.unreadStarts == 0 || $0.chunks.lowerBound < 98 })
  }

  @Test(arguments: [UInt64(1) << 16, 1 << 18, 1 << 23])
  func aTraceIsBounded(chunkSize: UInt64) throws {
    let geometry = try #require(Geometry(chunkSize: chunkSize))
    var start = TraceRecording(geometry: geometry)
    for chunk in 0..<40_000 as Range<ChunkIndex> { start.note(2, chunk * 2, isStream: false) }
    #expect(start.isFull)
    var trace = AccessTrace(group: .zero, geometry: geometry).merged(with: start)
    var other = TraceRecording(geometry: geometry)
    for chunk in 0..<40_000 as Range<ChunkIndex> { other.note(3, chunk * 2, isStream: false) }
    trace = trace.merged(with: other)
    #expect(trace.chunkCount == AccessTrace.capacity(geometry))
    #expect(UInt64(trace.chunkCount) * chunkSize <= Limits.traceBytes)
    #expect(try AccessTraceCodec.decode(AccessTraceCodec.encode(trace)) == trace)
  }

  @Test func neighboursArePulledTogetherWhereTheFirstOfThemStands() {
    var start = start([9, 3, 8, 50, 4])
    start.note(7, 0, isStream: false)
    start.note(5, 51, isStream: false)
    let trace = empty.merged(with: start)
    let files = trace.byFile
    #expect(files.map(\.file) == [5, 7])
    #expect(files.map(\.ranges) == [[8..<10, 3..<5, 50..<52], [0..<1]])
  }

  @Test func onlyWhatIsPulledAtOneTimeIsJoined() {
    // 8 MiB are 32 chunks.
    let scattered = (0..<32 as Range<ChunkIndex>).map { 1000 + $0 * 2 }
    let trace = trace(start(scattered + [1001]))
    #expect(trace.byFile[0].ranges.last == 1001..<1002)
  }

  @Test func mergingKeepsEachChunkOnce() throws {
    for seed in 1...30 as ClosedRange<UInt64> {
      var random = SplitMix64(seed: seed)
      var trace = empty
      for _ in 0..<12 {
        var start = TraceRecording(geometry: .standard)
        for _ in 0..<Int.random(in: 0..<60, using: &random) {
          let file = FileID.random(in: 1...3, using: &random)
          let chunk = ChunkIndex.random(in: 0..<50, using: &random)
          if random.oneIn(2) {
            start.note(file, chunk, isStream: random.oneIn(4))
          } else {
            start.offer(file, RangeSet(chunk..<chunk + 3))
          }
        }
        trace = trace.merged(with: start)
        // The decoder refuses chunks that come twice, and neighbours that are not joined.
        #expect(try AccessTraceCodec.decode(AccessTraceCodec.encode(trace)) == trace)
        let order = start.order.filter { $0.file == 2 }.map(\.chunk)
        let found = trace.entries.filter { $0.file == 2 }.flatMap { Array($0.chunks) }
        #expect(found.filter(order.contains) == order)
      }
    }
  }
}
