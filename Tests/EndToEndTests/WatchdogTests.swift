import Foundation
import RegionControl
import RegionTesting
import Testing

extension EndToEnd {
  /// The store is silent: who does not need it is served, and the daemon tells what waits.
  @Suite(.serialized) struct WatchdogTests {
    private func report(_ mounted: MountedFilesystem) throws -> StatusReport {
      struct Output: Decodable { var mounts: [StatusReport] }
      let output = try JSONDecoder().decode(Output.self, from: Data(try mounted.stat().utf8))
      return try #require(output.mounts.first)
    }

    private func wait(
      _ what: String, _ mounted: MountedFilesystem, until isDone: (StatusReport) -> Bool
    ) throws {
      let deadline = ContinuousClock.now + Patience.limit
      while !isDone(try report(mounted)) {
        guard ContinuousClock.now < deadline else { throw ProcessFailure("\(what): never") }
        ChildProcess.pause(.milliseconds(200))
      }
    }

    /// More faults are parked than the daemon has threads; none of them may keep a thread.
    @Test func noCallOfTheKernelWaitsForTheStore() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let pattern = ["--pages", "4096", "--seed", "3"]
      try store.mounted(through: proxy) { mounted in
        for name in ["here", "away"] {
          try Programs.run("pattern.py", ["write", mounted.mountpoint + "/" + name] + pattern)
        }
        try mounted.unmount()
      }
      let options = ["fault_timeout=600s", "pull=lazy"]
      try store.mounted("elsewhere", options: options, through: proxy) { other in
        let (here, away) = (other.mountpoint + "/here", other.mountpoint + "/away")
        try Programs.run("pattern.py", ["verify", here] + pattern)
        // The group of the other one is open, its data are not here.
        try ChildProcess.check(["stat", away])
        try proxy.addRule("match=GET .*/seg/,action=blackhole")
        let readers = try (1...24).map { number in
          // A page of a chunk of its own each, past the page cache; not of the file's begin, which a
          // mount asks for before anybody does.
          try BackgroundProcess([
            "dd", "if=\(away)", "of=/dev/null", "bs=4096", "count=1", "skip=\(number * 128)",
            "iflag=direct",
          ])
        }
        defer { for reader in readers { reader.kill() } }
        try wait("all readers are parked", other) { ($0.watchdog?.parked ?? 0) >= 24 }
        for _ in 0..<50 {
          try ChildProcess.check(["stat", here, away])
          try ChildProcess.check([
            "dd", "if=\(here)", "of=/dev/null", "bs=1M", "iflag=direct", "status=none",
          ])
          try ChildProcess.check(["ls", "-l", other.mountpoint])
        }
        let after = try report(other)
        #expect(try #require(after.watchdog).parked >= 24, "the readers did not wait all the time")
        #expect(after.watchdog?.stuckCallbacks == 0)
        let running = readers.filter { $0.isRunning }.count
        #expect(running == readers.count)
        try proxy.clearRules()
        for reader in readers { reader.kill() }
        try other.unmount()
      }
    }

    @Test func whatWaitsTooLongIsToldInLogAndStatus() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try store.mounted(through: proxy) { mounted in
        try Programs.run(
          "pattern.py", ["write", mounted.mountpoint + "/f", "--pages", "600", "--seed", "3"])
        try mounted.unmount()
      }
      let options = ["fault_timeout=20s", "pull=lazy"]
      try store.mounted("elsewhere", options: options, through: proxy) { other in
        try ChildProcess.check(["stat", other.mountpoint + "/f"])
        let before = try report(other).watchdog
        #expect(before == WatchdogStatus())
        try proxy.addRule("match=GET .*/seg/,action=blackhole")
        let reader = try BackgroundProcess(["cat", other.mountpoint + "/f"])
        defer { reader.kill() }
        var seen: WatchdogStatus?
        var region: RegionStatus?
        try wait("the watchdog barks", other) { report in
          guard report.watchdog?.isOverdue == true else { return false }
          (seen, region) = (report.watchdog, report.regions.first)
          return true
        }
        #expect(try #require(seen).parked > 0)
        #expect(try #require(seen?.oldestParkedSeconds) >= 10)
        #expect(seen?.reports == 1)
        #expect(try #require(region?.faults.oldestParkedSeconds) >= 10)
        #expect(other.log.contains("watchdog: region f: "), "\(other.log)")
        #expect(other.log.contains("watchdog: transfers under way: "), "\(other.log)")
        try proxy.clearRules()
        try wait("it is over", other) { $0.watchdog?.isOverdue == false }
        reader.kill()
        try other.unmount()
        #expect(other.fullLog.contains("no request waits too long any more"))
      }
    }

    /// A time before all that 64 bits of nanoseconds hold ended the daemon.
    @Test func timesFarAwayDoNotEndTheDaemon() async throws {
      let store = try await TestStore(.directory)
      try store.mounted { mounted in
        let file = mounted.mountpoint + "/f"
        for seconds in ["-99999999999", "99999999999", "9223372036.999999999"] {
          try ChildProcess.check(["touch", "-d", "@\(seconds)", file])
          try ChildProcess.check(["stat", file])
        }
        #expect(mounted.pid != nil)
        try mounted.unmount()
      }
    }
  }
}
