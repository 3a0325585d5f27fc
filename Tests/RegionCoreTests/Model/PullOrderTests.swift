import RegionTesting
import Testing

@testable import RegionCore

@Suite struct PullOrderTests {
  private func drain(_ order: inout PullOrder, limit: Int = 4) -> [[ChunkIndex]] {
    var batches: [[ChunkIndex]] = []
    while case let batch = order.next(limit: limit, take: { _ in true }), !batch.isEmpty {
      batches.append(batch)
    }
    return batches
  }

  @Test func theMostValuableKindGoesFirst() {
    var order = PullOrder()
    order.wish([90..<92], .format)
    order.wish([70..<71, 3..<4], .trace)
    order.wish([50..<51], .hint)
    order.wish([10..<12], .request)
    order.wish([5..<6], .neighbour)
    #expect(drain(&order) == [[5], [10, 11], [70], [3], [50], [90, 91]])
    #expect(order.isEmpty)
  }

  @Test func theLatestNeighboursGoFirst() {
    var order = PullOrder()
    order.wish([1..<3], .neighbour)
    order.wish([8..<9, 20..<21], .neighbour)
    #expect(drain(&order) == [[8], [20], [1, 2]])
  }

  @Test func oldNeighboursAreForgottenAndTracesAreNot() {
    var order = PullOrder()
    for chunk in 0..<500 as Range<ChunkIndex> {
      order.wish([chunk..<chunk + 1], .neighbour)
      order.wish([1000 + chunk..<1001 + chunk], .trace)
    }
    let batches = drain(&order)
    #expect(batches.count == 564)
    #expect(batches.first == [499] && batches.last == [1499])
  }

  @Test func batchesAreBoundedAndSkipWhatIsHere() {
    var order = PullOrder()
    order.wish([0..<10], .request)
    var batches: [[ChunkIndex]] = []
    while case let batch = order.next(limit: 3, take: { $0 != 4 && $0 != 0 }), !batch.isEmpty {
      batches.append(batch)
    }
    #expect(batches == [[1, 2, 3], [5, 6, 7], [8, 9]])
  }

  @Test func eachWishedChunkIsOfferedOnce() {
    for seed in 1...50 as ClosedRange<UInt64> {
      var random = SplitMix64(seed: seed)
      var order = PullOrder()
      var wished: [ChunkIndex] = []
      var offered: [ChunkIndex] = []
      for _ in 0..<100 {
        if random.oneIn(2) {
          let first = UInt64.random(in: 0..<1000, using: &random)
          let range = first..<first + UInt64.random(in: 0..<5, using: &random)
          wished += range
          order.wish([range], random.oneIn(2) ? .trace : .hint)
        }
        _ = order.next(limit: 3) {
          offered.append($0)
          return true
        }
      }
      while !order.next(
        limit: 3,
        take: {
          offered.append($0); return true
        }
      ).isEmpty {}
      #expect(offered.sorted() == wished.sorted())
    }
  }
}

@Suite struct StrideDetectorTests {
  private func foretold(_ chunks: [ChunkIndex], end: ChunkIndex = 1000) -> [[ChunkIndex]] {
    var detector = StrideDetector()
    return chunks.map { detector.touched($0, end: end) }
  }

  @Test func strideForward() {
    #expect(
      foretold([0, 10, 20, 30]) == [[], [], [], [40, 50, 60, 70, 80, 90, 100, 110]])
  }

  @Test func strideBackwardStopsAtTheBeginning() {
    #expect(foretold([9, 7, 5, 3]).last == [1])
    #expect(foretold([100, 99, 98, 97]).last == [96, 95, 94, 93, 92, 91, 90, 89])
  }

  @Test func strideForwardStopsAtTheEnd() {
    #expect(foretold([960, 970, 980, 990], end: 1000).last == [])
  }

  @Test func scatteredFaultsFoundNoStride() {
    #expect(foretold([5, 900, 17, 300, 299, 4, 77]).allSatisfy { $0.isEmpty })
    #expect(foretold([5, 5, 5, 5, 5]).allSatisfy { $0.isEmpty })
  }
}

@Suite struct FileFormatTests {
  private static func big(_ value: UInt64, _ count: Int) -> [UInt8] {
    (0..<count).reversed().map { UInt8(truncatingIfNeeded: value >> UInt64(8 * $0)) }
  }

  private func wanted(_ head: [UInt8], tail: [UInt8] = [], size: UInt64 = 1 << 30)
    -> [Range<UInt64>]
  {
    FileFormats.wanted(head: head, tail: tail, size: size)
  }

  @Test func rootPagesOfSQLite() {
    var page = Array("SQLite format 3\0".utf8) + Self.big(4096, 2)
    page += [UInt8](repeating: 0, count: 4096 - page.count)
    // One leaf cell at 4000: type, name and table as text, root page 70,000, the statement.
    page[100] = 13
    page.replaceSubrange(103..<105, with: Self.big(1, 2))
    page.replaceSubrange(108..<110, with: Self.big(4000, 2))
    let record: [UInt8] =
      [6, 23, 15, 15, 3, 17] + Array("table".utf8) + Array("t".utf8) + Array("t".utf8)
      + Self.big(70_000, 3) + Array("ab".utf8)
    page.replaceSubrange(4000..<4002 + record.count, with: [UInt8(record.count), 1] + record)
    let rootPage: Range<UInt64> = 286_715_904..<286_720_000
    #expect(wanted(page) == [0..<4096, rootPage])
  }

