import Testing

@testable import RegionCore

/// `TransferWindow` on a simulated link that all transfers share evenly.
@Suite struct TransferWindowTests {
  private struct Link {
    /// Bytes a second in all, and of one connection.
    var rate: Double
    var connectionRate = Double.infinity
    /// Seconds until a transfer's first byte.
    var latency: Double
  }

  private struct Running {
    let planned: UInt64
    let began: Double
    var left: Double
  }

  private struct Outcome {
    var window: TransferWindow
    /// Bytes a second in the second half.
    var rate: Double
    var mostUnderWay: UInt64
    var mostTransfers: Int
  }

  private static func time(_ seconds: Double) -> MonotonicTime {
    MonotonicTime(nanoseconds: UInt64(seconds * 1e9))
  }

  /// Steps of a fifth of a millisecond.
  private func run(_ link: Link, seconds: Double) -> Outcome {
    var outcome = Outcome(window: TransferWindow(), rate: 0, mostUnderWay: 0, mostTransfers: 0)
    var running: [Running] = []
    var now = 0.0
    var late = 0.0
    while now < seconds {
      while outcome.window.isOpen {
        let size = outcome.window.transferSize
        outcome.window.began(size, at: Self.time(now))
        running.append(Running(planned: size, began: now, left: Double(size)))
      }
      if now > seconds / 2 {
        outcome.mostUnderWay = max(outcome.mostUnderWay, outcome.window.underWay)
        outcome.mostTransfers = max(outcome.mostTransfers, outcome.window.transfers)
      }
      let served = running.filter { $0.began + link.latency <= now }.count
      let share = min(link.rate / Double(max(served, 1)), link.connectionRate) * 0.0002
      for index in running.indices where running[index].began + link.latency <= now {
        running[index].left -= share
      }
      now += 0.0002
      for index in running.indices.reversed() where running[index].left <= 0 {
        let over = running.remove(at: index)
        outcome.window.ended(
          over.planned, bytes: over.planned, began: Self.time(over.began), at: Self.time(now))
        if now > seconds / 2 { late += Double(over.planned) }
      }
    }
    outcome.rate = late / (seconds / 2)
    return outcome
  }

  @Test(arguments: [12.5e6, 125e6, 400e6], [0.001, 0.025, 0.06])
  func fillsALink(rate: Double, latency: Double) {
    let outcome = run(Link(rate: rate, latency: latency), seconds: 6)
    #expect(outcome.rate > 0.7 * rate)
  }

  /// What is under way at 100 Mbit/s takes a fraction of the second that 16 transfers of 4 MiB did.
  @Test func doesNotFloodASlowLink() {
    let outcome = run(Link(rate: 12.5e6, latency: 0.025), seconds: 20)
    #expect(outcome.mostUnderWay < 8 << 20)
  }

  @Test func opensEnoughConnectionsWhereEachIsSlow() {
    let outcome = run(Link(rate: 1250e6, connectionRate: 80e6, latency: 0.025), seconds: 6)
    #expect(outcome.mostTransfers >= 12)
    #expect(outcome.rate > 0.6 * 16 * 80e6)
  }

  @Test func staysWithinItsLimits() {
    for rate in [1e5, 1e7, 1e9, 1e11] {
      let outcome = run(Link(rate: rate, latency: 0.2), seconds: 4)
      #expect(outcome.mostTransfers <= TransferWindow.transferLimit)
      #expect(outcome.window.limit <= 64 << 20)
      #expect(TransferWindow.transferBytes.contains(outcome.window.transferSize))
    }
  }

  /// Failures say nothing about the link, and everything that began can end.
  @Test func failuresChangeNothing() {
    var window = TransferWindow()
    let before = window.limit
    for round in 0..<100 {
      let now = Self.time(Double(round))
      window.began(window.transferSize, at: now)
      window.ended(window.transferSize, bytes: 0, began: now, at: now)
    }
    #expect(window.limit == before && window.rate == 0 && window.underWay == 0 && window.isOpen)
  }

  /// The first transfer is a small one, alone: it measures the latency.
  @Test func beginsWithOneSmallTransfer() {
    var window = TransferWindow()
    #expect(window.isOpen && window.transferSize == 256 << 10)
    window.began(window.transferSize, at: Self.time(0))
    #expect(!window.isOpen)
    window.ended(256 << 10, bytes: 256 << 10, began: Self.time(0), at: Self.time(0.03))
    #expect(window.isOpen && window.phase == .startup)
    #expect(abs((window.latency ?? 0) - 0.03) < 1e-6)
  }
}
