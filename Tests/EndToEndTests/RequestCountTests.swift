import Foundation
import RegionTesting
import Testing

extension EndToEnd {
  /// How often the store is asked, counted at a proxy before it.
  @Suite(.serialized) struct RequestCountTests {
    /// Rules that change nothing to speak of and count what they match.
    private static func counting(_ pattern: String) -> String {
      "match=\(pattern),action=delay,for=1ms"
    }

    private func counts(_ proxy: ImpairmentProxy) throws -> [Int] {
      let answer = try proxy.control("stats")
      return try JSONDecoder().decode(StoreFaultTests.Statistics.self, from: Data(answer.utf8))
        .rules.map(\.fired)
    }

    private func python(_ program: String, _ arguments: [String]) throws -> ProcessResult {
      try ChildProcess.check([Programs.python, "-c", program] + arguments)
    }

    /// What shells, SQLite and importing interpreters do all the time.
    @Test func anAbsentNameIsAskedForOnceASecond() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try proxy.addRule(Self.counting("GET .*/groups/enothing"))
      try store.mounted(through: proxy) { mounted in
        let program = """
          import os, sys, time
          start = time.monotonic()
          assert not any(os.path.lexists(sys.argv[1]) for _ in range(500))
          print(time.monotonic() - start)
          """
        let answer = try python(program, [mounted.mountpoint + "/nothing"])
        let seconds = try #require(
          Double(answer.output.trimmingCharacters(in: .whitespacesAndNewlines)))
        let asked = try counts(proxy)[0]
        #expect(asked >= 1 && Double(asked) <= seconds + 1, "\(asked) times in \(seconds) s")
        try mounted.unmount()
      }
    }

    /// Absence is remembered, but not beyond what ends it.
    @Test(arguments: StoreKind.allCases)
    func aNameThatWasAbsentIsSeenWhenItIsMade(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      try store.mounted("here") { here in
        let program = """
          import os, sys
          top = sys.argv[1]
          for name in ["file", "directory", "renamed"]:
              assert not os.path.lexists(f"{top}/{name}"), name
          open(f"{top}/file", "x").close()
          assert os.path.lexists(f"{top}/file")
          os.mkdir(f"{top}/directory")
          assert os.path.isdir(f"{top}/directory")
          os.rename(f"{top}/file", f"{top}/renamed")
          assert os.path.lexists(f"{top}/renamed") and not os.path.lexists(f"{top}/file")
          os.unlink(f"{top}/renamed")
          assert not os.path.lexists(f"{top}/renamed")
          """
        _ = try python(program, [here.mountpoint])
        try store.mounted("there") { there in
          for name in ["a", "b"] {
            #expect(!Files.exists("\(here.mountpoint)/\(name)"))
            try Files.write("\(there.mountpoint)/\(name)", Array(name.utf8))
          }
          try there.sync()
          // At once: the name is taken, and only who insists on making it hears of it.
          let create = """
            import os, sys
            try: os.close(os.open(sys.argv[1] + "/a", os.O_RDONLY | os.O_CREAT | os.O_EXCL))
            except FileExistsError: pass
            else: sys.exit("made twice")
            os.close(os.open(sys.argv[1] + "/b", os.O_RDONLY | os.O_CREAT))
            """
          _ = try python(create, [here.mountpoint])
          try eventually("the names that were made elsewhere") {
            Files.exists("\(here.mountpoint)/a") && Files.exists("\(here.mountpoint)/b")
          }
          #expect(try Files.read("\(here.mountpoint)/b") == Array("b".utf8))
          try there.unmount()
        }
        try here.unmount()
      }
    }

    /// Whoever mounts mostly opens a file at once.
    @Test func aMountReadsNamesAndRootsBeforeAnybodyAsks() async throws {
      let store = try await TestStore(.s3)
      try store.mounted("writer") { writer in
        try Files.write(writer.mountpoint + "/f", Array("bytes".utf8))
        try writer.unmount()
      }
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try proxy.addRule(Self.counting("GET .*/groups/ef"))
      try proxy.addRule(Self.counting("GET .*/g/.*/root"))
      try store.mounted("reader", options: ["ro"], through: proxy) { reader in
        try eventually("reads of the name and the root") { try counts(proxy) == [1, 1] }
        #expect(try Files.read(reader.mountpoint + "/f") == Array("bytes".utf8))
        try reader.unmount()
      }
    }

    /// What the last mounts read first, or made, comes beside the roots: here they do not come at all.
    @Test func aColdMountAsksForWhatWasReadFirst() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try proxy.addRule(Self.counting("PUT .*/mounts/first"))
      try proxy.addRule(Self.counting("GET .*/seg/"))
      try store.mounted("writer", through: proxy) { writer in
        try Files.write(writer.mountpoint + "/f", Array("bytes".utf8))
        try writer.unmount()
      }
      #expect(try counts(proxy) == [1, 0])
      try store.mounted("first", options: ["ro"], through: proxy) { reader in
        #expect(try Files.read(reader.mountpoint + "/f") == Array("bytes".utf8))
        try reader.unmount()
      }
      let before = try counts(proxy)
      #expect(before[0] == 1, "a mount that is read-only writes nothing")
      try proxy.addRule("match=GET .*/root,action=status,status=503")
      try store.mounted("second", options: ["ro"], through: proxy) { reader in
        try eventually("a request for the bytes") { try counts(proxy)[1] == before[1] + 1 }
        try reader.unmount()
      }
    }

    /// The check of a store that this cache has seen checked holds up no mount, but its first claim.
    @Test func aKnownStoreIsCheckedBesideTheMount() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try store.mounted(through: proxy) { mounted in
        let top = mounted.mountpoint
        try Files.write(top + "/f", Array("x".utf8))
        try mounted.unmount()
        try proxy.addRule("match=PUT .*/mounts/probe,action=status,status=503")
        try proxy.addRule(Self.counting("PUT .*/(root|groups/).*"))
        try mounted.mount()
        #expect(try Files.read(top + "/f") == Array("x".utf8))
        let change = try BackgroundProcess(["sh", "-c", "echo y > \(top)/g"])
        let before = try counts(proxy)[0]
        try eventually("further probes") { try counts(proxy)[0] >= before + 2 }
        #expect(change.isRunning, "a change did not wait for the check")
        #expect(try counts(proxy)[1] == 0, "the store was changed before it was checked")
        try proxy.clearRules()
        let result = try change.waitForExit()
        #expect(result.succeeded, "\(result)")
        try mounted.unmount()
      }
    }
  }
}