  @Test func headersOfModelFiles() {
    let length: [UInt8] = [0x40, 0x42, 0x0F, 0, 0, 0, 0, 0]
    #expect(wanted(length + Array("{\"a\":{}".utf8)) == [0..<1_000_008])
    #expect(wanted(Array("GGUF".utf8) + [3, 0, 0, 0]) == [0..<8 << 20])
  }

  @Test func centralDirectoryOfAZip() {
    var tail = [UInt8](repeating: 7, count: 1000)
    tail.replaceSubrange(
      950..<972,
      with: [0x50, 0x4B, 5, 6, 0, 0, 0, 0, 1, 0, 1, 0, 0x10, 0x27, 0, 0, 0, 0, 0x10, 0, 0, 0])
    let found = wanted([0x50, 0x4B, 3, 4, 20, 0], tail: tail, size: 2 << 20)
    let end: Range<UInt64> = 2_031_616..<2_097_152
    let directory: Range<UInt64> = 1_048_576..<1_058_576
    #expect(found == [end, directory])
  }

  @Test func indexOfAFilmBehindItsData() {
    let start = Self.big(16, 4) + Array("ftypisom".utf8) + [0, 0, 0, 0]
    let film = start + Self.big(1, 4) + Array("mdat".utf8) + Self.big(1 << 29, 8)
    let behind: Range<UInt64> = 536_870_928..<1_073_741_824
    #expect(wanted(film) == [behind])
    let early = start + Self.big(5000, 4) + Array("moov".utf8) + [UInt8](repeating: 0, count: 16)
    #expect(wanted(early) == [16..<5016])
  }

  @Test func unknownFilesSayNothing() {
    #expect(wanted([]).isEmpty)
    #expect(wanted([UInt8](repeating: 0, count: 65536)).isEmpty)
  }

  /// Damaged and hostile files: whatever comes out lies within the file.
  @Test func anythingStaysWithinTheFile() {
    let starts = [
      Array("SQLite format 3\0".utf8), Array("GGUF".utf8), [0x50, 0x4B, 3, 4],
      [0, 0, 0, 16] + Array("ftyp".utf8), [9, 0, 0, 0, 0, 0, 0, 0, UInt8(ascii: "{")],
    ]
    for seed in 1...3000 as ClosedRange<UInt64> {
      var random = SplitMix64(seed: seed)
      let start = starts[Int.random(in: 0..<starts.count, using: &random)]
      let length = Int.random(in: 0...600, using: &random)
      var head = start + (0..<length).map { _ in UInt8.random(in: 0...255, using: &random) }
      if head.count > 105 { head[100] = 13 }
      let tail = (0..<length).map { _ in UInt8.random(in: 3...8, using: &random) }
      let size = UInt64.random(in: 0...1 << 20, using: &random)
      #expect(wanted(head, tail: tail, size: size).allSatisfy { $0.upperBound <= size })
    }
  }
}

@Suite struct PullDecisionTests {
  private func verdict(_ size: UInt64, _ misses: Int, room: UInt64 = .max, rate: Double = 400e6)
    -> PullDecision.Verdict
  {
    PullDecision(
      size: size, misses: misses, few: PullDecision.fewMisses(size), demandSeconds: 0.026,
      rate: rate,
      room: room
    ).verdict
  }

  private func pulls(_ verdict: PullDecision.Verdict) -> Bool {
    if case .pull = verdict { true } else { false }
  }

  @Test func aSmallRegionIsPulledAfterAFewMisses() {
    for (size, few) in [(64 << 20, 1), (256 << 20, 2), (1 << 30, 4)] as [(UInt64, Int)] {
      #expect(!pulls(verdict(size, few - 1)))
      #expect(pulls(verdict(size, few)))
    }
  }

  @Test func aLargeRegionIsPulledOnceItsReadsWaitedAsLongAsTheDownloadTakes() {
    #expect(!pulls(verdict(8 << 30, 300)))
    #expect(pulls(verdict(8 << 30, 900)))
    #expect(!pulls(verdict(8 << 30, 900, rate: 0)))
  }

  /// Its reads wait for the pull of everything, which then need not give way to them.
  @Test func aSmallRegionIsSoonHereWhereTheLinkIsFast() {
    let size: UInt64 = 256 << 20
    #expect(PullDecision.isSoonHere(size: size, present: 0, rate: 0))
    #expect(PullDecision.isSoonHere(size: size, present: 0, rate: 400e6))
    #expect(!PullDecision.isSoonHere(size: size, present: 0, rate: 125e6))
    #expect(PullDecision.isSoonHere(size: size, present: 128 << 20, rate: 125e6))
    #expect(PullDecision.isSoonHere(size: size, present: size + 1, rate: 1))
    #expect(!PullDecision.isSoonHere(size: size + 1, present: 0, rate: 1e12))
  }

  @Test func whatDoesNotFitIsNotPulled() {
    #expect(!pulls(verdict(256 << 20, 100, room: 100 << 20)))
  }

  @Test func theReasonSaysBothTimes() {
    guard case .wait(let reason) = verdict(8 << 30, 300) else {
      Issue.record("it is pulled")
      return
    }
    #expect(reason.contains("300 scattered misses waited 7.8 s") && reason.contains("takes 21.4 s"))
  }
}
