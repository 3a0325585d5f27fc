import RegionCore
import RegionTesting
import Testing

@testable import RegionFilesystem

@Suite struct ParkingTableTests {
  /// What the table should do, the slow way.
  private struct Naive {
    var parked: [(key: UInt64, entry: Int, isReadAhead: Bool, since: UInt64)] = []

    mutating func remove(_ key: UInt64) -> Int? {
      parked.firstIndex { $0.key == key }.map { parked.remove(at: $0).entry }
    }

    mutating func removeOldestReadAhead() -> Int? {
      parked.firstIndex(where: \.isReadAhead).map { parked.remove(at: $0).entry }
    }
  }

  @Test func doesWhatASearchWouldDo() {
    for seed in 0..<20 as Range<UInt64> {
      var generator = SplitMix64(seed: seed)
      var table = ParkingTable<Int>()
      var naive = Naive()
      for step in 0..<2000 {
        switch Int.random(in: 0..<8, using: &generator) {
        case 0..<4:
          let key = table.makeKey()
          let isReadAhead = generator.oneIn(2)
          table.insert(
            step, at: key, isReadAhead: isReadAhead, now: MonotonicTime(nanoseconds: UInt64(step)))
          naive.parked.append((key, step, isReadAhead, UInt64(step)))
        case 4..<6:
          let key = UInt64.random(in: 1...UInt64(step + 1), using: &generator)
          #expect(table.remove(key) == naive.remove(key))
        case 6:
          #expect(table.removeOldestReadAhead() == naive.removeOldestReadAhead())
        default:
          if generator.oneIn(100) {
            #expect(table.removeAll().sorted() == naive.parked.map(\.entry).sorted())
            naive.parked = []
          }
        }
        #expect(table.count == naive.parked.count)
        #expect(table.oldest()?.nanoseconds == naive.parked.first?.since)
      }
    }
  }

  /// A read that was parked above the limit searched through all that were parked.
  @Test func sheddingLooksAtEachReadAFewTimesOnly() {
    var table = ParkingTable<Int>()
    let limit = 4096
    let reads = 100_000
    var keys: [UInt64] = []
    for number in 0..<reads {
      let key = table.makeKey()
      keys.append(key)
      table.insert(
        number, at: key, isReadAhead: number % 3 != 0, now: MonotonicTime(nanoseconds: 1))
      if number % 5 == 0 { _ = table.remove(keys[number / 2]) }
      while table.count > limit, table.removeOldestReadAhead() != nil {}
      _ = table.oldest()
    }
    #expect(table.steps <= 4 * reads, "\(table.steps) looks for \(reads) reads")
  }
}
