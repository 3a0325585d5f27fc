import RegionTesting
import Testing

extension EndToEnd {
  /// Databases that map their files work unchanged, and are whole wherever they are opened.
  @Suite(.serialized) struct DatabaseTests {
    static let journalModes = ["delete", "truncate", "persist", "memory", "wal", "off"]

    @Test(arguments: StoreKind.allCases, journalModes)
    func sqliteWithMmapSize(_ kind: StoreKind, _ mode: String) async throws {
      let store = try await TestStore(kind)
      try store.checkEverywhere(
        options: ["push_interval=500ms"],
        write: { mounted in
          try ChildProcess.check(["mkdir", mounted.mountpoint + "/db"])
          try Programs.run("sqlite_modes.py", ["write", mounted.mountpoint + "/db", mode])
        },
        check: { try Programs.run("sqlite_modes.py", ["check", $0.mountpoint + "/db", mode]) })
    }

    @Test(arguments: StoreKind.allCases)
    func lmdbWithAWritableMap(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      try store.checkEverywhere(
        options: ["push_interval=500ms"],
        write: { mounted in
          try ChildProcess.check(["mkdir", mounted.mountpoint + "/db"])
          try Programs.run("lmdb_writemap.py", ["write", mounted.mountpoint + "/db"])
        },
        check: { try Programs.run("lmdb_writemap.py", ["check", $0.mountpoint + "/db"]) })
    }

    /// A group is committed as a prefix of its history, so a database in it is consistent at any
    /// commit: also for one who mounts while the writer goes on, and never sees it end.
    @Test func aDatabaseIsConsistentAtEveryCommit() async throws {
      let store = try await TestStore(.directory)
      try store.mounted(options: ["push_interval=100ms"]) { mounted in
        let directory = mounted.mountpoint + "/db"
        try ChildProcess.check(["mkdir", directory])
        let script = """
          PRAGMA journal_mode=delete; PRAGMA mmap_size=268435456;
          CREATE TABLE t (id INTEGER PRIMARY KEY, a INT, b INT);
          """
        try ChildProcess.check(["sqlite3", directory + "/d"], input: script)
        // Every transaction keeps sum(a) = sum(b).
        let loop = """
          while :; do sqlite3 \(directory)/d 'BEGIN; INSERT INTO t (a, b) VALUES (1, 0); \
          UPDATE t SET b = 1 WHERE b = 0; COMMIT' || exit; done
          """
        let writer = try BackgroundProcess(["sh", "-c", loop])
        defer { writer.kill() }
        for round in 0..<6 {
          ChildProcess.pause(.milliseconds(700))
          #expect(writer.isRunning, "\(writer.errors)")
          try store.mounted("reader-\(round)", options: ["ro"]) { reader in
            // Copied, for opening it may roll a hot journal back, which is a write.
            let copy = try store.scratch.directory("copy-\(round)")
            try ChildProcess.check(["cp", "-r", reader.mountpoint + "/db/.", copy])
            let answer = try ChildProcess.check(
              ["sqlite3", copy + "/d", "PRAGMA integrity_check; SELECT sum(a) = sum(b) FROM t"])
            #expect(["ok\n1\n", "ok\n\n"].contains(answer.output), "round \(round): \(answer)")
            try reader.unmount()
          }
        }
      }
    }
  }
}
