import RegionTesting
import Testing

extension EndToEnd {
  /// `regionfs pull` and `user.regionfs.pull`.
  @Suite(.serialized) struct PullTests {
    private struct Fixture {
      let store: TestStore
      let original: String
      let environment: [String: String]
    }

    private func fixture(_ kind: StoreKind) async throws -> Fixture {
      let store = try await TestStore(kind)
      let original = store.scratch.file("original")
      try CopyTests.makeFile(original, mebibytes: 24)
      try store.succeed("cp", original, "\(store.address)/f")
      return Fixture(
        store: store, original: original,
        environment: ["REGIONFS_RUNTIME_DIR": try store.scratch.directory("run")])
    }

    private func pull(_ fixture: Fixture, _ arguments: String...) throws -> ProcessResult {
      try ChildProcess.run(
        [Products.path("regionfs"), "pull"] + arguments, environment: fixture.environment)
    }

    private func present(_ fixture: Fixture, _ mounted: MountedFilesystem) throws -> String {
      let status = try ChildProcess.check(
        [Products.path("regionfs-stat"), "--json", mounted.mountpoint],
        environment: fixture.environment
      ).output
      return try TestStore.value("d['mounts'][0]['regions'][0]['chunksPresent']", of: status)
    }

    private static func pulled(_ result: ProcessResult) throws -> String {
      try TestStore.value("d['files'][0]['pulledBytes']", of: result.output)
    }

    @Test(arguments: StoreKind.allCases)
    func aPulledFileNeedsTheStoreNoMore(kind: StoreKind) async throws {
      let fixture = try await fixture(kind)
      try fixture.store.mounted(options: ["pull=lazy"]) { mounted in
        let file = mounted.mountpoint + "/f"
        let first = try pull(fixture, "--json", file)
        #expect(first.status == 0, "\(first)")
        #expect(try Self.pulled(first) == "\(24 << 20)")
        #expect(try present(fixture, mounted) == "96")
        let again = try pull(fixture, "--json", file)
        #expect(try Self.pulled(again) == "0")
        try ChildProcess.check(["cmp", fixture.original, file])
        try mounted.unmount()
      }
    }

    @Test func aRangeIsPulledAndNoMore() async throws {
      let fixture = try await fixture(.directory)
      try fixture.store.mounted(options: ["pull=lazy"]) { mounted in
        let file = mounted.mountpoint + "/f"
        let result = try pull(fixture, "--range", "4m:8m", "--priority", "9", file)
        #expect(result.status == 0, "\(result)")
        #expect(try present(fixture, mounted) == "16")
        let tail = try pull(fixture, "--range", "23m:", "--priority", "0", file)
        #expect(tail.status == 0, "\(tail)")
        #expect(try present(fixture, mounted) == "20")
        try mounted.unmount()
      }
    }

    /// The pull once failed where all that it wanted was on its way already, for others.
    @Test func aPullWaitsForWhatReadAheadBrings() async throws {
      let fixture = try await fixture(.s3)
      let proxy = try ImpairmentProxy(to: try #require(fixture.store.serverAddress))
      try fixture.store.mounted(options: ["pull=lazy"], through: proxy) { mounted in
        let file = mounted.mountpoint + "/f"
        // What is read ahead of the fourth megabyte takes a second.
        try proxy.control("bandwidth 32M")
        try ChildProcess.check(
          ["dd", "if=\(file)", "of=/dev/null", "bs=1M", "count=4"])
        let next = try pull(fixture, "--range", "4m:6m", file)
        #expect(next.status == 0, "\(next)")
        try proxy.control("bandwidth off")
        try mounted.unmount()
      }
    }

    @Test func anAttributeAsksForAPullAndTellsOfIt() async throws {
      let fixture = try await fixture(.directory)
      try fixture.store.mounted(options: ["pull=lazy"]) { mounted in
        let file = mounted.mountpoint + "/f"
        let script = """
          import os, sys, time
          file = os.open(sys.argv[1], os.O_RDONLY)
          name = "user.regionfs.pull"
          assert os.getxattr(file, name).startswith(b"present=0 size=25165824 mode=lazy"), os.getxattr(file, name)
          assert name not in os.listxattr(file)
          os.setxattr(file, name, b"1048576:3145728")
          while not os.getxattr(file, name).startswith(b"present=2097152 "): time.sleep(0.01)
          for bad in [b"", b"x:y", b"5", b"9:3", b"1:2:3"]:
              try: os.setxattr(file, name, bad)
              except OSError as error: assert error.errno == 22, error
              else: raise AssertionError(bad)
          try: os.setxattr(file, "user.regionfs.other", b"")
          except OSError as error: assert error.errno == 1, error
          else: raise AssertionError("other")
          # Removing it once was a change of the file, which claimed its group.
          try: os.removexattr(file, name)
          except OSError as error: assert error.errno == 1, error
          else: raise AssertionError("removed")
          """
        try ChildProcess.check(["python3", "-c", script, file])
        try mounted.unmount()
      }
    }

    @Test func whatCannotBePulledIsRefused() async throws {
      let fixture = try await fixture(.directory)
      try fixture.store.mounted { mounted in
        let file = mounted.mountpoint + "/f"
        for wrong in [
          ["--range", "5", file], ["--range", "2m:1m", file], ["--priority", "10", file], [],
        ] {
          let result = try ChildProcess.run(
            [Products.path("regionfs"), "pull"] + wrong, environment: fixture.environment)
          #expect(result.status == 1, "\(wrong): \(result)")
        }
        #expect(try pull(fixture, mounted.mountpoint).status == 32)
        #expect(try pull(fixture, mounted.mountpoint + "/none").status == 32)
        #expect(try pull(fixture, fixture.original).status == 32)
        try mounted.unmount()
      }
    }
  }
}
