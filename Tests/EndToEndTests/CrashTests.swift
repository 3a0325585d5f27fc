import Glibc
import RegionTesting
import Testing

extension EndToEnd {
  /// SEMANTICS: accepted changes survive SIGKILL of the daemon.
  @Suite(.serialized) struct CrashTests {
    @Test(arguments: StoreKind.allCases, ["write", "mmap"])
    func nothingAcceptedIsLostBySIGKILL(_ kind: StoreKind, mode: String) async throws {
      let store = try await TestStore(kind)
      let journal = store.scratch.file("journal")
      try store.mounted(options: ["push_interval=200ms"]) { mounted in
        let file = mounted.mountpoint + "/f"
        for round in 1...4 {
          let writer = try BackgroundProcess(
            Programs.command(
              "journaled_writer.py",
              ["write", file, journal, "--mode", mode, "--seed", "\(round)"]))
          #expect(try writer.nextLine() == "started")
          ChildProcess.pause(.milliseconds(500 + 333 * round))
          try mounted.kill()
          _ = try writer.waitForExit()
          try mounted.remount()
          try Programs.run("journaled_writer.py", ["verify", file, journal])
        }
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        try Programs.run("journaled_writer.py", ["verify", other.mountpoint + "/f", journal])
        try other.unmount()
      }
    }

    @Test(arguments: StoreKind.allCases)
    func noAcceptedNameIsLostBySIGKILL(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      let journal = store.scratch.file("journal")
      try store.mounted(options: ["push_interval=200ms"]) { mounted in
        let directory = mounted.mountpoint + "/names"
        try ChildProcess.check(["mkdir", directory])
        for round in 1...4 {
          let writer = try BackgroundProcess(
            Programs.command(
              "journaled_names.py", ["change", directory, journal, "--seed", "\(round)"]))
          #expect(try writer.nextLine() == "started")
          ChildProcess.pause(.milliseconds(400 + 333 * round))
          try mounted.kill()
          _ = try writer.waitForExit()
          try mounted.remount()
          try Programs.run("journaled_names.py", ["verify", directory, journal, "--settle"])
        }
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        try Programs.run("journaled_names.py", ["verify", other.mountpoint + "/names", journal])
        try other.unmount()
      }
    }

    /// A bug that was: the thread that opens files of the daemon's own mount waited for an answer
    /// that its killed process could not give, held /dev/fuse open, and nothing ever ended.
    @Test func sigkillEndsADaemonThatUsesItsOwnMount() async throws {
      let store = try await TestStore(.directory)
      try store.mounted(options: ["push_interval=100ms"]) { mounted in
        let directory = mounted.mountpoint + "/many"
        try ChildProcess.check(["mkdir", directory])
        for round in 0..<8 {
          let holder = try BackgroundProcess(Programs.command("hold_open.py", [directory, "300"]))
          #expect(try holder.nextLine() == "started")
          ChildProcess.pause(.milliseconds(200 + 17 * round))
          try mounted.kill()
          holder.kill()
          #expect(!holder.isRunning, "\(holder.kernelStacks)")
          try mounted.remount()
        }
        try mounted.unmount()
      }
    }

    @Test func aDaemonKilledWhileTheStoreIsAwayCatchesUpWhenItIsBack() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let pattern = ["--pages", "1024", "--seed", "6", "--touch", "300"]
      try store.mounted(options: ["push_interval=200ms"], through: proxy) { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "1024", "--seed", "5"])
        try mounted.waitUntilCommitted()
        try proxy.addRule("action=reset-request")
        try Programs.run("pattern.py", ["map", file, "--msync"] + pattern)
        try mounted.kill()
        // Still without the store: the mount shows what was accepted, and keeps its log.
        try mounted.remount()
        try Programs.run("pattern.py", ["verify", file, "--base-seed", "5"] + pattern)
        try proxy.clearRules()
        try mounted.waitUntilCommitted()
        try Programs.run("pattern.py", ["verify", file, "--base-seed", "5"] + pattern)
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        let file = other.mountpoint + "/f"
        try Programs.run("pattern.py", ["verify", file, "--base-seed", "5"] + pattern)
        try other.unmount()
      }
    }

    /// The kill comes after the segment is up and before the root is swapped, and again after the
    /// root was swapped and before the daemon hears of it.
    @Test(arguments: [
      "match=PUT .*/root,action=blackhole", "match=PUT .*/root,action=delay,for=20s",
    ])
    func aKillBetweenUploadAndCommitLosesNothing(rule: String) async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let pattern = ["--pages", "512", "--seed", "6", "--touch", "100"]
      try store.mounted(options: ["push_interval=200ms"], through: proxy) { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "512", "--seed", "5"])
        try mounted.waitUntilCommitted()
        try proxy.addRule(rule)
        try Programs.run("pattern.py", ["map", file, "--msync"] + pattern)
        let deadline = ContinuousClock.now + Patience.limit
        while try !proxy.control("stats").contains("\"fired\":1"), ContinuousClock.now < deadline {
          ChildProcess.pause(.milliseconds(20))
        }
        #expect(try proxy.control("stats").contains("\"fired\":1"), "no commit was tried")
        ChildProcess.pause(.milliseconds(300))
        try mounted.kill()
        try proxy.clearRules()
        try mounted.remount()
        try Programs.run("pattern.py", ["verify", file, "--base-seed", "5"] + pattern)
        try mounted.waitUntilCommitted()
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        let file = other.mountpoint + "/f"
        try Programs.run("pattern.py", ["verify", file, "--base-seed", "5"] + pattern)
        try other.unmount()
      }
    }

    /// A bug that was: a rename at the top puts the new name and then removes the old one, and a kill
    /// between the two left one group with two names.
    @Test(arguments: [false, true])
    func aKillWithinARenameAtTheTopLeavesOneName(replacing: Bool) async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try store.mounted(through: proxy) { mounted in
        let (old, new) = (mounted.mountpoint + "/old", mounted.mountpoint + "/new")
        try ChildProcess.check(["sh", "-c", "echo kept > \(old)"])
        if replacing { try ChildProcess.check(["sh", "-c", "echo replaced > \(new)"]) }
        try mounted.waitUntilCommitted()
        try proxy.addRule("match=DELETE .*/groups/,action=blackhole")
        let rename = try BackgroundProcess(["mv", "-f", old, new])
        defer { rename.kill() }
        let deadline = ContinuousClock.now + Patience.limit
        while try !proxy.control("stats").contains("\"fired\":1"), ContinuousClock.now < deadline {
          ChildProcess.pause(.milliseconds(20))
        }
        #expect(try proxy.control("stats").contains("\"fired\":1"), "no name was removed")
        try mounted.kill()
        try proxy.clearRules()
        try mounted.remount()
        let found = try ChildProcess.check(
          ["sh", "-c", "cd \(mounted.mountpoint) && ls && cat new"])
        #expect(found.output == "new\nkept\n")
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        let found = try ChildProcess.check(["sh", "-c", "cd \(other.mountpoint) && ls && cat new"])
        #expect(found.output == "new\nkept\n")
        try other.unmount()
      }
    }
  }
}
