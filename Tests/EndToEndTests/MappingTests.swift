import RegionTesting
import Testing

extension EndToEnd {
  /// mmap MAP_SHARED, read and write, by several processes.
  @Suite(.serialized) struct MappingTests {
    @Test(arguments: StoreKind.allCases)
    func twoProcessesSeeEachOthersStores(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      try store.mounted(options: ["push_interval=300ms"]) { mounted in
        try Programs.run("two_processes.py", [mounted.mountpoint + "/f"])
        try mounted.unmount()
      }
    }

    /// SEMANTICS: a mapping that is dirtied and never msynced is pushed all the same, within
    /// `push_interval` plus the upload.
    @Test(arguments: StoreKind.allCases)
    func anUnsyncedMappingIsCommittedWithinThePushInterval(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      try store.mounted(options: ["push_interval=1s"]) { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "512", "--seed", "1"])
        try mounted.waitUntilCommitted()
        let writer = try BackgroundProcess(
          Programs.command(
            "pattern.py",
            ["map", file, "--pages", "512", "--seed", "2", "--touch", "100", "--hold"]))
        #expect(try writer.nextLine() == "done")
        // Twice the interval for the write-back and the push's own pace, and time to upload.
        ChildProcess.pause(.seconds(4))
        #expect(writer.isRunning, "the mapping must still be there: \(writer.errors)")
        try store.mounted("elsewhere", options: ["ro"]) { other in
          let pattern = ["--pages", "512", "--seed", "2", "--touch", "100", "--base-seed", "1"]
          try Programs.run("pattern.py", ["verify", other.mountpoint + "/f"] + pattern)
          try other.unmount()
        }
        writer.closeInput()
        #expect(try writer.waitForExit().succeeded)
        try mounted.unmount()
      }
    }

    @Test(arguments: StoreKind.allCases)
    func scatteredMappedStoresSurviveARemount(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      let touched = ["--pages", "4096", "--seed", "9", "--touch", "700"]
      try store.checkEverywhere(
        write: { mounted in
          let file = mounted.mountpoint + "/f"
          try Programs.run("pattern.py", ["write", file, "--pages", "4096", "--seed", "8"])
          try Programs.run("pattern.py", ["map", file, "--msync"] + touched)
        },
        check: { mounted in
          let file = mounted.mountpoint + "/f"
          for how in [["--mmap"], []] {
            try Programs.run("pattern.py", ["verify", file, "--base-seed", "8"] + touched + how)
          }
        })
    }

    /// A bug that was: SEEK_DATA knew nothing of pages that the kernel had not handed over yet, and
    /// cp(1) made zeros of what had been stored into a hole a moment before.
    @Test func aCopyHasWhatWasStoredIntoAHoleAMomentAgo() async throws {
      let store = try await TestStore(.directory)
      let hold = """
        import mmap, os, sys
        f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
        os.ftruncate(f, 1 << 20)
        m = mmap.mmap(f, 1 << 20)
        m[600000:600005] = b"hello"
        print("stored", flush=True)
        sys.stdin.readline()
        """
      try store.mounted(options: ["push_interval=1h"]) { mounted in
        let file = mounted.mountpoint + "/f"
        let writer = try BackgroundProcess([Programs.python, "-c", hold, file])
        #expect(try writer.nextLine() == "stored")
        let copy = store.scratch.file("copy")
        try ChildProcess.check(["cp", "--sparse=always", file, copy])
        try ChildProcess.check(["cmp", file, copy])
        let word = try shell("tail -c +600001 \(copy) | head -c 5")
        #expect(word.output == "hello")
        writer.closeInput()
        _ = try writer.waitForExit()
        try mounted.unmount()
      }
    }

    /// Nobody can have its pages handed over: programs that hear EINVAL read all of it.
    @Test func aFileWithoutANameSaysNotWhereItsHolesAre() async throws {
      let store = try await TestStore(.directory)
      let program = """
        import errno, os, sys
        f = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
        os.ftruncate(f, 1 << 20)
        os.pwrite(f, b"hello", 600000)
        assert os.lseek(f, 0, os.SEEK_DATA) <= 600000
        os.unlink(sys.argv[1])
        for whence in [os.SEEK_DATA, os.SEEK_HOLE]:
            try: os.lseek(f, 0, whence)
            except OSError as error: assert error.errno == errno.EINVAL, error
            else: sys.exit("an answer that may be wrong")
        assert os.pread(f, 5, 600000) == b"hello"
        """
      try store.mounted { mounted in
        try ChildProcess.check([Programs.python, "-c", program, mounted.mountpoint + "/f"])
        try mounted.unmount()
      }
    }

    @Test(arguments: StoreKind.allCases)
    func numpyMemmap(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      try store.checkEverywhere(
        write: { try Programs.run("numpy_memmap.py", ["write", $0.mountpoint + "/f"]) },
        check: { try Programs.run("numpy_memmap.py", ["check", $0.mountpoint + "/f"]) })
    }

    @Test(arguments: ["lazy", "background", "full", "auto"])
    func everyPullModeReadsTheSameBytes(mode: String) async throws {
      let store = try await TestStore(.s3)
      let pattern = ["--pages", "8192", "--seed", "4"]
      try store.mounted { mounted in
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f"] + pattern)
        try mounted.unmount()
      }
      try store.mounted("elsewhere", options: ["pull=\(mode)"]) { other in
        try Programs.run("pattern.py", ["verify", other.mountpoint + "/f", "--mmap"] + pattern)
        try other.unmount()
      }
    }

    @Test func aWriterGoesOnWhileTheStoreIsAway() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let pattern = ["--pages", "1024", "--seed", "5"]
      try store.mounted(options: ["push_interval=300ms"], through: proxy) { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "1024", "--seed", "4"])
        try mounted.waitUntilCommitted()
        try proxy.control("refuse on")
        try proxy.control("drop")
        try Programs.run("pattern.py", ["map", file, "--msync"] + pattern)
        try Programs.run("pattern.py", ["verify", file] + pattern)
        try proxy.control("refuse off")
        try mounted.waitUntilCommitted()
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        try Programs.run("pattern.py", ["verify", other.mountpoint + "/f"] + pattern)
        try other.unmount()
      }
    }
  }
}
