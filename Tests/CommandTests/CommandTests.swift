import Locks
import RegionControl
import RegionTesting
import Testing

/// A daemon that is only its control socket.
final class ScriptedDaemon: ControlHandler {
  let report: Lock<StatusReport>

  init(_ regions: [RegionStatus]) {
    var report = StatusReport(mount: MountStatus(), regions: regions)
    report.mount.storeAddress = "s3://bucket/p"
    report.mount.mountpoint = "/mnt/x"
    report.store.requests = ["get": 3]
    self.report = Lock(report)
  }

  func mountStatus() -> MountStatus { report.withLock { $0.mount } }
  func status() -> StatusReport { report.withLock { $0 } }
  func sync(path: String?, progress: (SyncProgress) -> Bool) throws(ControlError) {}
  func pull(
    path: String, start: UInt64?, end: UInt64?, priority: Int, progress: (SyncProgress) -> Bool
  ) throws(ControlError) {}
  func takeOver(path: String) throws(ControlError) -> String { "taken: \(path)" }
  func drain(progress: (SyncProgress) -> Bool) throws(ControlError) {}
  func requestShutdown() throws(ControlError) {}
  func setLogLevel(_ level: String) throws(ControlError) {}
}

@Suite struct CommandTests {
  static func region(_ name: String, dirty: UInt64 = 0) -> RegionStatus {
    var region = RegionStatus(name: name)
    region.sizeBytes = 3 << 20
    region.chunkBytes = 256 << 10
    region.chunksTotal = 12
    region.chunksPresent = 5
    region.dirtyBytes = dirty
    region.oldestUncommittedSeconds = dirty > 0 ? 2.5 : nil
    return region
  }

  static func regionfs(_ arguments: String...) throws -> ProcessResult {
    try ChildProcess.run([Products.path("regionfs")] + arguments)
  }

  /// Runs `regionfs-stat` where `regions` are those of the only daemon.
  static func stat(_ regions: [RegionStatus]?, _ arguments: String...) throws -> ProcessResult {
    let scratch = try Scratch()
    let directory = try scratch.directory("run")
    try ChildProcess.check(["chmod", "700", directory])
    let server = try regions.map {
      try ControlServer(directory: directory, mountID: "m", handler: ScriptedDaemon($0))
    }
    defer { server?.stop() }
    return try ChildProcess.run(
      [Products.path("regionfs-stat")] + arguments,
      environment: ["REGIONFS_RUNTIME_DIR": directory])
  }

  @Test func versionIsThatOfTheRelease() throws {
    #expect(try Self.regionfs("--version").output == "regionfs \(RegionfsVersion.text)\n")
    #expect(try Self.stat(nil, "--version").output == "regionfs-stat \(RegionfsVersion.text)\n")
  }

  @Test(arguments: [
    (["mount", "file:///s", "/m", "-o", "chunksize=1m"], 1, "chunk_size"),
    (["mount", "/s", "/m"], 1, "file:///s"),
    (["mount", "file:///s", "/m", "-o", "secret_key=x"], 1, "AWS_SECRET_ACCESS_KEY"),
    (["file:///s", "/m", "-oumask=9"], 1, "umask"),
    (["mount", "file:///s"], 1, "mountpoint"),
    (["umount", "/nonexistent/mountpoint"], 32, "not mounted"),
    (["unmount", "/proc"], 32, "not a regionfs mount"),
    (["sync", "/"], 32, "not on a regionfs mount"),
    (["takeover", "/"], 32, "not on a regionfs mount"),
    (["recover", "--save", "x"], 1, "STORE"),
    (["recover", "file:///s", "--save", "a/b"], 1, "name"),
    (["recover", "memory:", "--save", "x", "--discard"], 1, "exclude"),
    (
      ["recover", "-o", "cache_dir=/nonexistent", "--discard", "--yes"], 32, "nothing is set aside"
    ),
    (["recover", "-o", "cache_dri=/x"], 1, "cache_dir"),
    (["mount", "-f", "memory:", "/m", "-o", "log=/nonexistent/log"], 2, "/nonexistent/log"),
    (["mount", "memory:", "/m", "-o", "log=/nonexistent/log"], 2, "/nonexistent/log"),
  ])
  func failuresHaveTheirExitCodeAndOneLine(
    arguments: [String], status: Int32, text: String
  ) throws {
    let result = try ChildProcess.run([Products.path("regionfs")] + arguments)
    #expect(result.status == status)
    #expect(result.errors.contains(text))
    #expect(result.output.isEmpty)
  }

