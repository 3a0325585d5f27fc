import RegionTesting
import Testing

extension EndToEnd {
  /// Files and groups behave as a file system should: see `posix_checks.py` for the checks.
  @Suite(.serialized) struct FileOperationTests {
    /// Runs all checks in a directory of the mount; each failed one is an issue of its own.
    private func runChecks(
      _ mounted: MountedFilesystem, in directory: String, _ arguments: [String] = []
    ) throws {
      let command = Programs.command("posix_checks.py", arguments + [directory])
      let result = try ChildProcess.run(command, timeout: .seconds(400))
      let lines = result.output.split(separator: "\n")
      for line in lines where line.hasPrefix("FAILED") {
        Issue.record(Comment(rawValue: String(line)))
      }
      #expect(lines.contains { $0.hasPrefix("ok") }, "\(result)")
      #expect(result.status >= 0, "\(result)")
      #expect(mounted.pid != nil, "the daemon ended: \(mounted.log.suffix(2000))")
    }

    @Test(arguments: StoreKind.allCases)
    func everyCheckInGroupsOfItsOwn(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      try store.mounted { mounted in
        try runChecks(mounted, in: mounted.mountpoint)
        try mounted.unmount()
      }
    }

    @Test func everyCheckDeepInsideOneGroup() async throws {
      let store = try await TestStore(.directory)
      try store.mounted { mounted in
        let deep = mounted.mountpoint + "/group/a/b"
        try ChildProcess.check(["mkdir", "-p", deep])
        try runChecks(mounted, in: deep, ["--plain"])
        try mounted.unmount()
      }
    }

    @Test(arguments: StoreKind.allCases)
    func aTreeIsTheSameAfterARemountAndElsewhere(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      var before = ""
      func describe(_ mounted: MountedFilesystem) throws -> String {
        try Programs.run("tree.py", ["describe", mounted.mountpoint + "/tree"])
      }
      try store.checkEverywhere(
        write: { mounted in
          try ChildProcess.check(["mkdir", mounted.mountpoint + "/tree"])
          try Programs.run("tree.py", ["make", mounted.mountpoint + "/tree"])
          before = try describe(mounted)
          #expect(before.split(separator: "\n").count > 400)
        },
        check: { mounted in
          let after = try describe(mounted)
          let changed = Set(after.split(separator: "\n")).symmetricDifference(
            before.split(separator: "\n"))
          #expect(changed.isEmpty, "\(changed.sorted().prefix(6))")
        })
    }

    @Test func topLevelRegionsAndGroupsAreListedElsewhere() async throws {
      let store = try await TestStore(.directory)
      let names = [
        "region", "with space", "\u{e9}\u{f1}", String(repeating: "n", count: 255), "%41",
      ]
      try store.checkEverywhere(
        write: { mounted in
          for name in names {
            try Programs.run(
              "pattern.py", ["write", "\(mounted.mountpoint)/\(name)", "--pages", "3"])
          }
          try ChildProcess.check(["mkdir", "\(mounted.mountpoint)/group"])
          try ChildProcess.check([
            "mv", "\(mounted.mountpoint)/region", "\(mounted.mountpoint)/renamed",
          ])
        },
        check: { mounted in
          let listed = try ChildProcess.check(["ls", "-1N", mounted.mountpoint]).output
          let expected = names.dropFirst() + ["renamed", "group"]
          #expect(Set(listed.split(separator: "\n").map(String.init)) == Set(expected))
          for name in names.dropFirst() + ["renamed"] {
            try Programs.run(
              "pattern.py", ["verify", "\(mounted.mountpoint)/\(name)", "--pages", "3"])
          }
        })
    }

    @Test(arguments: StoreKind.allCases, [1, 2, 3])
    func randomOperationsAgreeWithAModel(_ kind: StoreKind, _ seed: Int) async throws {
      let store = try await TestStore(kind)
      let model = store.scratch.file("model")
      // A short interval, so that commits happen while the operations go on.
      try store.checkEverywhere(
        options: ["push_interval=200ms"],
        write: { mounted in
          try Programs.run(
            "random_operations.py",
            ["\(mounted.mountpoint)/f", "--seed", "\(seed)", "--model", model])
        },
        check: { mounted in
          try Programs.run(
            "random_operations.py", ["\(mounted.mountpoint)/f", "--verify", model])
        })
    }
  }
}
