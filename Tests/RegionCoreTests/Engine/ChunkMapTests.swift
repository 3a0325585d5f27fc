import Testing

@testable import RegionCore

@Suite struct ChunkMapTests {
  @Test func smallRegionsHaveACellForEachChunk() {
    let map = ChunkMap(chunks: 5, limit: 4096)
    #expect(map.chunksPerCell == 1 && map.cells == Array(repeating: .absent, count: 5))
    #expect(ChunkMap(chunks: 0, limit: 4096).cells.isEmpty)
  }

  @Test func theLargestRegionHasNoMoreCellsThanTheLimit() {
    for limit in [-1, 1, 7, 4096, .max] {
      for chunks: UInt64 in [1, 4095, 4096, 4097, 1 << 27, 1 << 27 - 1] {
        let map = ChunkMap(chunks: chunks, limit: limit)
        #expect(map.cells.count <= min(max(1, limit), ChunkMap.cellLimit))
        #expect(map.chunks(of: map.cells.count - 1).upperBound == chunks)
      }
    }
  }

  @Test func whatMattersMoreWins() {
    var map = ChunkMap(chunks: 8, limit: 4)
    map.mark(0..<8, .present)
    map.mark(2..<3, .pushing)
    map.mark(2..<5, .dirty)
    map.mark(6..<100, .pulling)
    #expect(map.cells == [.present, .pushing, .dirty, .pulling])
    map.mark(9..<12, .dirty)
    #expect(map.cells.last == .pulling)
  }

  @Test func pinnedIsWhatIsHereAndPinnedAsAWhole() {
    var map = ChunkMap(chunks: 8, limit: 4)
    map.mark(0..<6, .present)
    map.mark(0..<1, .dirty)
    map.markPinned(RangeSet([0..<5, 6..<100]))
    #expect(map.cells == [.dirty, .pinned, .present, .absent])
  }

  @Test func presenceIsWholeOrPartAcrossTheTablesLeaves() {
    let table = ChunkTable(geometry: .standard)
    // Cells of three chunks do not end where the table's leaves of 4,096 do.
    for chunk: UInt64 in 4095..<4100 { table.setPresent(chunk) }
    var map = ChunkMap(chunks: 12_288, limit: 4096)
    map.markPresent(table)
    #expect(map.chunksPerCell == 3)
    #expect(map.cells[1364] == .absent)
    #expect(map.cells[1365] == .present)
    #expect(map.cells[1366] == .part)
    #expect(map.cells[1367] == .absent)
  }
}

@Suite struct LatencyHistogramTests {
  @Test func bucketsFollowOneAnotherAndHoldWhatTheySay() {
    var last = 0
    for micros in 0..<5000 {
      let bucket = LatencyHistogram.bucket(.microseconds(micros))
      #expect(bucket == last || bucket == last + 1)
      #expect(LatencyHistogram.upperBound(of: bucket) > .microseconds(micros))
      if bucket > 0 {
        #expect(LatencyHistogram.upperBound(of: bucket - 1) <= .microseconds(micros))
      }
      last = bucket
    }
    #expect(LatencyHistogram.bucket(.seconds(Int64.max)) == 127)
    #expect(LatencyHistogram.bucket(.seconds(-1)) == 0)
  }

  @Test func quantilesAreThoseOfWhatWasCounted() throws {
    let histogram = LatencyHistogram()
    #expect(histogram.quantiles([0.5]) == nil)
    for _ in 0..<98 { histogram.note(.milliseconds(1)) }
    for _ in 0..<2 { histogram.note(.seconds(2)) }
    let found = try #require(histogram.quantiles([0, 0.5, 0.98, 0.99, 1]))
    for duration in found[..<3] {
      #expect(duration >= .milliseconds(1) && duration <= .microseconds(1250))
    }
    for duration in found[3...] { #expect(duration >= .seconds(2) && duration < .seconds(2.5)) }
  }

  @Test func manyThreadsLoseNothing() async throws {
    let histogram = LatencyHistogram()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask { for _ in 0..<10_000 { histogram.note(.milliseconds(3)) } }
      }
    }
    // With the slowest 80,000 among 80,001 the least one is the only one below.
    histogram.note(.zero)
    #expect(
      try #require(histogram.quantiles([1.0 / 80_001, 2.0 / 80_001])) == [
        .microseconds(1),
        LatencyHistogram.upperBound(of: LatencyHistogram.bucket(.milliseconds(3))),
      ])
  }
}