  @Test func statExitCodesAreTheDocumentedOnes() throws {
    #expect(try Self.stat(nil).status == 3)
    #expect(try Self.stat(nil, "/").status == 3)
    #expect(try Self.stat([]).status == 0)
    for wrong in ["--frob", "--watch=0", "--watch=x", "--wait=forever", "--timeout=1"] {
      #expect(try Self.stat(nil, wrong).status == 2, "\(wrong)")
    }
    let dirty = Self.region("a", dirty: 4096)
    #expect(try Self.stat([dirty], "--wait=committed", "--timeout", "0.2").status == 4)
    #expect(try Self.stat([Self.region("a")], "--wait=committed").status == 0)
    #expect(try Self.stat([Self.region("a")], "--wait=pulled", "--timeout=0").status == 4)
    var lost = dirty
    lost.role = .lost
    lost.roleReason = "another mount took the claim"
    let result = try Self.stat([lost], "--wait=committed")
    #expect(result.status == 1)
    #expect(result.errors.contains("another mount took the claim"))
  }

  @Test func waitShowsProgressAfterASecond() throws {
    let result = try Self.stat(
      [Self.region("a", dirty: 5 << 20)], "--wait=committed", "--timeout=1.4")
    #expect(result.errors.contains("5.0 MiB not committed, the oldest for 2.5s\n"))
  }

  @Test func jsonHoldsEveryRegion() throws {
    let regions = [Self.region("a", dirty: 4096), Self.region("b\"\n")]
    let result = try Self.stat(regions, "--json")
    let program = """
      import json, sys
      mount, = json.load(sys.stdin)["mounts"]
      print([r["name"] for r in mount["regions"]], mount["regions"][0]["dirtyBytes"],
            mount["store"]["requests"], mount["mount"]["state"])
      """
    let read = try ChildProcess.check(["python3", "-c", program], input: result.output)
    #expect(read.output == "['a', 'b\"\\n'] 4096 {'get': 3} running\n")
    #expect(result.errors.isEmpty)
    let none = try Self.stat(nil, "--json")
    #expect(none.output.contains("\"mounts\""))
    #expect(none.status == 3)
  }

  @Test func tableIsAlignedAndHidesNoControlCharacters() throws {
    let regions = [Self.region("a", dirty: 1536), Self.region("long name \u{1B}[31m")]
    let text = try Self.stat(regions).output
    #expect(text.hasPrefix("s3://bucket/p on /mnt/x: running\n"))
    #expect(!text.contains("\u{1B}"))
    #expect(text.contains(#"long name \u{1b}[31m"#))
    let rows = text.split(separator: "\n").drop { !$0.hasPrefix("REGION") }
    #expect(rows.count == 3)
    let ends = rows.map { row in
      row.distance(from: row.startIndex, to: row.lastIndex(of: " ") ?? row.startIndex)
    }
    #expect(Set(ends).count == 1)
    #expect(rows.contains { $0.contains("1.5 KiB") && $0.contains("5/12") && $0.contains("–") })
  }

  @Test func watchPrintsALineARegionWhereThereIsNoTerminal() throws {
    let scratch = try Scratch()
    let directory = try scratch.directory("run")
    try ChildProcess.check(["chmod", "700", directory])
    let server = try ControlServer(
      directory: directory, mountID: "m", handler: ScriptedDaemon([Self.region("a")]))
    defer { server.stop() }
    let tool = Products.path("regionfs-stat")
    let result = try ChildProcess.check(
      ["sh", "-c", "timeout 20 '\(tool)' --watch=0.1 | head -n 3"],
      environment: ["REGIONFS_RUNTIME_DIR": directory])
    let lines = result.output.split(separator: "\n")
    #expect(lines.count == 3)
    #expect(lines.allSatisfy { $0.contains(" /mnt/x/a size=3145728 present=5/12 ") })
  }
}
