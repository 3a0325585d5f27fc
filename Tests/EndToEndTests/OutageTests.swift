import Foundation
import Glibc
import RegionTesting
import Testing

extension EndToEnd {
  /// The store is away, or the cache's disk is full: what is here goes on, nothing accepted is lost.
  @Suite(.serialized) struct OutageTests {
    /// How a store can be away: nothing comes back, or every connection breaks.
    static let outages = ["action=blackhole", "action=reset-request"]

    private struct Status: Decodable {
      struct Mount: Decodable { var offline: Bool }
      struct Store: Decodable { var reachable: Bool }
      struct Cache: Decodable { var slowedWrites: UInt64? }
      var mount: Mount
      var store: Store
      var cache: Cache
    }

    private struct Report: Decodable { var mounts: [Status] }

    private func status(_ mounted: MountedFilesystem) throws -> Status {
      let report = try JSONDecoder().decode(Report.self, from: Data(try mounted.stat().utf8))
      return try #require(report.mounts.first)
    }

    /// The daemon died with changes that were not committed, and comes back while the store is away.
    @Test(arguments: outages)
    func aMountBeginsWhileTheStoreIsAway(outage: String) async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let options = ["push_interval=1h", "fault_timeout=3s"]
      let touched = ["--pages", "600", "--seed", "2", "--touch", "100", "--base-seed", "1"]
      try store.mounted(options: options, through: proxy) { mounted in
        let top = mounted.mountpoint
        try Programs.run("pattern.py", ["write", "\(top)/f", "--pages", "600", "--seed", "1"])
        try ChildProcess.check(["mkdir", "-p", "\(top)/d/e"])
        try Programs.run("pattern.py", ["write", "\(top)/d/e/g", "--pages", "60", "--seed", "3"])
        try mounted.sync()
        // Accepted, and in the log only.
        try Programs.run("pattern.py", ["map", "\(top)/f", "--msync"] + touched)
        try ChildProcess.check(["mv", "\(top)/d/e/g", "\(top)/d/h"])
        try mounted.kill()
        try proxy.addRule(outage)
        try mounted.mount()
        #expect(try status(mounted).mount.offline)
        #expect(try shell("ls \(top)").output == "d\nf\n")
        for how in [[], ["--mmap"]] {
          try Programs.run("pattern.py", ["verify", "\(top)/f"] + touched + how)
        }
        try Programs.run("pattern.py", ["verify", "\(top)/d/h", "--pages", "60", "--seed", "3"])
        // The claim is still ours, so writing goes on too.
        try Programs.run("pattern.py", ["write", "\(top)/d/new", "--pages", "60", "--seed", "4"])
        #expect(try shell("cat \(top)/unknown").errors.contains("Input/output error"))
        try proxy.clearRules()
        try eventually("online") { try !status(mounted).mount.offline }
        try mounted.sync()
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        let top = other.mountpoint
        try Programs.run("pattern.py", ["verify", "\(top)/f"] + touched)
        try Programs.run("pattern.py", ["verify", "\(top)/d/h", "--pages", "60", "--seed", "3"])
        try Programs.run("pattern.py", ["verify", "\(top)/d/new", "--pages", "60", "--seed", "4"])
        #expect(try shell("ls \(top)/d/e").output.isEmpty)
        try other.unmount()
      }
    }

