import Testing

@testable import RegionCore

/// What is pulled ahead of a reader, as a value: chunks of 256 KiB, so 4 in a MiB.
struct ReadAheadTests {
  /// The widest step of a reader who touches each chunk of 1,000 from `start` on.
  private func widestStep(from start: ChunkIndex, isFar: Bool) -> Int {
    var ahead = ReadAhead(geometry: .standard)
    var asked = Set<ChunkIndex>()
    var widest = 0
    for chunk in start..<1000 {
      let (advice, isKnown) = ahead.touched(chunk, end: 1000, isFar: isFar)
      #expect(isKnown || chunk == start)
      guard let advice else { continue }
      #expect(advice.chunks.upperBound <= 1000 && advice.chunks.lowerBound > chunk)
      #expect(advice.chunks.contains(advice.mark))
      #expect(asked.isDisjoint(with: advice.chunks))
      asked.formUnion(advice.chunks)
      widest = max(widest, advice.chunks.count)
    }
    let first: ChunkIndex = start == 0 ? 1 : start + 2
    #expect(asked == Set(first..<1000))
    return widest
  }

  @Test func itNeverLeavesTheRegionAndGrowsToItsLimit() {
    // 32 and 64 MiB, and what is missing to a whole transfer.
    #expect((128..<160).contains(widestStep(from: 0, isFar: false)))
    #expect((128..<160).contains(widestStep(from: 100, isFar: false)))
    #expect((256..<288).contains(widestStep(from: 0, isFar: true)))
  }

  @Test func whoBeginsAtTheBeginningGoesOn() {
    var ahead = ReadAhead(geometry: .standard)
    let (advice, isKnown) = ahead.touched(0, end: 1000, isFar: false)
    #expect(advice == ReadAhead.Advice(chunks: 1..<5, mark: 1))
    #expect(!isKnown)
    #expect(ahead.isNext(1))
  }

  @Test func scatteredReadsStartNothing() {
    for chunk in [500, 20, 900, 333] as [ChunkIndex] {
      var ahead = ReadAhead(geometry: .standard)
      #expect(ahead.touched(chunk, end: 1000, isFar: false) == (nil, false))
      #expect(ahead.touched(chunk / 2, end: 1000, isFar: false) == (nil, false))
    }
  }

  /// The kernel's pieces of one read are taken by several threads: a sequential reader looked scattered,
  /// and all of the region was pulled beside its read-ahead.
  @Test func aStreamWhosePiecesComeInDisorderIsOne() {
    var ahead = ReadAhead(geometry: .standard)
    var unknown = 0
    for pair in stride(from: 0, to: 400, by: 2) as StrideTo<ChunkIndex> {
      for chunk in [pair + 1, pair] {
        let isKnown = ahead.touched(chunk, end: 1000, isFar: false).isKnown
        if !isKnown { unknown += 1 }
        if pair > 2 { #expect(ahead.isNext(chunk)) }
      }
    }
    #expect(unknown <= 2)
  }

  @Test func whoReadsBackwardsIsNoStream() {
    var ahead = ReadAhead(geometry: .standard)
    for chunk in (500..<600).reversed() as [ChunkIndex] {
      #expect(ahead.touched(chunk, end: 1000, isFar: false) == (nil, false))
    }
  }
}
