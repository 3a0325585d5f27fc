import RegionTesting
import Testing

extension EndToEnd {
  /// `--json` of the commands that talk to a mount: one object with a version on standard output.
  @Suite(.serialized) struct JSONTests {
    @Test(arguments: StoreKind.allCases)
    func commandsOfAMountAnswerInJSON(kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      try store.mounted(options: ["push_interval=1h"]) { mounted in
        let file = mounted.mountpoint + "/f"
        func answer(_ words: String..., value expression: String) throws -> String {
          let result = try ChildProcess.check(
            [Products.path("regionfs")] + words, environment: mounted.environment,
            timeout: Patience.limit)
          return try TestStore.value("(d['version'], \(expression))", of: result.output)
        }
        try ChildProcess.check(["sh", "-c", "head -c 1M /dev/urandom > '\(file)'"])
        let synced = try answer("sync", "--json", file, value: "d['path'], d['seconds'] >= 0")
        #expect(synced == "(1, '\(file)', True)")
        let pulled = "d['files'][0]['file'], d['files'][0]['pulledBytes']"
        #expect(try answer("pull", "--json", file, value: pulled) == "(1, '\(file)', 0)")
        let range = try answer("pin", "--json", "--range", "0:4k", file, value: "d['pinned']")
        #expect(range == "(1, [{'endByte': 4096, 'firstByte': 0}])")
        #expect(
          try answer("pin", "--json", file, value: "d['pinned']") == "(1, [{'firstByte': 0}])")
        let level = "d['mountpoint'], d['level']"
        #expect(
          try answer("log-level", "--json", file, "debug", value: level)
            == "(1, '\(mounted.mountpoint)', 'debug')")
        #expect(try answer("takeover", "--json", file, value: "len(d['done']) > 0") == "(1, True)")
        let gone = "d['mountpoint'], d['uncommittedBytes'], d['daemonGoesOn']"
        #expect(
          try answer("umount", "--json", mounted.mountpoint, value: gone)
            == "(1, '\(mounted.mountpoint)', 0, False)")
      }
    }

    @Test func mountTellsItsDaemonAndUmountWhatStays() async throws {
      let store = try await TestStore(.directory)
      let mounted = try store.filesystem(options: ["push_interval=1h"])
      defer { mounted.cleanUp() }
      let tool = Products.path("regionfs")
      let options = "cache_dir=\(mounted.cacheDirectory),push_interval=1h"
      let mount = try ChildProcess.check(
        [tool, "mount", "--json", store.address, mounted.mountpoint, "-o", options],
        environment: mounted.environment)
      let pid = try TestStore.value("d['daemonPID']", of: mount.output)
      let place = try TestStore.value("d['mountpoint'], d['cacheDirectory']", of: mount.output)
      #expect(place == "('\(mounted.mountpoint)', '\(mounted.cacheDirectory)')")
      let report = try mounted.stat()
      #expect(try TestStore.value("d['mounts'][0]['mount']['pid']", of: report) == pid)
      let umount = try ChildProcess.check(
        [tool, "umount", "--json", "--no-wait", mounted.mountpoint],
        environment: mounted.environment)
      #expect(try TestStore.value("d['mountpoint']", of: umount.output) == mounted.mountpoint)
      for _ in 0..<6000 {
        guard try ChildProcess.run(["kill", "-0", pid]).status == 0 else { return }
        try ChildProcess.check(["sleep", "0.01"])
      }
      Issue.record("the daemon has not ended")
    }

    @Test func foregroundHasNobodyToTell() throws {
      let result = try ChildProcess.run(
        [Products.path("regionfs"), "mount", "--json", "-f", "memory:", "/mnt"])
      #expect(result.status == 1 && result.errors.contains("--json goes without --foreground"))
    }
  }
}
