import RegionTesting
import Testing

extension EndToEnd {
  /// One writer a group, whoever else has the store mounted.
  @Suite(.serialized) struct OwnershipTests {
    @Test(arguments: StoreKind.allCases)
    func aSecondWriterIsRefusedUntilTheFirstIsGone(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      let pattern = ["--pages", "200", "--seed", "1"]
      try store.mounted("first") { first in
        try Programs.run("pattern.py", ["write", first.mountpoint + "/f"] + pattern)
        try first.waitUntilCommitted()
        // Held open for writing, so that the claim is not given back for being idle.
        let holder = try BackgroundProcess(
          Programs.command("pattern.py", ["map", first.mountpoint + "/f", "--hold"] + pattern))
        #expect(try holder.nextLine() == "done")
        try store.mounted("second") { second in
          let file = second.mountpoint + "/f"
          try Programs.run("pattern.py", ["verify", file] + pattern)
          let refused = try ChildProcess.run(["sh", "-c", "echo x >> \(file)"])
          #expect(refused.errors.contains("busy"), "\(refused)")
          // Other groups are free.
          try Programs.run("pattern.py", ["write", second.mountpoint + "/g"] + pattern)
          holder.closeInput()
          _ = try holder.waitForExit()
          try first.unmount()
          let touched = ["--pages", "200", "--seed", "2", "--touch", "50"]
          try Programs.run("pattern.py", ["map", file, "--msync"] + touched)
          try second.unmount()
        }
      }
      try store.mounted("third") { third in
        let touched = ["--pages", "200", "--seed", "2", "--touch", "50", "--base-seed", "1"]
        try Programs.run("pattern.py", ["verify", third.mountpoint + "/f"] + touched)
        try Programs.run("pattern.py", ["verify", third.mountpoint + "/g"] + pattern)
        try third.unmount()
      }
    }

    @Test func theWriterOfADeadHostKeepsItsClaim() async throws {
      let store = try await TestStore(.directory)
      let pattern = ["--pages", "200", "--seed", "1"]
      try store.mounted("first", options: ["push_interval=1h"]) { first in
        try Programs.run("pattern.py", ["write", first.mountpoint + "/f"] + pattern)
        let touched = ["--pages", "200", "--seed", "2", "--touch", "50"]
        try first.sync()
        try Programs.run("pattern.py", ["map", first.mountpoint + "/f", "--msync"] + touched)
        try first.kill()
        // A claim ends by a drained release or an explicit takeover, never by a clock.
        try store.mounted("second") { second in
          let refused = try ChildProcess.run(["sh", "-c", "echo x >> \(second.mountpoint)/f"])
          #expect(refused.errors.contains("busy"), "\(refused)")
          try second.unmount()
        }
        try first.remount()
        try Programs.run(
          "pattern.py", ["verify", first.mountpoint + "/f", "--base-seed", "1"] + touched)
        try first.unmount()
      }
      try store.mounted("second") { second in
        let touched = ["--pages", "200", "--seed", "2", "--touch", "50", "--base-seed", "1"]
        try Programs.run("pattern.py", ["verify", second.mountpoint + "/f"] + touched)
        try ChildProcess.check(["sh", "-c", "echo x >> \(second.mountpoint)/f"])
        try second.unmount()
      }
    }
  }
}
