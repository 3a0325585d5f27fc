import Glibc
import RegionTesting
import Testing

extension EndToEnd {
  /// Mounting, unmounting and what happens in between.
  @Suite(.serialized) struct LifecycleTests {
    static let pattern = ["--pages", "2000", "--seed", "3"]

    /// Runs the daemon as users do: the command returns when the mount answers.
    @Test func theCommandReturnsWhenTheMountAnswers() async throws {
      let store = try await TestStore(.directory)
      let mounted = try store.filesystem()
      let environment = ["REGIONFS_RUNTIME_DIR": try store.scratch.directory("run")]
      defer { _ = try? ChildProcess.run(["umount", "-i", "-l", mounted.mountpoint]) }
      let command = mounted.command.filter { $0 != "-f" }
      for _ in 0..<3 {
        try ChildProcess.check(command, environment: environment)
        // No waiting here: it must answer at once.
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file] + Self.pattern)
        try ChildProcess.check(
          [Products.path("regionfs"), "umount", mounted.mountpoint], environment: environment)
        #expect(!mounted.isMounted)
      }
      // `regionfs umount` waits until everything is committed.
      try store.mounted("elsewhere") { other in
        try Programs.run("pattern.py", ["verify", other.mountpoint + "/f"] + Self.pattern)
        try other.unmount()
      }
    }

    /// A bug that was: a thread of the daemon kept the starter's stderr open, and whoever read it to
    /// its end (`$(regionfs mount … 2>&1)`, a service manager) waited as long as the mount lived.
    @Test func theDaemonLetsGoOfTheStartersOutputs() async throws {
      let store = try await TestStore(.directory)
      let mounted = try store.filesystem()
      let environment = ["REGIONFS_RUNTIME_DIR": try store.scratch.directory("run")]
      defer { _ = try? ChildProcess.run(["umount", "-i", "-l", mounted.mountpoint]) }
      let command = mounted.command.filter { $0 != "-f" }.joined(separator: " ")
      try ChildProcess.check(
        ["sh", "-c", "(\(command)) 2>&1 | cat"], environment: environment)
      #expect(mounted.isMounted)
      try ChildProcess.check(
        [Products.path("regionfs"), "umount", mounted.mountpoint], environment: environment)
    }

    /// SEMANTICS: where nothing waits, the daemon drains by itself, and the next mount waits for
    /// its lock and carries on.
    @Test func aMountRightAfterAnUnmountThatNobodyWaitedFor() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try store.mounted(options: ["push_interval=1h"], through: proxy) { mounted in
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f"] + Self.pattern)
        // 8 MB at 20 Mbit/s: the drain takes more than three seconds.
        try proxy.control("bandwidth 20M")
        try ChildProcess.check(["fusermount3", "-u", mounted.mountpoint])
        let again = try store.filesystem(through: proxy)
        defer { again.cleanUp() }
        try again.mount()
        try proxy.control("bandwidth off")
        try Programs.run("pattern.py", ["verify", again.mountpoint + "/f"] + Self.pattern)
        try again.unmount()
      }
    }

    @Test func sigtermDrainsAndEnds() async throws {
      let store = try await TestStore(.directory)
      try store.mounted(options: ["push_interval=1h"]) { mounted in
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f"] + Self.pattern)
        mounted.signal(SIGTERM)
        for _ in 0..<600 where mounted.pid != nil { usleep(20_000) }
        #expect(mounted.pid == nil, "SIGTERM does not end the daemon")
        #expect(!mounted.isMounted)
      }
      try store.mounted("elsewhere") { other in
        try Programs.run("pattern.py", ["verify", other.mountpoint + "/f"] + Self.pattern)
        try other.unmount()
      }
    }

    @Test func unmountWithTheStoreAwayKeepsEverythingInTheCache() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try store.mounted(options: ["push_interval=1h"], through: proxy) { mounted in
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f"] + Self.pattern)
        try proxy.addRule("action=reset-request")
        try ChildProcess.check(["fusermount3", "-u", mounted.mountpoint])
        ChildProcess.pause(.seconds(2))
        #expect(mounted.pid != nil, "a daemon whose mount is gone stays until it has drained")
        try mounted.kill()
        try proxy.clearRules()
        try mounted.mount()
        try Programs.run("pattern.py", ["verify", mounted.mountpoint + "/f"] + Self.pattern)
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        try Programs.run("pattern.py", ["verify", other.mountpoint + "/f"] + Self.pattern)
        try other.unmount()
      }
    }

    @Test func syncRemoteWaitsForTheCommit() async throws {
      let store = try await TestStore(.directory)
      try store.mounted(options: ["push_interval=1h", "sync=remote"]) { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file] + Self.pattern)
        let touched = ["--pages", "2000", "--seed", "4", "--touch", "100"]
        try Programs.run("pattern.py", ["map", file, "--msync"] + touched)
        try mounted.kill()
      }
      // Host and cache are lost; what msync answered for is in the store.
      try store.mounted("elsewhere", options: ["ro"]) { other in
        let touched = ["--pages", "2000", "--seed", "4", "--touch", "100", "--base-seed", "3"]
        try Programs.run("pattern.py", ["verify", other.mountpoint + "/f"] + touched)
        try other.unmount()
      }
    }

    @Test func syncCommandWaitsForTheCommit() async throws {
      let store = try await TestStore(.directory)
      try store.mounted(options: ["push_interval=1h"]) { mounted in
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f"] + Self.pattern)
        try mounted.sync()
        try mounted.kill()
      }
      try store.mounted("elsewhere", options: ["ro"]) { other in
        try Programs.run("pattern.py", ["verify", other.mountpoint + "/f"] + Self.pattern)
        try other.unmount()
      }
    }

    @Test func aSparseTebibyteNeedsLittleMemory() async throws {
      let store = try await TestStore(.directory)
      try store.mounted { mounted in
        let file = mounted.mountpoint + "/f"
        try ChildProcess.check(["truncate", "-s", "1T", file])
        for place in 0..<10 {
          try ChildProcess.check([
            "dd", "if=/dev/urandom", "of=\(file)", "bs=4k", "count=1", "conv=notrunc",
            "seek=\(place * 25_000_000)",
          ])
        }
        try mounted.unmount()
        try mounted.mount()
        let status = try Files.read("/proc/\(try #require(mounted.pid))/status")
        let line = String(decoding: status, as: Unicode.UTF8.self).split(separator: "\n")
          .first { $0.hasPrefix("VmHWM") }
        let kibibytes = line?.split(separator: " ").compactMap { Int($0) }.first
        #expect(try #require(kibibytes) < 150 * 1024, "\(line ?? "")")
        try mounted.unmount()
      }
    }
  }
}
