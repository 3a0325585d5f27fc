import RegionTesting
import Testing

extension EndToEnd {
  /// Recorded traces on real mounts, and `regionfs trace`.
  @Suite(.serialized) struct TraceTests {
    /// Pages of the file that the program reads, one in each of these chunks, in this order.
    private static let chunks = (0..<60).map { ($0 * 37 + 11) % 90 + 1 }

    /// Opens the file, waits for a line, and touches the pages of a mapping that reads nothing around.
    private static let program = """
      import mmap, sys
      with open(sys.argv[1], "rb") as file:
          pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
          pages.madvise(mmap.MADV_RANDOM)
          print("open", flush=True)
          sys.stdin.readline()
          print(sum(pages[int(chunk) * 262144 + 5000] for chunk in sys.argv[2].split(",")), flush=True)
          sys.stdin.readline()
      """

    private struct Fixture {
      let store: TestStore
      let original: String
      let environment: [String: String]

      init(_ kind: StoreKind) async throws {
        store = try await TestStore(kind)
        original = store.scratch.file("original")
        // So large that the program reads less than a quarter of it, or all of it would be pulled.
        try ChildProcess.check([
          "dd", "if=/dev/urandom", "of=\(original)", "bs=1M", "count=64", "status=none",
        ])
        try store.succeed("cp", original, "\(store.address)/f")
        environment = ["REGIONFS_RUNTIME_DIR": try store.scratch.directory("run")]
      }

      func trace(_ words: String...) throws -> ProcessResult {
        try ChildProcess.run(
          [Products.path("regionfs"), "trace"] + words, environment: environment)
      }

      func region(_ mounted: MountedFilesystem, _ field: String) throws -> String {
        try TestStore.value("d['mounts'][0]['regions'][0]\(field)", of: try mounted.stat())
      }
    }

    /// Runs the program; calls `whenOpen` before it reads. Returns what it saw and how often it missed.
    private func run(
      _ fixture: Fixture, _ mounted: MountedFilesystem, whenOpen: () throws -> Void = {}
    ) throws -> (sum: String, misses: Int) {
      let words = Self.chunks.map(String.init).joined(separator: ",")
      let file = mounted.mountpoint + "/f"
      let process = try BackgroundProcess(["python3", "-c", Self.program, file, words])
      #expect(try process.nextLine() == "open")
      try whenOpen()
      process.write("\n")
      let sum = try process.nextLine()
      let misses = try #require(Int(try fixture.region(mounted, "['faults']['misses']")))
      process.write("\n")
      _ = try process.waitForExit()
      return (sum, misses)
    }

    @Test(arguments: StoreKind.allCases)
    func whatOneMountReadIsThereBeforeTheNextOneAsks(kind: StoreKind) async throws {
      let fixture = try await Fixture(kind)
      let first = try fixture.store.mounted("first", options: ["pull=lazy"]) { mounted in
        let result = try run(fixture, mounted)
        #expect(result.misses >= Self.chunks.count)
        try mounted.unmount()
        return result
      }
      try fixture.store.mounted("second") { mounted in
        let again = try run(fixture, mounted) {
          try eventually("the replay") {
            try fixture.region(mounted, "['pull']['reason']")
              == "replayed a recorded trace of 60 chunks"
          }
        }
        #expect(again.sum == first.sum)
        #expect(again.misses == 0)
        try mounted.unmount()
      }
      // The replayed chunks are in the trace of the second start, too. (In which order two reads are
      // seen that come one right after the other is a matter of threads.)
      let place = "\(fixture.store.address)/f"
      let shown = try fixture.store.succeed("trace", "show", "--json", place)
      let starts =
        "[c for p in d['parts'] if p['unreadStarts'] == 0 "
        + "for c in range(p['startBytes'] // 262144, p['endBytes'] // 262144)]"
      let read = try TestStore.value("sorted(\(starts))", of: shown)
      #expect(read == "\(Self.chunks.sorted())")
    }

