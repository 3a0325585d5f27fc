import RegionTesting
import Testing

extension EndToEnd {
  /// What others on the host may see and do.
  @Suite(.serialized) struct SecurityTests {
    /// As somebody else, who is in no group of ours.
    private func asNobody(_ command: [String]) throws -> ProcessResult {
      try ChildProcess.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] + command)
    }

    @Test func credentialsShowNowhere() async throws {
      let store = try await TestStore(.s3)
      let secret = try #require(store.environment["AWS_SECRET_ACCESS_KEY"])
      try store.mounted(options: ["log_level=trace", "push_interval=100ms"]) { mounted in
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f", "--pages", "20"])
        try mounted.waitUntilCommitted()
        let pid = try #require(mounted.pid)
        let words = try Files.read("/proc/\(pid)/cmdline")
        let places = [
          "arguments": String(decoding: words, as: UTF8.self), "log": mounted.log,
          "status": try mounted.stat(["--json"]),
          "metrics": try mounted.stat(["--prometheus"]),
        ]
        for (place, text) in places {
          #expect(!text.isEmpty && !text.contains(secret), "the secret is in the \(place)")
        }
        try mounted.unmount()
        let found = try ChildProcess.run(["grep", "-rl", secret, mounted.cacheDirectory])
        #expect(found.status == 1, "the secret is in \(found.output)")
      }
    }

    @Test func cacheAndControlSocketAreTheUsersOnly() async throws {
      let store = try await TestStore(.directory)
      try store.mounted { mounted in
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f", "--pages", "20"])
        let run = store.scratch.path + "/run"
        for path in try Files.list(below: mounted.cacheDirectory) + Files.list(below: run) {
          let mode = try ChildProcess.check(["stat", "-c", "%a", path]).output
          #expect(mode.hasSuffix("00\n"), "\(path) has mode \(mode)")
        }
        for directory in [mounted.cacheDirectory, run] {
          let mode = try ChildProcess.check(["stat", "-c", "%a", directory]).output
          #expect(mode == "700\n", "\(directory) has mode \(mode)")
        }
        try mounted.unmount()
      }
    }

    @Test func othersSeeTheMountOnlyWithAllowOtherAndThenByMode() async throws {
      let store = try await TestStore(.directory)
      // Others must be able to come as far as the mountpoint.
      try ChildProcess.check(["chmod", "711", store.scratch.path])
      try store.mounted { mounted in
        try ChildProcess.check(["sh", "-ec", "echo mine > \"$1\"/f", "sh", mounted.mountpoint])
        try ChildProcess.check(["chmod", "644", "\(mounted.mountpoint)/f"])
        #expect(try asNobody(["cat", "\(mounted.mountpoint)/f"]).status != 0)
        try mounted.unmount()
      }
      try store.mounted(options: ["allow_other"]) { mounted in
        let file = mounted.mountpoint + "/f"
        #expect(try asNobody(["cat", file]).output == "mine\n")
        #expect(try asNobody(["sh", "-c", "echo theirs > \"$1\"", "sh", file]).status != 0)
        try ChildProcess.check(["chmod", "600", file])
        #expect(try asNobody(["cat", file]).status != 0)
        #expect(try ChildProcess.check(["cat", file]).output == "mine\n")
        try mounted.unmount()
      }
    }

    /// The files in /proc of a process that may not be dumped are root's. Daemon and commands
    /// begin alike, so one that waits for a store will do.
    @Test func credentialsAreInNoCoreDump() async throws {
      let scratch = try Scratch()
      try ChildProcess.check(["chmod", "711", scratch.path])
      let program = scratch.file("regionfs")
      try ChildProcess.check(["install", "-m", "755", Products.path("regionfs"), program])
      let process = try BackgroundProcess(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] + [
          program, "list", "s3://bucket/p", "-o",
          "endpoint=http://127.0.0.1:1,path_style,fault_timeout=1m",
        ],
        environment: [
          "HOME": "/nonexistent", "AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S",
        ])
      defer { process.kill() }
      let proc = "/proc/\(process.pid)"
      // It is setpriv at first, which may be dumped and is root's for a moment.
      let deadline = ContinuousClock.now + Patience.limit
      while try !isProgram(program, process.pid) || owner(of: "\(proc)/environ") != "0",
        ContinuousClock.now < deadline
      {
        ChildProcess.pause(.milliseconds(20))
      }
      #expect(try owner(of: "\(proc)/environ") == "0", "\(process.errors)")
      #expect(try ChildProcess.check(["grep", "^Uid:", "\(proc)/status"]).output.contains("65534"))
      #expect(try asNobody(["cat", "\(proc)/environ"]).status != 0)
    }

    private func isProgram(_ path: String, _ pid: Int32) throws -> Bool {
      String(decoding: try Files.read("/proc/\(pid)/cmdline"), as: UTF8.self).hasPrefix(path)
    }

    private func owner(of path: String) throws -> String {
      String(try ChildProcess.check(["stat", "-c", "%u", path]).output.dropLast())
    }
  }
}
