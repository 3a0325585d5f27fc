import RegionTesting
import Testing

extension EndToEnd {
  /// Promises of docs/SEMANTICS.md that no other suite proves on its way.
  @Suite(.serialized) struct PromiseTests {
    @Test func aWriterThatWasTakenOverStopsAndKeepsItsChanges() async throws {
      let store = try await TestStore(.directory)
      let pattern = ["--pages", "200", "--seed", "1"]
      let touched = ["--pages", "200", "--seed", "2", "--touch", "50"]
      try store.mounted("first", options: ["push_interval=1h"]) { first in
        let file = first.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file] + pattern)
        let sync = [Products.path("regionfs"), "sync", first.mountpoint]
        let environment = ["REGIONFS_RUNTIME_DIR": try store.scratch.directory("run")]
        try ChildProcess.check(sync, environment: environment)
        let holder = try BackgroundProcess(
          Programs.command("pattern.py", ["map", file, "--hold"] + pattern))
        #expect(try holder.nextLine() == "done")
        try store.mounted("second", options: ["takeover"]) { second in
          try Programs.run("pattern.py", ["map", second.mountpoint + "/f", "--msync"] + touched)
          try second.unmount()
        }
        // Accepted before it could know; the commit finds out.
        let write = "echo mine | dd of=\(file) bs=4096 seek=10 conv=notrunc"
        #expect(try shell(write).succeeded)
        #expect(try !ChildProcess.run(sync, environment: environment).succeeded)
        #expect(try shell(write).errors.contains("Stale file handle"))
        #expect(try shell("touch \(file)").errors.contains("Stale file handle"))
        let mine = try shell("dd if=\(file) bs=4096 skip=10 count=1 status=none | head -c 4")
        #expect(mine.output == "mine")
        holder.kill()
        try first.kill()
        try first.remount()
        // The other writer's commit, and the changes that lost beside it.
        try Programs.run("pattern.py", ["verify", file, "--base-seed", "1"] + touched)
        let kept = try Files.list(below: first.cacheDirectory).filter { $0.contains("/aside/") }
        #expect(!kept.isEmpty, "\(first.fullLog)")
        try first.unmount()
      }
    }

    @Test func aFailedSyncStopsTheGroupUntilItIsMountedAgain() async throws {
      let store = try await TestStore(.directory)
      let library = store.scratch.file("failing_sync.so")
      let trigger = store.scratch.file("trigger")
      let source = Programs.directory + "/failing_sync.c"
      try ChildProcess.check(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source])
      let mounted = try MountedFilesystem(
        store.address, in: store.scratch, options: ["push_interval=1h"],
        environment: ["LD_PRELOAD": library, "FAIL_SYNC_IF": trigger])
      defer { mounted.cleanUp() }
      try mounted.mount()
      let write = "dd if=/dev/zero of=\(mounted.mountpoint)/f bs=4k count=4 conv=notrunc"
      #expect(try shell("\(write),fsync").succeeded)
      try ChildProcess.check(["touch", trigger])
      // Something to sync: equal pages are dropped.
      let other = "dd if=/dev/urandom of=\(mounted.mountpoint)/f bs=4k count=4 conv=notrunc"
      #expect(try shell("\(other),fsync").errors.contains("Input/output error"))
      try ChildProcess.check(["rm", trigger])
      #expect(try shell(other).errors.contains("Input/output error"))
      #expect(try shell("sync \(mounted.mountpoint)/f").errors.contains("Input/output error"))
      #expect(try shell("cat \(mounted.mountpoint)/f | wc -c").output == "16384\n")
      try mounted.kill()
      try mounted.remount()
      #expect(try shell("\(other),fsync").succeeded)
      try mounted.unmount()
    }

    @Test func aReaderSeesNewCommitsWhenItOpens() async throws {
      let store = try await TestStore(.directory)
      let touched = ["--pages", "600", "--seed", "2", "--touch", "50"]
      try store.mounted("writer") { writer in
        try Programs.run(
          "pattern.py", ["write", writer.mountpoint + "/f", "--pages", "600", "--seed", "1"])
        try writer.waitUntilCommitted()
        try store.mounted("reader", options: ["ro"]) { reader in
          let file = reader.mountpoint + "/f"
          for how in [[], ["--mmap"]] {
            try Programs.run("pattern.py", ["verify", file, "--pages", "600", "--seed", "1"] + how)
          }
          try Programs.run("pattern.py", ["map", writer.mountpoint + "/f", "--msync"] + touched)
          try writer.waitUntilCommitted()
          // A second of trust in what is known, and some for the machine.
          ChildProcess.pause(.milliseconds(1500))
          for how in [[], ["--mmap"]] {
            try Programs.run("pattern.py", ["verify", file, "--base-seed", "1"] + touched + how)
          }
          try reader.unmount()
        }
        try writer.unmount()
      }
    }

    @Test func mappedStoresWaitForRoomOnTheDisk() async throws {
      let store = try await TestStore(.directory)
      let disk = try SmallDisk(in: store.scratch, mebibytes: 24)
      let pattern = ["--pages", "8192", "--seed", "7"]
      try store.mounted(options: ["cache_dir=\(disk.path)/cache"]) { mounted in
        let file = mounted.mountpoint + "/f"
        try ChildProcess.check(["truncate", "-s", "32M", file])
        let writer = try BackgroundProcess(
          Programs.command("pattern.py", ["map", file, "--msync"] + pattern))
        ChildProcess.pause(.seconds(5))
        #expect(writer.isRunning, "32 MiB do not fit: \(writer.errors)")
        try ChildProcess.check(["mount", "-o", "remount,size=200m", disk.path])
        #expect(try writer.waitForExit().succeeded, "\(writer.errors)")
        try Programs.run("pattern.py", ["verify", file] + pattern)
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        try Programs.run("pattern.py", ["verify", other.mountpoint + "/f"] + pattern)
        try other.unmount()
      }
    }

    @Test func onlyUserAttributesAreKept() async throws {
      let store = try await TestStore(.directory)
      try store.mounted { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "2"])
        #expect(try shell("setfattr -n user.a -v b \(file)").succeeded)
        #expect(try shell("getfattr --only-values -n user.a \(file)").output == "b")
        let refused = try shell("setfattr -n trusted.a -v b \(file)")
        #expect(refused.errors.contains("not supported"), "\(refused)")
        try mounted.unmount()
      }
    }

    @Test func readingLeavesTheAccessTime() async throws {
      let store = try await TestStore(.directory)
      try store.mounted { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "2"])
        try ChildProcess.check(["touch", "-a", "-d", "2001-02-03 04:05:06 UTC", file])
        try ChildProcess.check(["cat", file])
        // The kernel may believe attributes for a second.
        ChildProcess.pause(.milliseconds(1100))
        #expect(try shell("TZ=UTC stat -c %X \(file)").output == "981173106\n")
        try mounted.unmount()
      }
    }
  }
}