    /// The copy of the root is older than the store's: commits of the same log came after it.
    @Test func aMountOfflineFindsThatItsLogWasCommitted() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let options = ["push_interval=1h", "fault_timeout=3s"]
      try store.mounted(options: options, through: proxy) { mounted in
        let top = mounted.mountpoint
        try Programs.run("pattern.py", ["write", "\(top)/f", "--pages", "600", "--seed", "1"])
        try mounted.sync()
        let saved = store.scratch.file("saved")
        let cache = mounted.cacheDirectory
        let group = try #require(
          try shell("cd \(cache) && ls -d ????????????????????????????????")
            .output.split(separator: "\n").first)
        let root = "\(cache)/\(group)/root"
        try ChildProcess.check(["cp", root, saved])
        try Programs.run(
          "pattern.py",
          ["map", "\(top)/f", "--msync", "--pages", "600", "--seed", "2", "--touch", "100"])
        try mounted.sync()
        try Programs.run(
          "pattern.py",
          ["map", "\(top)/f", "--msync", "--pages", "600", "--seed", "3", "--touch", "50"])
        try mounted.kill()
        // As if the daemon had died between the commit and its copy.
        try ChildProcess.check(["cp", saved, root])
        try proxy.addRule("action=reset-request")
        try mounted.mount()
        #expect(try status(mounted).mount.offline)
        try ChildProcess.check(["cp", "\(top)/f", store.scratch.file("offline")])
        try proxy.clearRules()
        try mounted.sync()
        try ChildProcess.check(["cmp", "\(top)/f", store.scratch.file("offline")])
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        try ChildProcess.check(["cmp", "\(other.mountpoint)/f", store.scratch.file("offline")])
        try other.unmount()
      }
    }

    /// A reader's cache, cleanly unmounted: what it has is shown.
    @Test func aReadersCacheIsShownWhileTheStoreIsAway() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let pattern = ["--pages", "600", "--seed", "1"]
      try store.mounted("writer") { writer in
        try Programs.run("pattern.py", ["write", "\(writer.mountpoint)/f"] + pattern)
        try Programs.run("pattern.py", ["write", "\(writer.mountpoint)/unread"] + pattern)
        try writer.unmount()
      }
      let options = ["ro", "fault_timeout=2s", "pull=lazy"]
      try store.mounted("reader", options: options, through: proxy) { reader in
        let top = reader.mountpoint
        try Programs.run("pattern.py", ["verify", "\(top)/f"] + pattern)
        try ChildProcess.check(["stat", "\(top)/unread"])
        try reader.unmount()
        try proxy.addRule("action=blackhole")
        try reader.mount()
        #expect(try status(reader).mount.offline)
        #expect(try shell("ls \(top)").output == "f\nunread\n")
        try Programs.run("pattern.py", ["verify", "\(top)/f", "--mmap"] + pattern)
        // Names and sizes are here, the bytes are not.
        let size = try shell("stat -c %s \(top)/unread").output
        #expect(size == "\(600 << 12)\n")
        #expect(try shell("cat \(top)/unread").errors.contains("Input/output error"))
        try proxy.clearRules()
        try Programs.run("pattern.py", ["verify", "\(top)/unread"] + pattern)
        try eventually("online") { try !status(reader).mount.offline }
        try reader.unmount()
      }
    }

    /// Nothing is uploaded any more: write(2) hears ENOSPC, a mapping waits, and all of it drains.
    @Test func atTheLogsLimitWriteIsToldAndMappingsWait() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let record = store.scratch.file("record")
      let pattern = ["--pages", "24576", "--seed", "5"]
      let options = ["push_interval=500ms", "fault_timeout=2s", "log_limit=64m"]
      try store.mounted(options: options, through: proxy) { mounted in
        let top = mounted.mountpoint
        try ChildProcess.check(["truncate", "-s", "96M", "\(top)/mapped"])
        try ChildProcess.check(["mkdir", "\(top)/d"])
        try mounted.sync()
        try proxy.addRule("action=reset-request")
        try Programs.run("fill_disk.py", ["fill", "\(top)/d/f", record])
        let writer = try BackgroundProcess(
          Programs.command("pattern.py", ["map", "\(top)/mapped", "--msync"] + pattern))
        ChildProcess.pause(.seconds(5))
        #expect(writer.isRunning, "96 MiB do not fit a log of 64: \(writer.errors)")
        // Responsive all the while.
        #expect(try !status(mounted).store.reachable)
        #expect(try shell("ls \(top) \(top)/d").output.contains("mapped"))
        try Programs.run("fill_disk.py", ["verify", "\(top)/d/f", record])
        try proxy.clearRules()
        #expect(try writer.waitForExit().succeeded, "\(writer.errors)")
        // The other group may still wait to push again, and its log is full until then.
        try eventually("room in the log") { try shell("echo more > \(top)/d/g").succeeded }
        try mounted.sync()
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        try Programs.run("fill_disk.py", ["verify", "\(other.mountpoint)/d/f", record])
        try Programs.run("pattern.py", ["verify", "\(other.mountpoint)/mapped"] + pattern)
        try other.unmount()
      }
    }

    /// From three quarters of the limit on, and before it.
    @Test func aWriterIsSlowedBeforeTheLogIsFull() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let options = ["push_interval=500ms", "fault_timeout=2s", "log_limit=64m"]
      try store.mounted(options: options, through: proxy) { mounted in
        let directory = "\(mounted.mountpoint)/d"
        try ChildProcess.check(["mkdir", directory])
        try mounted.sync()
        try proxy.addRule("action=reset-request")
        func write(_ blocks: Range<Int>) throws -> UInt64? {
          try ChildProcess.check([
            "dd", "if=/dev/urandom", "of=\(directory)/f", "bs=256k", "conv=notrunc",
            "seek=\(blocks.lowerBound)", "count=\(blocks.count)",
          ])
          return try status(mounted).cache.slowedWrites
        }
        #expect(try write(0..<176) == 0, "44 MiB are no reason")
        #expect(try write(176..<248) ?? 0 > 0, "62 MiB of 64 were written without a pause")
        try proxy.clearRules()
        try mounted.sync()
        try mounted.unmount()
      }
    }

    /// stat(2) and open(2) that wait for the store end with the process that asks.
    @Test func whoWaitsForANameCanBeKilled() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try store.mounted("writer") { writer in
        try ChildProcess.check(["sh", "-c", "echo x > \(writer.mountpoint)/f"])
        try writer.unmount()
      }
      try store.mounted("reader", options: ["fault_timeout=1000s"], through: proxy) { reader in
        try ChildProcess.check(["stat", "\(reader.mountpoint)/f"])
        try proxy.addRule("action=blackhole")
        for command in ["stat \(reader.mountpoint)/unknown", "echo y >> \(reader.mountpoint)/f"] {
          let asker = try BackgroundProcess(["sh", "-c", "exec 2>/dev/null; \(command)"])
          ChildProcess.pause(.seconds(1))
          #expect(asker.isRunning, "it should wait for the store: \(command)")
          asker.kill()
          #expect(!asker.isRunning, "\(command): \(asker.kernelStacks)")
        }
        try proxy.clearRules()
        try reader.unmount()
      }
    }

    /// With sync=remote a harmless signal does not end fsync, and a deadly one does.
    @Test func onlyDeathEndsARemoteSync() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let program = """
        import os, signal, sys
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
        os.pwrite(f, b"x" * 4096, int(sys.argv[2]))
        print("writing", flush=True)
        # The system call itself: Python's own would begin again after EINTR.
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.fsync(f)
        print(result, ctypes.get_errno(), flush=True)
        """
      let options = ["sync=remote", "push_interval=1h"]
      try store.mounted(options: options, through: proxy) { mounted in
        // Of one group, which is there; and not one file, whose lock fsync(2) holds.
        let file = "\(mounted.mountpoint)/d/f"
        try ChildProcess.check(["mkdir", "\(mounted.mountpoint)/d"])
        func syncer(_ offset: Int) throws -> BackgroundProcess {
          let process = try BackgroundProcess([
            Programs.python, "-c", program, "\(file)\(offset)", "\(offset)",
          ])
          #expect(try process.nextLine() == "writing")
          return process
        }
        let first = try syncer(0)
        #expect(try first.nextLine() == "0 0")
        try proxy.addRule("match=PUT,action=blackhole")
        let patient = try syncer(4096)
        ChildProcess.pause(.seconds(1))
        patient.signal(SIGINT)
        ChildProcess.pause(.seconds(1))
        #expect(patient.isRunning, "a signal that it handles ended fsync: \(patient.errors)")
        let doomed = try syncer(8192)
        ChildProcess.pause(.seconds(1))
        doomed.kill()
        #expect(!doomed.isRunning, "SIGKILL does not end fsync: \(doomed.kernelStacks)")
        try proxy.clearRules()
        #expect(try patient.nextLine() == "0 0")
        // It has said so and not ended yet: until then it has the file open.
        try eventually("the sync's process ends") { !patient.isRunning }
        try mounted.unmount()
      }
    }
  }
}
