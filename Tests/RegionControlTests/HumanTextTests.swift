import RegionControl
import Testing

@Suite struct HumanTextTests {
  @Test(
    arguments: [
      (0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536, "1.5 KiB"), (1_048_575, "1.0 MiB"),
      (102_400, "100 KiB"), (1 << 40, "1.0 TiB"), (.max, "16.0 EiB"),
    ] as [(UInt64, String)])
  func bytesHaveThreeDigitsAndAUnit(count: UInt64, text: String) {
    #expect(HumanText.bytes(count) == text)
  }

  @Test(
    arguments: [
      (0, "0ms"), (0.25, "250ms"), (1.5, "1.5s"), (9.96, "10s"), (75.3, "1m15s"), (3600, "1h00m"),
      (90_000, "1d01h"), (-1, "–"), (.infinity, "–"), (.nan, "–"),
    ] as [(Double, String)])
  func secondsHaveTwoUnitsAtMost(seconds: Double, text: String) {
    #expect(HumanText.seconds(seconds) == text)
  }

  @Test func whatIsUnknownIsADash() {
    #expect(HumanText.seconds(nil) == "–")
    #expect(HumanText.rate(bytesPerSecond: nil) == "–")
    #expect(HumanText.rate(bytesPerSecond: .nan) == "–")
    #expect(HumanText.rate(bytesPerSecond: .infinity) == "–")
    #expect(HumanText.rate(bytesPerSecond: 2048) == "2.0 KiB/s")
  }

  @Test func controlCharactersBecomeVisible() {
    #expect(HumanText.printable("a\u{1B}[2J\n\u{202E}ü") == #"a\u{1b}[2J\u{a}\u{202e}ü"#)
  }

  @Test func timestampsAreUTC() {
    #expect(HumanText.timestamp(unixSeconds: 0) == "1970-01-01T00:00:00.000Z")
  }

  @Test func progressSaysWhatIsLeftAndWhyItStands() {
    #expect(
      SyncProgress(remainingBytes: 4 << 20, rateBytesPerSecond: 2_097_152).text
        == "4.0 MiB left at 2.0 MiB/s, 2.0s to go")
    #expect(
      SyncProgress(remainingBytes: 1024, storeReachable: false, problem: "refused\n").text
        == #"1.0 KiB left; store not reachable: refused\u{a}"#)
  }
}
