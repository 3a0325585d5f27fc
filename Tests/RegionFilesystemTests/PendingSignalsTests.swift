import Glibc
import Testing

@testable import RegionFilesystem

@Suite struct PendingSignalsTests {
  private func status(
    thread: UInt64 = 0, process: UInt64 = 0, blocked: UInt64 = 0, ignored: UInt64 = 0,
    caught: UInt64 = 0
  ) -> PendingSignals {
    func line(_ name: String, _ mask: UInt64) -> String { "\(name):\t\(String(mask, radix: 16))\n" }
    return PendingSignals(
      status: "Name:\tx\n" + line("SigPnd", thread) + line("ShdPnd", process)
        + line("SigBlk", blocked) + line("SigIgn", ignored) + line("SigCgt", caught))
  }

  private func bit(_ signal: Int32) -> UInt64 { 1 << UInt64(signal - 1) }

  @Test func whatEndsAProcessIsFatalAndWhatItHandlesIsNot() {
    #expect(status(thread: bit(SIGKILL)).areFatal)
    #expect(status(process: bit(SIGKILL), blocked: .max).areFatal)
    #expect(status(process: bit(SIGQUIT)).areFatal)
    #expect(!status(process: bit(SIGQUIT), blocked: bit(SIGQUIT)).areFatal)
    #expect(!status(process: bit(SIGQUIT), ignored: bit(SIGQUIT)).areFatal)
    for signal in [SIGALRM, SIGUSR1, SIGPROF, SIGINT, SIGTERM] {
      #expect(!status(thread: bit(signal), caught: bit(signal)).areFatal)
    }
    for signal in [SIGCHLD, SIGURG, SIGWINCH, SIGCONT, SIGSTOP, SIGTSTP] {
      #expect(!status(process: bit(signal)).areFatal)
    }
    #expect(!status().areFatal)
  }

  @Test func onlySomeHandledSignalsAskToStop() {
    for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
      #expect(status(thread: bit(signal), caught: bit(signal)).askToStop)
      #expect(!status(thread: bit(signal), blocked: bit(signal)).askToStop)
      #expect(!status(thread: bit(signal), ignored: bit(signal)).askToStop)
    }
    for signal in [SIGALRM, SIGCHLD, SIGURG, SIGPROF] {
      #expect(!status(thread: bit(signal), caught: bit(signal)).askToStop)
    }
  }

  @Test func aThreadThatIsGoneCountsAsKilled() {
    #expect(PendingSignals(thread: 0).areFatal)
    #expect(!PendingSignals(thread: getpid()).areFatal)
  }
}
