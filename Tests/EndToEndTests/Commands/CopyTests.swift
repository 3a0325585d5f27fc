import Glibc
import RegionTesting
import Testing

extension EndToEnd {
  /// `regionfs cp`, `create`, `list` and `info`.
  @Suite(.serialized) struct CopyTests {
    /// A file of so many MiB, random, at a path.
    static func makeFile(_ path: String, mebibytes: Int) throws {
      try ChildProcess.check([
        "dd", "if=/dev/urandom", "of=\(path)", "bs=1M", "count=\(mebibytes)", "status=none",
      ])
    }

    @Test(arguments: StoreKind.allCases)
    func aCopiedFileIsThatOfTheMountAndBack(kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      let original = store.scratch.file("original")
      try Self.makeFile(original, mebibytes: 21)
      try ChildProcess.check(["truncate", "-s", "30000001", original])
      try ChildProcess.check(["chmod", "640", original])
      try store.succeed("cp", original, "\(store.address)/copy")
      let listed = try store.succeed("list", store.address, "--json")
      #expect(
        try TestStore.value(
          "[(g['name'], g['kind'], g['sizeBytes'], g['held']) for g in d['groups']]", of: listed)
          == "[('copy', 'file', 30000001, False)]")
      try store.mounted { mounted in
        let file = mounted.mountpoint + "/copy"
        try ChildProcess.check(["cmp", original, file])
        #expect(try ChildProcess.check(["stat", "-c", "%a", file]).output == "640\n")
        for path in [original, file] {
          try ChildProcess.check(
            ["dd", "if=/dev/zero", "of=\(path)", "bs=1k", "seek=777", "count=99", "conv=notrunc"])
        }
        try mounted.unmount()
      }
      let back = store.scratch.file("back")
      try store.succeed("cp", "\(store.address)/copy", back)
      try ChildProcess.check(["cmp", original, back])
      #expect(!Files.exists(back + ".regionfs-part"))
      #expect(try store.regionfs("cp", "\(store.address)/copy", back).status == 2)
      try store.succeed("cp", "--force", "\(store.address)/copy", back)
      let fsck = try store.regionfs("fsck", store.address, "--data")
      #expect(fsck.status == 0, "\(fsck)")
    }

    @Test(arguments: StoreKind.allCases)
    func aTreeComesBackAsItWas(kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      let tree = try store.scratch.directory("tree")
      let script = """
        cd "$1"; mkdir -p a/b/c empty; ln -s a/b link; ln -s /nonexistent dangling
        for n in $(seq 60); do head -c $((n * 777)) /dev/urandom > a/b/f$n; done
        head -c 9000000 /dev/urandom > a/large; : > none
        truncate -s 1G sparse; echo end >> sparse; chmod 600 a/large; chmod 711 a
        """
      try ChildProcess.check(["sh", "-ec", script, "sh", tree])
      try store.succeed("cp", "-r", tree, "\(store.address)/t")
      let back = store.scratch.file("back")
      try store.succeed("cp", "-r", "\(store.address)/t", back)
      try Self.compare(tree, back)
      // The hole took nothing, here and there.
      let blocks = try ChildProcess.check(["stat", "-c", "%b", back + "/sparse"]).output
      #expect(try #require(Int(blocks.split(separator: "\n")[0])) < 1000)
      try store.mounted(options: ["ro"]) { mounted in
        try Self.compare(tree, mounted.mountpoint + "/t")
        try mounted.unmount()
      }
      try store.succeed("cp", "\(store.address)//t/a/b/f7", store.scratch.file("f7"))
      try ChildProcess.check(["cmp", tree + "/a/b/f7", store.scratch.file("f7")])
      let result = try store.regionfs("cp", tree, "\(store.address)/u")
      #expect(result.status == 1 && result.errors.contains("-r"), "\(result)")
    }

    /// Names, kinds, modes, sizes, links and content.
    private static func compare(_ a: String, _ b: String) throws {
      try ChildProcess.check(["diff", "-r", "--no-dereference", a, b])
      let list = "cd \"$1\" && find . ! -name . -printf '%P %y %m %l\\n' | sort"
      let lists = try [a, b].map { try ChildProcess.check(["sh", "-ec", list, "sh", $0]).output }
      #expect(lists[0] == lists[1])
    }

    @Test func anInterruptedCopyIntoAStoreGoesOn() async throws {
      let store = try await TestStore(.directory)
      let original = store.scratch.file("original")
      try Self.makeFile(original, mebibytes: 160)
      let command = [Products.path("regionfs"), "cp", "--json", original, "\(store.address)/copy"]
      let first = try BackgroundProcess(command, environment: try store.commandEnvironment())
      // The first commit has eight segments; a ninth belongs to the second.
      let deadline = ContinuousClock.now + Patience.limit
      while try segments(store) < 9, first.isRunning, ContinuousClock.now < deadline {
        usleep(2000)
      }
      first.kill()
      #expect(try store.succeed("list", store.address, "--names-only").isEmpty)
      let output = try store.succeed("cp", "--json", original, "\(store.address)/copy")
      let resumed = try TestStore.value(
        "d['resumedBytes'] >> 20, d['copiedBytes'] >> 20", of: output)
      #expect(["(64, 96)", "(128, 32)"].contains(resumed), "\(resumed)")
      try store.succeed("cp", "\(store.address)/copy", store.scratch.file("back"))
      try ChildProcess.check(["cmp", original, store.scratch.file("back")])
      #expect(try store.regionfs("fsck", store.address).status == 0)
      // Nothing is left that says how to go on, and no note that the group may be removed.
      #expect(try Files.list(below: store.scratch.path + "/state").isEmpty)
      #expect(try Files.list(below: store.directory).allSatisfy { !$0.contains("/deleted/") })
    }

