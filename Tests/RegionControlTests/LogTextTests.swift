import Testing

@testable import RegionControl

@Suite struct LogTextTests {
  @Test func anEventIsOneLineOfEachKind() {
    let event = LogEvent(
      unixSeconds: 1_800_000_000, level: "warning", label: "regionfs", message: "a\nb \"c\"",
      fields: ["z": "1\u{1B}", "a": "2"])
    #expect(
      event.plain == #"2027-01-15T08:00:00.000Z warning regionfs: a\u{a}b "c" a=2 z=1\u{1b}"#)
    let json =
      #"{"fields":{"a":"2","z":"1\\u{1b}"},"label":"regionfs","level":"warning","#
      + #""message":"a\\u{a}b \"c\"","time":"2027-01-15T08:00:00.000Z"}"#
    #expect(event.json == json)
  }

  @Test func whatIsSaidTooOftenIsCountedInstead() {
    var limiter = LogLimiter()
    let admitted = (0..<100).map {
      limiter.admit("push of group \($0) failed", now: Double($0) / 10)
    }
    #expect(admitted[..<LogLimiter.burst].allSatisfy { $0 == 0 })
    #expect(admitted[LogLimiter.burst...].allSatisfy { $0 == nil })
    #expect(limiter.admit("something else", now: 10) == 0)
    #expect(limiter.admit("push of group 7f failed", now: 61) == 90)
    #expect(limiter.admit("push of group 8 failed", now: 62) == 0)
    // A clock that was set back silences nothing.
    #expect(limiter.admit("push of group 8 failed", now: 1) == 0)
  }

  @Test func onlySoManyKindsAreRemembered() {
    var limiter = LogLimiter()
    for at in 0..<10_000 {
      let word = String(at).map { "\(Unicode.Scalar(UInt8($0.asciiValue ?? 48) + 49))" }.joined()
      #expect(limiter.admit("error \(word)", now: Double(at) / 1e6) == 0)
    }
    #expect(limiter.count == LogLimiter.kinds)
  }
}
