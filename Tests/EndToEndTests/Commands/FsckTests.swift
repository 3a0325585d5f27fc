import DirectoryStore
import RegionCore
import RegionTesting
import Testing

extension EndToEnd {
  /// `regionfs fsck` finds what is wrong, names the object, and finds nothing where nothing is.
  @Suite(.serialized) struct FsckTests {
    /// What is done to an object, and what must be found.
    enum Harm: String, CaseIterable, Sendable {
      case payload, missingSegment, shortSegment, table, root, missingRoot, record, checkpoint
      case missingCheckpoint
    }

    /// A store with a file of a few commits and, for `checkpoint`, many.
    private func populated(commits: Int = 3) async throws -> TestStore {
      let store = try await TestStore(.directory)
      try store.mounted(options: ["push_interval=100ms"]) { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "300"])
        for round in 0..<commits {
          let arguments = ["--touch", "20", "--pages", "300", "--seed", "\(round)"]
          try Programs.run("pattern.py", ["map", file, "--msync"] + arguments)
          try mounted.waitUntilCommitted()
        }
        try mounted.unmount()
      }
      return store
    }

    private func object(_ store: TestStore, _ part: String) throws -> String {
      let found = try Files.list(below: store.directory).first {
        $0.contains(part) && $0.split(separator: "/").last?.hasPrefix(".") == false
      }
      return try #require(found, "no object with \(part)")
    }

    /// Flips a byte of an object.
    private func flip(_ path: String, _ store: TestStore, at place: (Int) -> Int) async throws {
      try await change(path, store) { $0[place($0.count)] ^= 0x10 }
    }

    private func shorten(_ path: String, _ store: TestStore) async throws {
      try await change(path, store) { $0.removeLast(100) }
    }

    /// Changes an object through the store, so that only its content is wrong.
    private func change(
      _ path: String, _ store: TestStore, _ body: (inout [UInt8]) -> Void
    ) async throws {
      let (raw, key) = try opened(path, store)
      let buffer = IOBuffer(capacity: 64 << 20)
      _ = try await raw.get(key, range: nil, into: buffer, priority: .demand)
      var bytes = buffer.array
      body(&bytes)
      _ = try await raw.put(key, IOBuffer(bytes), condition: .none, priority: .demand)
    }

    /// The store under the mounts, and the key of a path in it.
    private func opened(_ path: String, _ store: TestStore) throws -> (DirectoryStore, ObjectKey) {
      let key = try #require(ObjectKey(String(path.dropFirst(store.directory.count + 1))))
      return (try DirectoryStore(directory: store.directory), key)
    }

    @Test(arguments: Harm.allCases)
    func eachDamageIsFoundAndNamed(harm: Harm) async throws {
      let isCheckpoint = harm == .checkpoint || harm == .missingCheckpoint
      // A checkpoint comes after 96 segments; importing a tree of many files makes one sooner.
      let store = isCheckpoint ? try await withCheckpoint() : try await populated()
      let clean = try store.regionfs("fsck", store.address, "--data")
      #expect(clean.status == 0, "\(clean)")
      let path: String
      switch harm {
      case .payload:
        // One with a payload: the first commit may hold names only.
        let sizes = try Files.list(below: store.directory).filter { $0.contains("/seg/") }
          .map { (path: $0, size: try Files.read($0).count) }
        path = try #require(sizes.max { $0.size < $1.size }?.path)
        try await flip(path, store) { _ in 64 + 100 }
        // Nothing but the payload has changed, so only reading it tells.
        #expect(try store.regionfs("fsck", store.address).status == 0)
      case .missingSegment, .missingRoot, .missingCheckpoint:
        path = try object(
          store,
          harm == .missingRoot ? "/root" : harm == .missingSegment ? "/seg/" : "/map/")
        try ChildProcess.check(["rm", path])
      case .shortSegment:
        path = try object(store, "/seg/")
        try await shorten(path, store)
      case .table:
        path = try object(store, "/seg/")
        try await flip(path, store) { $0 - 60 }
      case .root:
        path = try object(store, "/root")
        try await flip(path, store) { _ in 70 }
      case .record:
        path = try object(store, "/groups/")
        try await flip(path, store) { _ in 30 }
      case .checkpoint:
        path = try object(store, "/map/")
        try await flip(path, store) { $0 - 10 }
      }
      let result = try store.regionfs("fsck", store.address, "--data", "--json")
      #expect(result.status == 4, "\(result)")
      let name = String(path.split(separator: "/").suffix(2).joined(separator: "/"))
      let named = try TestStore.value(
        "any('\(name)' in f['object'] for f in d['findings'] if f['severity'] == 'error')",
        of: result.output)
      #expect(named == "True", "\(name): \(result.output)")
    }

    /// 100 segments of 8 MiB holes would be nothing: a sparse file with a page in each 8 MiB.
    private func withCheckpoint() async throws -> TestStore {
      let store = try await TestStore(.directory)
      let file = store.scratch.file("sparse")
      let program = """
        import sys
        with open(sys.argv[1], "wb") as f:
            for n in range(110):
                f.seek(n * (8 << 20)); f.write(bytes([n + 1]) * 4096)
        """
      try ChildProcess.check(["python3", "-c", program, file])
      try store.succeed("cp", file, "\(store.address)/f")
      return store
    }

    /// Root and checkpoint are made again from the segments, and every byte is there.
    @Test(arguments: [Harm.root, .missingCheckpoint])
    func whatLeadsToTheDataIsRebuilt(harm: Harm) async throws {
      let isCheckpoint = harm == .checkpoint || harm == .missingCheckpoint
      let store = isCheckpoint ? try await withCheckpoint() : try await populated()
      func digest() throws -> String {
        try store.mounted("reader-\(Int.random(in: 0..<1 << 40))") { mounted in
          defer { try? mounted.unmount() }
          return try ChildProcess.check(["sha256sum", "\(mounted.mountpoint)/f"]).output
            .split(separator: " ").first.map(String.init) ?? ""
        }
      }
      let before = try digest()
      let path = try object(store, isCheckpoint ? "/map/" : "/root")
      if harm == .missingRoot || harm == .missingCheckpoint {
        try ChildProcess.check(["rm", path])
      } else {
        try await flip(path, store) { isCheckpoint ? $0 - 10 : 70 }
      }
      #expect(try store.regionfs("fsck", store.address).status == 4)
      let repaired = try store.regionfs("fsck", store.address, "--repair")
      #expect(repaired.status == 1, "\(repaired)")
      #expect(repaired.output.contains("repaired: f: commit"), "\(repaired)")
      #expect(try store.regionfs("fsck", store.address, "--data").status == 0)
      #expect(try digest() == before)
      // It is a group like any other: written again, and found elsewhere.
      try store.mounted("writer") { mounted in
        let arguments = ["--touch", "20", "--pages", "300", "--seed", "99"]
        try Programs.run("pattern.py", ["map", mounted.mountpoint + "/f", "--msync"] + arguments)
        try mounted.unmount()
      }
      #expect(try digest() != before)
      #expect(try store.regionfs("fsck", store.address, "--data").status == 0)
    }

    /// The key says the name, and one group has none.
    @Test func aDamagedNameRecordIsWrittenAgain() async throws {
      let store = try await populated()
      try store.succeed("create", store.address, "other", "--size", "1M")
      try await flip(try object(store, "/groups/ef"), store) { _ in 30 }
      #expect(try store.regionfs("fsck", store.address).status == 4)
      let repaired = try store.regionfs("fsck", store.address, "--repair")
      #expect(repaired.status == 1, "\(repaired)")
      #expect(repaired.output.contains("repaired: f: names group"), "\(repaired)")
      let clean = try store.regionfs("fsck", store.address, "--data")
      #expect(clean.status == 0 && clean.output.contains("2 groups"), "\(clean)")
    }

    @Test func aNameRecordThatMayHaveNamedTwoGroupsIsLeftAlone() async throws {
      let store = try await populated()
      try store.succeed("create", store.address, "other", "--size", "1M")
      for name in ["/groups/ef", "/groups/eother"] {
        try await flip(try object(store, name), store) { _ in 30 }
      }
      let record = try object(store, "/groups/ef")
      let before = try Files.read(record)
      let result = try store.regionfs("fsck", store.address, "f", "--repair")
      #expect(result.status == 4, "\(result)")
      #expect(result.output.contains("not repaired: f: which group it named"), "\(result)")
      #expect(try Files.read(record) == before)
    }

    @Test func aGroupThatLacksASegmentIsLeftAlone() async throws {
      let store = try await populated()
      try await flip(try object(store, "/seg/"), store) { $0 - 60 }
      let root = try object(store, "/root")
      let before = try ChildProcess.check(["sha256sum", root]).output
      let result = try store.regionfs("fsck", store.address, "--repair")
      #expect(result.status == 4, "\(result)")
      #expect(result.output.contains("not repaired: f: commit"), "\(result)")
      #expect(try ChildProcess.check(["sha256sum", root]).output == before)
      #expect(try store.regionfs("fsck", store.address, "--allow-rollback").status == 16)
    }

    @Test func whatNothingRefersToIsListedAndNoError() async throws {
      let store = try await populated()
      let segment = try object(store, "/seg/")
      let parts = segment.split(separator: "/")
      let other = "1-" + String(repeating: "ab", count: 16)
      let orphan = "/" + parts.dropLast().joined(separator: "/") + "/" + other
      try ChildProcess.check(["cp", segment, orphan])
      try ChildProcess.check(
        [
          "sh", "-ec", "mkdir -p \"$1\"; cp \"$2\" \"$1\"", "sh",
          "\(store.directory)/g/\(String(repeating: "c", count: 32))/seg", segment,
        ])
      let result = try store.regionfs("fsck", store.address)
      #expect(result.status == 0, "\(result)")
      #expect(result.output.contains(other) && result.output.contains("nothing refers to it"))
      #expect(result.output.contains("a group without a name"))
      #expect(result.output.contains("0 errors, 0 warnings, 2 orphans"))
    }

    /// It costs nobody more than a start without it.
    @Test func aDamagedTraceIsAWarning() async throws {
      let store = try await populated()
      let root = try object(store, "/root")
      let (raw, key) = try opened(root.dropLast("root".count) + "trace", store)
      let bytes = Array("no trace".utf8)
      _ = try await raw.put(key, IOBuffer(bytes), condition: .none, priority: .demand)
      let result = try store.regionfs("fsck", store.address)
      #expect(result.status == 0, "\(result)")
      #expect(result.output.contains("0 errors, 1 warnings, 0 orphans"), "\(result)")
      #expect(result.output.contains("trace") && result.output.contains("trace clear"))
      try store.succeed("trace", "clear", "\(store.address)/f")
      #expect(try store.succeed("fsck", store.address).contains("0 warnings"))
    }

    @Test func exitCodesAreThoseOfFsck() async throws {
      let store = try await TestStore(.directory)
      #expect(try store.regionfs("fsck", store.address).status == 0)
      #expect(try store.regionfs("fsck", store.address, "none").status == 8)
      #expect(try store.regionfs("fsck", "s3://x").status == 16)
      #expect(try store.regionfs("fsck").status == 16)
      #expect(try store.regionfs("fsck", store.address, "--frob").status == 16)
      let away = try store.regionfs(
        "fsck", "s3://bucket/p", "-o", "endpoint=http://127.0.0.1:1,fault_timeout=1s", "-o",
        "path_style")
      #expect(away.status == 8, "\(away)")
    }

    /// While a mount writes there is nothing to complain about.
    @Test(arguments: StoreKind.allCases)
    func aStoreThatIsWrittenIsSound(kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      try store.mounted(options: ["push_interval=100ms"]) { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "2000"])
        let writer = try BackgroundProcess(
          Programs.command("pattern.py", ["write", file, "--pages", "2000", "--seed", "5"]))
        defer { writer.kill() }
        for _ in 0..<3 {
          let result = try store.regionfs("fsck", store.address, "--data")
          #expect(result.status == 0, "\(result)")
          #expect(result.output.contains("0 orphans"))
        }
        _ = try writer.waitForExit()
        try mounted.unmount()
      }
    }
  }
}
