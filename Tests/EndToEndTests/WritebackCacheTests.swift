import RegionTesting
import Testing

extension EndToEnd {
  /// `-o writeback_cache`: the kernel collects write(2)s and owns sizes and times.
  @Suite(.serialized) struct WritebackCacheTests {
    private func run(_ script: String) throws { try ChildProcess.check(["sh", "-c", script]) }

    @Test(arguments: StoreKind.allCases, ["wal", "delete"])
    func databasesAreWholeEverywhere(_ kind: StoreKind, _ mode: String) async throws {
      let store = try await TestStore(kind)
      try store.checkEverywhere(
        options: ["writeback_cache", "push_interval=500ms"],
        write: { mounted in
          try ChildProcess.check(["mkdir", mounted.mountpoint + "/db"])
          try Programs.run("sqlite_modes.py", ["write", mounted.mountpoint + "/db", mode])
        },
        check: { try Programs.run("sqlite_modes.py", ["check", $0.mountpoint + "/db", mode]) })
    }

    @Test(arguments: [4, 5])
    func randomOperationsAgreeWithAModel(_ seed: Int) async throws {
      let store = try await TestStore(.directory)
      let model = store.scratch.file("model")
      try store.checkEverywhere(
        options: ["writeback_cache", "push_interval=200ms"],
        write: { mounted in
          let file = mounted.mountpoint + "/f"
          try Programs.run("random_operations.py", [file, "--seed", "\(seed)", "--model", model])
        },
        check: { mounted in
          try Programs.run("random_operations.py", [mounted.mountpoint + "/f", "--verify", model])
        })
    }

    @Test func everyCheckOfAFileSystem() async throws {
      let store = try await TestStore(.directory)
      try store.mounted(options: ["writeback_cache"]) { mounted in
        try Programs.run("posix_checks.py", [mounted.mountpoint])
        let deep = mounted.mountpoint + "/group/a"
        try ChildProcess.check(["mkdir", "-p", deep])
        try Programs.run("posix_checks.py", ["--plain", deep])
        try mounted.unmount()
      }
    }

    /// The kernel would not believe another mount's sizes: nobody else may change them.
    @Test(arguments: StoreKind.allCases)
    func aFileThatIsOnlyReadIsClaimedUntilTheUnmount(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      try store.mounted("maker") { maker in
        try run("mkdir \(maker.mountpoint)/d; echo d > \(maker.mountpoint)/d/f")
        try run("echo f > \(maker.mountpoint)/f; echo g > \(maker.mountpoint)/g")
        try maker.unmount()
      }
      try store.mounted("first", options: ["writeback_cache"]) { first in
        #expect(try shell("cat \(first.mountpoint)/f \(first.mountpoint)/d/f").output == "f\nd\n")
        try store.mounted("second") { second in
          // As long as an idle claim is kept otherwise, and more.
          ChildProcess.pause(.seconds(12))
          let there = second.mountpoint
          #expect(try shell("cat \(there)/f \(there)/d/f").output == "f\nd\n")
          #expect(try shell("echo x >> \(there)/f").errors.contains("busy"))
          #expect(try shell("echo x >> \(there)/d/f").errors.contains("busy"))
          // What nobody asked for is free.
          #expect(try shell("echo x >> \(there)/g").succeeded)
          try store.mounted("third", options: ["writeback_cache"]) { third in
            #expect(try shell("ls \(third.mountpoint) | sort").output == "d\nf\ng\n")
            #expect(try shell("cat \(third.mountpoint)/f").errors.contains("busy"))
            try third.unmount()
          }
          try first.unmount()
          #expect(try shell("echo x >> \(there)/f").succeeded)
          try second.unmount()
        }
      }
    }