    @Test func tracesAreShownKeptAndRemoved() async throws {
      let fixture = try await Fixture(.directory)
      let place = "\(fixture.store.address)/f"
      #expect(try fixture.store.succeed("trace", "show", place) == "0 ranges, 0 B\n")
      try fixture.store.mounted(options: ["pull=lazy"]) { mounted in
        let file = mounted.mountpoint + "/f"
        _ = try run(fixture, mounted)
        // Not before somebody says so, or nothing was read for a while.
        let kept = try fixture.trace("record", "--json", file)
        #expect(kept.status == 0, "\(kept)")
        #expect(try TestStore.value("d['recordedChunks']", of: kept.output) == "60")
        let shown = try fixture.trace("show", "--json", file)
        #expect(shown.status == 0, "\(shown)")
        #expect(try TestStore.value("d['bytes'] // 262144", of: shown.output) == "60")
        #expect(try TestStore.value("d['parts'][0]['path']", of: shown.output) == "")
        let text = try fixture.trace("show", file).output
        #expect(text.hasPrefix(".  "), "\(text)")
        let end = "60 ranges, 15.0 MiB\n60 chunks recorded since the mount\n"
        #expect(text.hasSuffix(end), "\(text)")
        #expect(try fixture.trace("clear", file).status == 0)
        #expect(try fixture.store.succeed("trace", "show", place) == "0 ranges, 0 B\n")
        // All is here: the next start shows nothing.
        #expect(try fixture.trace("record", "--begin", file).status == 0)
        _ = try run(fixture, mounted)
        #expect(try fixture.trace("record", file).errors.contains("no first read of f was seen"))
        try mounted.unmount()
      }
      #expect(try fixture.store.succeed("trace", "show", place) == "0 ranges, 0 B\n")
    }

    @Test func aTraceIsClearedWithoutAMount() async throws {
      let fixture = try await Fixture(.directory)
      let place = "\(fixture.store.address)/f"
      try fixture.store.mounted(options: ["pull=lazy"]) { mounted in
        _ = try run(fixture, mounted)
        try mounted.unmount()
      }
      #expect(try fixture.store.succeed("trace", "show", place).contains("60 ranges"))
      try fixture.store.succeed("trace", "clear", place)
      #expect(try fixture.store.succeed("trace", "show", place) == "0 ranges, 0 B\n")
    }

    @Test func whatHasNoTraceIsRefused() async throws {
      let fixture = try await Fixture(.directory)
      try fixture.store.mounted(options: ["ro"]) { mounted in
        let file = mounted.mountpoint + "/f"
        for command in ["show", "record", "clear"] {
          #expect(try fixture.trace(command, mounted.mountpoint).status == 32)
          #expect(try fixture.trace(command, mounted.mountpoint + "/none").status == 32)
          #expect(try fixture.trace(command, fixture.original).status == 32)
          #expect(try fixture.trace(command).status == 1)
        }
        for command in ["record", "clear"] {
          let refused = try fixture.trace(command, file)
          #expect(refused.status == 32 && refused.errors.contains("read-only"), "\(refused)")
        }
        #expect(try fixture.trace("show", file).status == 0)
        _ = try run(fixture, mounted)
        try mounted.unmount()
      }
      let place = "\(fixture.store.address)/f"
      #expect(try fixture.store.succeed("trace", "show", place) == "0 ranges, 0 B\n")
    }

    /// The store goes away with a trace to write: nobody waits for it longer than a moment.
    @Test func aStoreThatIsGoneDoesNotHoldTheUnmount() async throws {
      let fixture = try await Fixture(.s3)
      let server = try #require(fixture.store.serverAddress)
      let proxy = try ImpairmentProxy(to: server)
      try fixture.store.mounted(
        options: ["pull=lazy", "fault_timeout=1000s"], through: proxy
      ) { mounted in
        _ = try run(fixture, mounted)
        try proxy.addRule("action=blackhole")
        try mounted.unmount()
      }
    }
  }
}
