import RegionTesting
import Testing

extension EndToEnd {
  /// Stores by their names, and metrics of a real mount.
  @Suite(.serialized) struct NamedStoreTests {
    @Test func aStoreIsMountedAndUsedByItsName() async throws {
      let store = try await TestStore(.directory)
      let config = store.scratch.file("regionfs.toml")
      let text = """
        [defaults]
        push_interval = "1h"
        [stores.models]
        url = "\(store.address)"
        chunk_size = "64k"
        """
      try Files.write(config, Array(text.utf8))
      let environment = ["REGIONFS_CONFIG": config]
      func regionfs(_ arguments: String...) throws -> ProcessResult {
        try ChildProcess.run([Products.path("regionfs")] + arguments, environment: environment)
      }
      #expect(try regionfs("config", "check").status == 0)
      let made = try regionfs("create", "models", "f", "--size", "1m")
      #expect(made.status == 0, "\(made)")
      try MountedFilesystem.with("models", in: store.scratch, environment: environment) { mounted in
        let source = try ChildProcess.check(["findmnt", "-n", "-o", "SOURCE", mounted.mountpoint])
        #expect(source.output == "models\n")
        let report = try mounted.stat()
        #expect(report.contains(store.address))
        #expect(report.contains("\"chunkBytes\" : 65536") || !report.contains("chunkBytes"))
        try mounted.unmount()
      }
      let info = try regionfs("info", "--json", "models:f")
      #expect(
        try TestStore.value("d['chunkBytes'], d['sizeBytes']", of: info.output)
          == "(65536, 1048576)")
      let unknown = try regionfs("list", "modles")
      #expect(unknown.status == 1 && unknown.errors.contains("known are models"), "\(unknown)")
      try Files.write(config, Array("[stores.models]\nurl = \"/srv\"\n".utf8))
      let wrong = try regionfs("config", "check")
      #expect(wrong.status == 32 && wrong.errors.contains("\(config):2: "), "\(wrong)")
      #expect(try regionfs("mount", "models", "/mnt").status == 1)
    }

    @Test func metricsAreServedWhereTheOptionSays() async throws {
      let store = try await TestStore(.directory)
      let program = """
        import socket, sys, urllib.request, urllib.error
        address = sys.argv[1]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4"), answer.headers
            print(answer.read().decode(), end="")
        for path, data, status in (("/", None, 404), ("/metrics", b"x", 405)):
            try:
                urllib.request.urlopen(f"http://{address}{path}", data=data, timeout=10)
                sys.exit(f"{path} was answered")
            except urllib.error.HTTPError as error:
                assert error.code == status, error.code
        # Who says nothing, or nonsense, keeps nobody else from an answer.
        host, port = address.rsplit(":", 1)
        silent = socket.create_connection((host, int(port)))
        silent.close()
        junk = socket.create_connection((host, int(port)))
        junk.sendall(b"\\0" * 10000)
        junk.close()
        urllib.request.urlopen(f"http://{address}/metrics", timeout=20).read()
        """
      let port = try ChildProcess.check([
        "python3", "-c",
        "import socket; s = socket.socket(); s.bind(('127.0.0.1', 0)); print(s.getsockname()[1])",
      ]).output.split(separator: "\n")[0]
      let address = "127.0.0.1:\(port)"
      try store.mounted(options: ["metrics=\(address)"]) { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "50"])
        try mounted.sync()
        let text = try ChildProcess.check(["python3", "-c", program, address]).output
        #expect(text.contains("regionfs_store_up{mountpoint=\"\(mounted.mountpoint)\"} 1\n"))
        #expect(text.contains("region=\"f\"} 204800\n"), "\(text)")
        let stat = try mounted.stat(["--prometheus"])
        #expect(stat.contains("# TYPE regionfs_store_requests_total counter\n"))
        // A second mount cannot have the port, and says so.
        let second = try store.filesystem("second", options: ["metrics=\(address)"])
        defer { second.cleanUp() }
        let refused = try second.mountExpectingFailure()
        #expect(refused.status != 0 && refused.errors.contains(address), "\(refused)")
        try mounted.unmount()
      }
    }
  }
}
