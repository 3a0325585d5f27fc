import Testing

@testable import RegionCore

/// `TransferWindow` on a simulated link that all transfers share evenly, with and without a reader that
/// asks for one chunk after the other.
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
    var isRead = false
  }

  private struct Outcome {
    var window = TransferWindow()
    /// Bytes a second of bulk transfers in the second half.
    var rate = 0.0
    /// Of the second half.
    var mostUnderWay: UInt64 = 0
    var mostTransfers = 0
    /// Seconds that each read waited, from the first on.
    var waits: [Double] = []
  }

  private static func time(_ seconds: Double) -> MonotonicTime {
    MonotonicTime(nanoseconds: UInt64(seconds * 1e9))
  }

  /// Steps of a fifth of a millisecond. Reads of 256 KiB, one after the other, begin at `readsFrom`.
  private func run(
    _ link: Link, seconds: Double, readsFrom: Double = .infinity, firstAnswer: Double? = nil
  ) -> Outcome {
    var outcome = Outcome()
    if let firstAnswer { outcome.window.noteFirstAnswer(firstAnswer) }
    var running: [Running] = []
    var now = 0.0
    var late = 0.0
    while now < seconds {
      let isPressed = now >= readsFrom
      if isPressed, !running.contains(where: \.isRead) {
        running.append(Running(planned: 256 << 10, began: now, left: 262_144, isRead: true))
      }
      while outcome.window.isOpen(isPressed: isPressed) {
        let size = outcome.window.transferSize(isPressed: isPressed)
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
        if over.isRead {
          outcome.waits.append(now - over.began)
          outcome.window.readWaited(now - over.began, at: Self.time(now))
        } else {
          outcome.window.ended(
            over.planned, bytes: over.planned, isPressed: isPressed, at: Self.time(now))
          if now > seconds / 2 { late += Double(over.planned) }
        }
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

  /// A read that comes while nobody waited meets a fraction of a second of bulk, not 64 MiB.
  @Test(arguments: [12.5e6, 125e6])
  func theFirstReadDoesNotWaitLong(rate: Double) {
    let outcome = run(Link(rate: rate, latency: 0.025), seconds: 6, readsFrom: 3)
    #expect(outcome.waits[0] < 0.5)
  }

  /// Once reads come, they wait little longer than alone, and most of the link is still used.
  @Test(arguments: [12.5e6, 125e6, 400e6], [0.005, 0.025, 0.06])
  func readsWaitLittleBesideBulk(rate: Double, latency: Double) {
    let link = Link(rate: rate, latency: latency)
    let outcome = run(link, seconds: 20, readsFrom: 0.001)
    let alone = latency + 262_144 / rate
    let late = outcome.waits.suffix(outcome.waits.count / 2).sorted()
    #expect(late[late.count / 2] < 2 * alone + 0.02)
    #expect(outcome.rate + 262_144 / late[late.count / 2] > 0.5 * rate)
  }

  @Test func opensEnoughConnectionsWhereEachIsSlow() {
    let link = Link(rate: 1250e6, connectionRate: 80e6, latency: 0.025)
    for readsFrom in [Double.infinity, 0.001] {
      let outcome = run(link, seconds: 6, readsFrom: readsFrom)
      #expect(outcome.mostTransfers >= 12)
      #expect(outcome.rate > 0.6 * 16 * 80e6)
    }
  }

  /// Near the store more than 16 MiB are under way only where that brings more.
  @Test func aNearStoreHasNoMoreUnderWayThanBringsMore() {
    let shared = run(Link(rate: 600e6, latency: 0.004), seconds: 6, firstAnswer: 0.008)
    #expect(shared.window.limit(isPressed: false) == 16 << 20 && shared.rate > 0.8 * 600e6)
    let limited = Link(rate: 10e9, connectionRate: 100e6, latency: 0.005)
    let wide = run(limited, seconds: 6, firstAnswer: 0.01)
    #expect(wide.mostTransfers >= 12 && wide.rate > 0.6 * 16 * 100e6)
  }

  @Test func staysWithinItsLimits() {
    for rate in [1e5, 1e7, 1e9, 1e11] {
      for readsFrom in [Double.infinity, 0.5] {
        let outcome = run(Link(rate: rate, latency: 0.2), seconds: 4, readsFrom: readsFrom)
        #expect(outcome.mostTransfers <= TransferWindow.transferLimit)
        for isPressed in [false, true] {
          #expect(outcome.window.limit(isPressed: isPressed) <= 64 << 20)
          let size = outcome.window.transferSize(isPressed: isPressed)
          #expect(TransferWindow.transferBytes.contains(size))
        }
      }
    }
  }

  /// Of a region that is here in a moment all comes at once from afar, in pieces of the usual size.
  /// Near the store that would only hold up the read that began it.
  @Test func urgentTransfersNeedNotWaitForTheWindowToGrow() {
    func begun(isUrgent: Bool, firstAnswer: Double = 0.06) -> Int {
      var window = TransferWindow()
      window.noteFirstAnswer(firstAnswer)
      while window.isOpen(isPressed: true, isUrgent: isUrgent) {
        window.began(window.transferSize(isPressed: false), at: Self.time(0))
      }
      return window.transfers
    }
    #expect(begun(isUrgent: false) == 2)
    #expect(begun(isUrgent: true) == 16)
    #expect(begun(isUrgent: true, firstAnswer: 0.015) == 2)
  }

  /// Each request costs a near store as much as a megabyte does; but a first byte waits for no more than
  /// the window's beginning.
  @Test func urgentTransfersFromANearStoreAreLargeOnceSomethingCame() {
    var window = TransferWindow()
    window.noteFirstAnswer(0.004)
    #expect(window.transferSize(isPressed: false, isUrgent: true) == 1 << 20)
    window.began(256 << 10, at: Self.time(0))
    window.ended(256 << 10, bytes: 256 << 10, isPressed: false, at: Self.time(0.005))
    while window.isOpen(isPressed: true, isUrgent: true) {
      window.began(window.transferSize(isPressed: true, isUrgent: true), at: Self.time(0.005))
    }
    #expect(window.transfers == 4 && window.underWay == 16 << 20)
    #expect(window.transferSize(isPressed: false, isUrgent: false) < 4 << 20)
  }

  /// A bug that was: read-ahead went by the mean of what reads waited, and beside a busy processor, or after
  /// a first read that opened its connection, every store was far.
  @Test func aStoreIsAsFarAsTheShortestWait() {
    var window = TransferWindow()
    #expect(!window.isFar, "nothing is known")
    window.noteFirstAnswer(0.05)
    #expect(window.isFar)
    for wait in [0.003, 0.08, 0.05, 0.03] { window.readWaited(wait, at: Self.time(1)) }
    #expect(!window.isFar)
    for second in [40.0, 70, 140] { window.readWaited(0.03, at: Self.time(second)) }
    #expect(window.isFar, "it moved away")
  }

  /// Failures say nothing about the link, and everything that began can end.
  @Test func failuresChangeNothing() {
    var window = TransferWindow()
    let before = window.limit(isPressed: false)
    for round in 0..<100 {
      let now = Self.time(Double(round))
      let size = window.transferSize(isPressed: false)
      window.began(size, at: now)
      window.ended(size, bytes: 0, isPressed: false, at: now)
    }
    #expect(window.limit(isPressed: false) == before && window.rate == 0)
    #expect(window.underWay == 0 && window.isOpen(isPressed: true))
  }
}
