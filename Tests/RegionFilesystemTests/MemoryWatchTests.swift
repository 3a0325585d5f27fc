import Testing

@testable import RegionFilesystem

/// When memory is short, as procfs says it.
@Suite struct MemoryWatchTests {
  private static let quiet =
    "some avg10=0.00 avg60=0.10 avg300=0.00 total=5\nfull avg10=0.00 total=1\n"

  private func meminfo(_ available: Int) -> String {
    "MemTotal:       8000000 kB\nMemFree:         100 kB\nMemAvailable:   \(available) kB\n"
  }

  @Test func anEighthOfTheMemoryIsEnough() {
    #expect(MemoryWatch.isPlenty(meminfo: meminfo(1_000_000), pressure: Self.quiet))
    #expect(!MemoryWatch.isPlenty(meminfo: meminfo(999_999), pressure: Self.quiet))
  }

  @Test func whoWaitsForMemoryEndsIt() {
    let busy = Self.quiet.replacing("avg10=0.00", with: "avg10=5.00")
    #expect(!MemoryWatch.isPlenty(meminfo: meminfo(4_000_000), pressure: busy))
  }

  @Test func aKernelThatTellsNothingIsNoReason() {
    #expect(MemoryWatch.isPlenty(meminfo: "", pressure: ""))
  }
}