    private func segments(_ store: TestStore) throws -> Int {
      try Files.list(below: store.directory).count {
        $0.contains("/seg/") && $0.split(separator: "/").last?.contains("-") == true
      }
    }

    @Test func anInterruptedCopyOutOfAStoreGoesOn() async throws {
      let store = try await TestStore(.directory)
      let original = store.scratch.file("original")
      // A hole, which takes no time, to the place that is noted first; then bytes, which do.
      try Self.makeFile(store.scratch.file("end"), mebibytes: 96)
      try ChildProcess.check(["truncate", "-s", "256M", original])
      try ChildProcess.check(
        ["sh", "-ec", "cat \"$1\" >> \"$2\"", "sh", store.scratch.file("end"), original])
      try store.succeed("cp", original, "\(store.address)/copy")
      let back = store.scratch.file("back")
      let command = [Products.path("regionfs"), "cp", "\(store.address)/copy", back]
      let first = try BackgroundProcess(command, environment: try store.commandEnvironment())
      let deadline = ContinuousClock.now + Patience.limit
      while !Files.exists(back + ".regionfs-part.at"), first.isRunning,
        ContinuousClock.now < deadline
      {
        usleep(1000)
      }
      first.kill()
      #expect(!Files.exists(back))
      let output = try store.succeed("cp", "--json", "\(store.address)/copy", back)
      #expect(try TestStore.value("d['resumedBytes'] >> 20", of: output) == "256")
      try ChildProcess.check(["cmp", original, back])
      #expect(!Files.exists(back + ".regionfs-part.at"))
    }

    @Test(arguments: StoreKind.allCases)
    func forceReplacesInOneStepAndNotUnderAWriter(kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      let (one, two) = (store.scratch.file("one"), store.scratch.file("two"))
      try Self.makeFile(one, mebibytes: 1)
      try Self.makeFile(two, mebibytes: 2)
      try store.succeed("cp", one, "\(store.address)/f")
      let refused = try store.regionfs("cp", two, "\(store.address)/f")
      #expect(refused.status == 32 && refused.errors.contains("--force"), "\(refused)")
      try store.mounted { mounted in
        // An open writer holds the claim.
        let writer = try BackgroundProcess(
          ["sh", "-c", "exec 3>>\"$1\"; echo ready; read -r line", "sh", mounted.mountpoint + "/f"])
        defer { writer.kill() }
        _ = try writer.nextLine()
        let held = try store.regionfs("cp", "--force", two, "\(store.address)/f")
        #expect(held.status == 32 && held.errors.contains(mounted.mountpoint), "\(held)")
        writer.kill()
        try mounted.unmount()
      }
      try store.succeed("cp", "--force", two, "\(store.address)/f")
      try store.succeed("cp", "\(store.address)/f", store.scratch.file("back"))
      try ChildProcess.check(["cmp", two, store.scratch.file("back")])
    }

    @Test(arguments: StoreKind.allCases)
    func aCreatedGroupCanBeMountedAndSeen(kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      try store.succeed("create", store.address, "disk", "--size", "3g", "--chunk-size", "1m")
      try store.succeed("create", store.address, "db", "--directory", "--mode", "700")
      let taken = try store.regionfs("create", store.address, "disk")
      #expect(taken.status == 32 && taken.errors.contains("the name is taken"), "\(taken)")
      let info = try store.succeed("info", "\(store.address)/disk", "--json")
      #expect(
        try TestStore.value("d['sizeBytes'], d['chunkBytes'], d['kind'], d['commit']", of: info)
          == "(3221225472, 1048576, 'file', 1)")
      try store.mounted { mounted in
        let text = try ChildProcess.check(
          ["stat", "-c", "%s %a %F", mounted.mountpoint + "/disk", mounted.mountpoint + "/db"])
        #expect(text.output == "3221225472 644 regular file\n0 700 directory\n")
        try ChildProcess.check(["sh", "-c", "echo x > '\(mounted.mountpoint)/db/x'"])
        let seen = try ChildProcess.check(
          [Products.path("regionfs"), "info", mounted.mountpoint + "/db/x"],
          environment: try store.commandEnvironment())
        #expect(seen.output.contains(store.address) && seen.output.contains("db/x"))
        try mounted.sync()
        let list = try store.succeed("list", store.address)
        #expect(list.contains(mounted.mountpoint), "the writer is not named: \(list)")
        try mounted.unmount()
      }
      #expect(
        try TestStore.value(
          "d['name'], d['sizeBytes']",
          of: try store.succeed("info", "\(store.address)//db/x", "--json")) == "('db/x', 2)")
      #expect(try store.regionfs("info", "\(store.address)//db/y").status == 32)
      #expect(try store.regionfs("info", "\(store.address)/none").status == 32)
    }

    /// What a copy that never went on left goes by itself, as what was removed does.
    @Test func anAbandonedCopyLeavesANoteForItsRemoval() async throws {
      let store = try await TestStore(.directory)
      let original = store.scratch.file("original")
      try Self.makeFile(original, mebibytes: 100)
      let command = [Products.path("regionfs"), "cp", original, "\(store.address)/copy"]
      let copy = try BackgroundProcess(command, environment: try store.commandEnvironment())
      let deadline = ContinuousClock.now + Patience.limit
      while try segments(store) == 0, copy.isRunning, ContinuousClock.now < deadline {
        usleep(1000)
      }
      copy.kill()
      #expect(try Files.list(below: store.directory).contains { $0.contains("/deleted/") })
      let fsck = try store.succeed("fsck", store.address, "--json")
      #expect(
        try TestStore.value("d['groups'], d['errors'], d['orphans']", of: fsck) == "(0, 0, 0)")
    }
  }
}
