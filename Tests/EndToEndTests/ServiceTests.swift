import Glibc
import RegionTesting
import Testing

extension EndToEnd {
  /// The daemon as a service: what it tells its manager, and its log.
  @Suite(.serialized) struct ServiceTests {
    /// Waits until a listener has printed a line.
    static func wait(for line: String, from listener: BackgroundProcess) throws {
      while true {
        let next = try listener.nextLine()
        if next.hasPrefix(line) { return }
      }
    }

    @Test(arguments: ["path", "abstract"])
    func theManagerHearsOfReadinessDrainAndEnd(kind: String) async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let scratch = try Scratch()
      let name = kind == "path" ? scratch.file("notify") : "@regionfs-test-\(getpid())"
      let listener = try BackgroundProcess(Programs.command("notify_socket.py", [name, "120"]))
      defer { listener.kill() }
      #expect(try listener.nextLine() == "listening")
      let endpoint = "endpoint=http://\(proxy.address)"
      let mounted = try MountedFilesystem(
        store.address, in: scratch, options: ["push_interval=1h", endpoint, "path_style"],
        environment: store.environment.filter { $0.key != "AWS_ENDPOINT_URL_S3" }
          .merging(["NOTIFY_SOCKET": name]) { $1 })
      defer { mounted.cleanUp() }
      try mounted.mount()
      try Self.wait(for: "READY=1", from: listener)
      #expect(try listener.nextLine() == "MAINPID=\(try #require(mounted.pid))")
      #expect(try listener.nextLine() == "STATUS=mounted at \(mounted.mountpoint)")
      try ChildProcess.check(
        ["sh", "-c", "head -c 4M /dev/urandom > '\(mounted.mountpoint)/f'"])
      // 4 MB at 8 Mbit/s: the drain takes four seconds.
      try proxy.control("bandwidth 8M")
      mounted.signal(SIGTERM)
      try Self.wait(for: "STOPPING=1", from: listener)
      try Self.wait(for: "STATUS=4.", from: listener)
      #expect(try listener.nextLine() == "EXTEND_TIMEOUT_USEC=30000000")
      try proxy.control("bandwidth off")
      for _ in 0..<3000 where mounted.pid != nil { usleep(20_000) }
      #expect(mounted.pid == nil)
    }

    /// The mount is ready when everything is here, and the manager is asked for more time until then.
    @Test func theManagerWaitsForAPullOfEverything() async throws {
      let store = try await TestStore(.directory)
      let original = store.scratch.file("original")
      try CopyTests.makeFile(original, mebibytes: 12)
      try store.succeed("cp", original, "\(store.address)/f")
      let name = store.scratch.file("notify")
      let listener = try BackgroundProcess(Programs.command("notify_socket.py", [name, "120"]))
      defer { listener.kill() }
      #expect(try listener.nextLine() == "listening")
      let mounted = try MountedFilesystem(
        store.address, in: store.scratch, options: ["pull=full", "download_limit=4m"],
        environment: ["NOTIFY_SOCKET": name])
      defer { mounted.cleanUp() }
      try mounted.mount()
      let first = try listener.nextLine()
      #expect(first.hasPrefix("STATUS=pulling everything, 1 of 1 files: "), "\(first)")
      #expect(try listener.nextLine() == "EXTEND_TIMEOUT_USEC=30000000")
      try Self.wait(for: "READY=1", from: listener)
      try mounted.unmount()
    }

    @Test func theLogIsJSONChangesItsLevelAndIsOpenedAnew() async throws {
      let store = try await TestStore(.directory)
      let log = store.scratch.file("log")
      try store.mounted(options: ["log=\(log)", "log_format=json", "log_level=error"]) { mounted in
        func level(_ name: String) throws -> ProcessResult {
          try ChildProcess.run(
            [Products.path("regionfs"), "log-level", mounted.mountpoint, name],
            environment: mounted.environment)
        }
        #expect(try Files.read(log).isEmpty)
        #expect(try level("info").status == 0)
        let wrong = try level("loud")
        #expect(wrong.status == 32 && wrong.errors.contains("known are trace"))
        // A rotation; without a file SIGHUP would end a daemon in the foreground.
        try ChildProcess.check(["mv", log, log + ".1"])
        mounted.signal(SIGHUP)
        for _ in 0..<1000 where !Files.exists(log) { usleep(10_000) }
        #expect(mounted.isMounted)
        try mounted.unmount()
      }
      let program = """
        import json, sys
        lines = [json.loads(line) for line in sys.stdin]
        print({line["level"] for line in lines}, any("unmounted" in line["message"] for line in lines))
        """
      let text = String(decoding: try Files.read(log), as: UTF8.self)
      let read = try ChildProcess.check(["python3", "-c", program], input: text)
      #expect(read.output == "{'info'} True\n")
    }
  }
}
