import RegionCore
import Testing

@testable import FuseKit
@testable import RegionFilesystem

@Suite struct WatchdogTests {
  private func time(_ seconds: UInt64) -> MonotonicTime {
    MonotonicTime(nanoseconds: seconds * 1_000_000_000)
  }

  private func sample(_ now: UInt64, work: [LoopWork] = [], parkedAt: UInt64? = nil)
    -> Watchdog.Sample
  {
    Watchdog.Sample(now: time(now), work: work, oldestParked: parkedAt.map(time))
  }

  private let read = LoopWork(thread: 1, serial: 7, opcode: 15)

  @Test func theLimitIsHalfTheFaultTimeoutAndAtLeastTenSeconds() {
    #expect(Watchdog(faultTimeout: .seconds(3)).parkedLimit == .seconds(10))
    #expect(Watchdog(faultTimeout: .seconds(30)).parkedLimit == .seconds(15))
  }

  @Test func aCallbackThatDoesNotReturnIsReportedOnce() {
    var watchdog = Watchdog(faultTimeout: .seconds(30))
    for second in 0..<5 as Range<UInt64> {
      #expect(watchdog.look(at: sample(100 + second, work: [read])).isQuiet)
    }
    let verdict = watchdog.look(at: sample(105, work: [read]))
    #expect(verdict.stuck == [read])
    #expect(verdict.isReportDue)
    #expect(!watchdog.look(at: sample(106, work: [read])).isReportDue)
    #expect(watchdog.look(at: sample(165, work: [read])).isReportDue)
    #expect(watchdog.look(at: sample(166)).isOver)
    #expect(!watchdog.look(at: sample(167)).isOver)
  }

  /// A thread that is busy all the time with ever new requests is not stuck.
  @Test func aBusyThreadIsNotStuck() {
    var watchdog = Watchdog(faultTimeout: .seconds(30))
    for second in 0..<100 as Range<UInt64> {
      let work = LoopWork(thread: 0, serial: second, opcode: 16)
      #expect(watchdog.look(at: sample(second, work: [work])).isQuiet)
    }
  }

  @Test func aRequestThatIsParkedTooLongIsReportedNowAndThen() {
    var watchdog = Watchdog(faultTimeout: .seconds(30))
    var reports: [UInt64] = []
    for now in 100..<300 as Range<UInt64> {
      let verdict = watchdog.look(at: sample(now, parkedAt: 100))
      #expect(verdict.isQuiet == (now < 115))
      if verdict.isReportDue { reports.append(now) }
    }
    #expect(reports == [115, 175, 235, 295])
  }

  @Test func aHangingCallbackIsReportedEvenBetweenReportsOfOthers() {
    var watchdog = Watchdog(faultTimeout: .seconds(30))
    #expect(watchdog.look(at: sample(120, work: [read], parkedAt: 100)).isReportDue)
    #expect(watchdog.look(at: sample(126, work: [read], parkedAt: 100)).isReportDue)
    #expect(!watchdog.look(at: sample(127, work: [read], parkedAt: 100)).isReportDue)
  }

  @Test func timesBeyondWhatATimestampHoldsAreItsEnds() {
    let nanoseconds: Int64 = 999_999_999
    #expect(Timestamp(FileTime(seconds: .max, nanoseconds: 0)).nanoseconds == .max)
    #expect(Timestamp(FileTime(seconds: .min, nanoseconds: 0)).nanoseconds == .min)
    // The last whole second fits, the fraction does not.
    let last = Int64.max / 1_000_000_000
    #expect(Timestamp(FileTime(seconds: last, nanoseconds: nanoseconds)).nanoseconds == .max)
    #expect(FileTime(Timestamp(nanoseconds: .min)).seconds == Int64.min / 1_000_000_000 - 1)
  }
}