    @Test func whatWasSyncedSurvivesSIGKILLAndAllIsCommittedInTime() async throws {
      let store = try await TestStore(.directory)
      try store.mounted(options: ["writeback_cache", "push_interval=1s"]) { mounted in
        let file = mounted.mountpoint + "/f"
        let writer = try BackgroundProcess([
          "sh", "-c", "exec 3>\(file); printf synced >&3; sync \(file); echo ready; read x",
        ])
        #expect(try writer.nextLine() == "ready")
        try mounted.kill()
        try mounted.remount()
        #expect(try shell("cat \(file)").output == "synced")
        writer.kill()
        let second = try BackgroundProcess([
          "sh", "-c", "exec 3>>\(file); printf ' later' >&3; echo ready; read x",
        ])
        #expect(try second.nextLine() == "ready")
        // Nobody syncs and nobody closes; the kernel knows the size before the daemon does.
        #expect(try shell("cat \(file)").output == "synced later")
        try eventually("committed by itself") {
          try store.mounted("elsewhere", options: ["ro"]) { other in
            defer { try? other.unmount() }
            return try shell("cat \(other.mountpoint)/f").output == "synced later"
          }
        }
        second.closeInput()
        _ = try second.waitForExit()
        try mounted.unmount()
      }
    }

    /// Its kernel has sizes of its own: what the new writer makes of the files is not shown there.
    @Test func aGroupThatWasTakenOverIsNotFollowed() async throws {
      let store = try await TestStore(.directory)
      try store.mounted("first", options: ["writeback_cache", "push_interval=200ms"]) { first in
        let file = first.mountpoint + "/f"
        try run("echo mine > \(file)")
        try first.waitUntilCommitted()
        try store.mounted("second", options: ["takeover"]) { second in
          try run("echo theirs, and longer > \(second.mountpoint)/f")
          try second.unmount()
        }
        #expect(try shell("cat \(file)").output == "mine\n")
        // The commit finds out; until then changes are accepted.
        try run("echo more >> \(file)")
        try eventually("refused") {
          try shell("echo again >> \(file) && sync \(file)").errors.contains("Stale file handle")
        }
        #expect(try shell("head -c 4 \(file)").output == "mine")
        try first.kill()
      }
    }

    /// What the kernel has collected cannot be handed over, so nobody hears of an error, and all of it
    /// comes when there is room.
    @Test func aFullLogIsNoErrorButWaits() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let options = ["writeback_cache", "push_interval=500ms", "fault_timeout=2s", "log_limit=64m"]
      let content = store.scratch.file("content")
      try run("head -c 96M /dev/urandom > \(content)")
      try store.mounted(options: options, through: proxy) { mounted in
        try run("touch \(mounted.mountpoint)/f")
        try mounted.sync()
        try proxy.addRule("action=reset-request")
        let writer = try BackgroundProcess([
          "dd", "if=\(content)", "of=\(mounted.mountpoint)/f", "bs=64k", "conv=notrunc,fsync",
        ])
        ChildProcess.pause(.seconds(6))
        #expect(writer.isRunning, "96 MiB do not fit a log of 64: \(writer.errors)")
        try proxy.clearRules()
        #expect(try writer.waitForExit().succeeded, "\(writer.errors)")
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        try ChildProcess.check(["cmp", content, "\(other.mountpoint)/f"])
        try other.unmount()
      }
    }

    /// Whose claim was given back, somebody else may have by now: only the names are shown.
    @Test func offlineOnlyWhatIsClaimedIsShown() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let options = ["writeback_cache", "push_interval=1h", "fault_timeout=2s"]
      try store.mounted(options: options, through: proxy) { mounted in
        let top = mounted.mountpoint
        try run("echo mine > \(top)/f")
        try mounted.sync()
        // The names are written a moment after they became known.
        ChildProcess.pause(.seconds(1))
        try mounted.kill()
        try proxy.addRule("action=reset-request")
        try mounted.mount()
        #expect(try shell("cat \(top)/f").output == "mine\n", "the claim is in the log")
        try proxy.clearRules()
        try mounted.unmount()
        try proxy.addRule("action=reset-request")
        try mounted.mount()
        #expect(try shell("ls \(top)").output == "f\n")
        let refused = try shell("cat \(top)/f")
        #expect(refused.output.isEmpty && refused.errors.contains("Input/output error"))
        try proxy.clearRules()
        try eventually("shown when the store answers") {
          try shell("cat \(top)/f").output == "mine\n"
        }
        try mounted.unmount()
      }
    }
  }
}
