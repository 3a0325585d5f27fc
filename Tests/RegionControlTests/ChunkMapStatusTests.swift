import RegionControl
import Testing

@Suite struct ChunkMapStatusTests {
  @Test func cellsComeBack() {
    var random = SystemRandomNumberGenerator()
    for count in [0, 1, 2, 100, 4096] {
      let cells = (0..<count).map { _ in
        ChunkCell.allCases.randomElement(using: &random) ?? .absent
      }
      #expect(ChunkMapStatus(chunks: 9, chunksPerCell: 1, cells: cells).cells == cells)
    }
  }

  @Test func runsAreShortAndBounded() {
    let map = ChunkMapStatus(
      chunks: 1, chunksPerCell: 1, cells: Array(repeating: .present, count: 10_000))
    #expect(map.runs == "4096#")
    let worst = (0..<4096).map { $0 % 2 == 0 ? ChunkCell.absent : .dirty }
    #expect(ChunkMapStatus(chunks: 1, chunksPerCell: 1, cells: worst).runs.utf8.count == 8192)
  }

  @Test(arguments: [
    "#", "0#", "12", "4097#", "4000#97.", "1x", "-1#", "99999999999999999999#", "1#\n", "٣#", "1 #",
  ])
  func otherRunsAreNoMap(runs: String) {
    var map = ChunkMapStatus(chunks: 1, chunksPerCell: 1, cells: [])
    map.runs = runs
    #expect(map.cells == nil)
  }
}

@Suite struct ThroughputTests {
  @Test func readingsBecomeSecondsAndOldOnesGo() {
    var meter = ThroughputMeter()
    meter.note(second: 10, received: 1000, sent: 0)
    #expect(meter.status.received.isEmpty)
    meter.note(second: 11, received: 1500, sent: 7)
    meter.note(second: 11, received: 1600, sent: 7)
    meter.note(second: 14, received: 1900, sent: 7)
    #expect(meter.status.received == [600, 100, 100, 100])
    #expect(meter.status.sent == [7, 0, 0, 0])
    for second in 15..<200 { meter.note(second: second, received: 1900, sent: UInt64(second)) }
    #expect(meter.status.received.count == ThroughputMeter.length)
    #expect(meter.status.sent.last == 1)
    meter.note(second: 1_000_000, received: 1900, sent: 199)
    #expect(meter.status.sent == Array(repeating: 0, count: ThroughputMeter.length))
  }

  @Test func meanIsOfTheLastSeconds() {
    #expect(ThroughputStatus.mean([]) == nil)
    #expect(ThroughputStatus.mean([5, 0, 0], seconds: 2) == nil)
    #expect(ThroughputStatus.mean([100, 20, 40], seconds: 2) == 30)
    // What began two seconds ago is as fast as in these two.
    #expect(ThroughputStatus.mean([0, 0, 0, 40, 20]) == 30)
  }
}
