import Glibc
import RegionTesting
import Testing

extension EndToEnd {
  /// What cannot work ends in one line that names the object and the remedy, and no crash.
  @Suite(.serialized) struct BadInputTests {
    /// A mount that must fail: with a status above 0, one line, and the given words in it.
    private func expectRefusal(
      _ mounted: MountedFilesystem, naming words: [String],
      timeout: Duration = Patience.limit, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
      defer { mounted.cleanUp() }
      let result = try mounted.mountExpectingFailure(timeout: timeout)
      #expect(result.status > 0, "\(result)", sourceLocation: sourceLocation)
      let lines = result.errors.split(separator: "\n").filter { $0.hasPrefix("regionfs:") }
      #expect(lines.count == 1, "one line, not \(result)", sourceLocation: sourceLocation)
      for word in words {
        let named = lines.first?.lowercased().contains(word.lowercased()) == true
        #expect(named, "\"\(word)\" is not named: \(result)", sourceLocation: sourceLocation)
      }
      #expect(!mounted.isMounted, sourceLocation: sourceLocation)
    }

    private func s3(
      _ address: String, _ store: TestStore, options: [String] = [],
      endpoint: String? = nil, _ changes: [String: String] = [:]
    ) throws -> MountedFilesystem {
      var environment = store.environment
      environment["AWS_ENDPOINT_URL_S3"] = nil
      environment.merge(changes) { _, new in new }
      let url = try endpoint ?? "http://\(#require(store.serverAddress))"
      return try MountedFilesystem(
        address, in: store.scratch, options: options + ["endpoint=\(url)", "path_style"],
        environment: environment)
    }

    @Test func wrongBucket() async throws {
      let store = try await TestStore(.s3)
      // More than once: the first attempt must not have made it.
      for _ in 0..<3 {
        try expectRefusal(try s3("s3://no-such-bucket/x", store), naming: ["no-such-bucket"])
      }
    }

    @Test func wrongSecret() async throws {
      let store = try await TestStore(.s3)
      let mounted = try s3(store.address, store, ["AWS_SECRET_ACCESS_KEY": "wrong"])
      try expectRefusal(mounted, naming: ["credentials", "SignatureDoesNotMatch"])
    }

    @Test func unknownKey() async throws {
      let store = try await TestStore(.s3)
      let mounted = try s3(store.address, store, ["AWS_ACCESS_KEY_ID": "nobody"])
      try expectRefusal(mounted, naming: ["AWS_ACCESS_KEY_ID"])
    }

    @Test func noCredentials() async throws {
      let store = try await TestStore(.s3)
      let mounted = try s3(
        store.address, store,
        ["AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": store.scratch.path])
      try expectRefusal(mounted, naming: ["credentials"])
    }

    @Test func clockSkew() async throws {
      let store = try await TestStore(.s3)
      let library = store.scratch.file("skewed_clock.so")
      let source = Programs.directory + "/skewed_clock.c"
      try ChildProcess.check(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source])
      let mounted = try s3(
        store.address, store, ["LD_PRELOAD": library, "SKEW_SECONDS": "7200"])
      try expectRefusal(mounted, naming: ["clock"])
    }

    @Test func unreachableEndpoint() async throws {
      let store = try await TestStore(.s3)
      let mounted = try s3(store.address, store, endpoint: "http://127.0.0.1:9")
      try expectRefusal(mounted, naming: ["127.0.0.1", "endpoint="])
    }

    @Test func endpointThatIsNoS3() async throws {
      let store = try await TestStore(.s3)
      let other = try BackgroundProcess(Programs.command("http_server.py", []))
      let mounted = try s3(store.address, store, endpoint: "http://\(try other.nextLine())")
      try expectRefusal(mounted, naming: ["s3://"])
    }

    @Test func missingStoreDirectory() throws {
      let scratch = try Scratch()
      let mounted = try MountedFilesystem("file://\(scratch.path)/none/deeper", in: scratch)
      try expectRefusal(mounted, naming: ["\(scratch.path)/none"])
    }

    @Test func missingMountpoint() async throws {
      let store = try await TestStore(.directory)
      let mounted = try store.filesystem()
      try ChildProcess.check(["rmdir", mounted.mountpoint])
      try expectRefusal(mounted, naming: [mounted.mountpoint])
    }

    @Test(arguments: [
      ("push_intervall=1s", "push_interval"), ("pull=eager", "lazy"),
      ("chunk_size=3k", "chunk_size"),
      ("secret_key=x", "AWS_SECRET_ACCESS_KEY"),
    ])
    func wrongOption(option: String, named: String) async throws {
      let store = try await TestStore(.directory)
      try expectRefusal(try store.filesystem(options: [option]), naming: [named])
    }

    @Test func cacheDirectoryInUse() async throws {
      let store = try await TestStore(.directory)
      try store.mounted { mounted in
        let second = try MountedFilesystem(
          store.address, in: store.scratch, name: "second",
          options: ["cache_dir=\(mounted.cacheDirectory)"])
        try expectRefusal(second, naming: [mounted.cacheDirectory])
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f", "--pages", "10"])
        try mounted.unmount()
      }
    }

    @Test func storeWithoutConditionalWrites() async throws {
      let scratch = try Scratch()
      let server = try RcloneServer(in: scratch)
      func mounted(_ name: String, _ options: [String]) throws -> MountedFilesystem {
        try MountedFilesystem(
          "s3://bucket/prefix", in: scratch, name: name,
          options: options + ["endpoint=http://\(server.address)", "path_style"],
          environment: server.environment)
      }
      try expectRefusal(try mounted("refused", []), naming: ["unsafe_no_cas"])
      let unsafely = try mounted("unsafe", ["unsafe_no_cas"])
      defer { unsafely.cleanUp() }
      try unsafely.mount()
      let pattern = ["--pages", "100", "--seed", "5"]
      try Programs.run("pattern.py", ["write", unsafely.mountpoint + "/f"] + pattern)
      try unsafely.unmount()
      let reader = try mounted("reader", ["ro"])
      defer { reader.cleanUp() }
      try reader.mount()
      try Programs.run("pattern.py", ["verify", reader.mountpoint + "/f"] + pattern)
      try reader.unmount()
    }

    @Test func aReadOnlyMountRefusesEveryChange() async throws {
      let store = try await TestStore(.directory)
      try store.mounted { mounted in
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f", "--pages", "10"])
        try mounted.unmount()
      }
      try store.mounted("reader", options: ["ro"]) { reader in
        try Programs.run("pattern.py", ["verify", reader.mountpoint + "/f", "--pages", "10"])
        let changes = [
          "echo x > f", "echo x > new", "rm f", "mkdir d", "mv f g", "chmod 600 f", "touch f",
          "truncate -s 5 f", "ln -s f l", "setfattr -n user.a -v b f",
        ]
        for change in changes {
          let result = try ChildProcess.run(["sh", "-c", "cd \(reader.mountpoint) && \(change)"])
          #expect(result.errors.contains("Read-only file system"), "\(result)")
        }
        try reader.unmount()
      }
    }

    @Test func cacheOnAFullDisk() async throws {
      let store = try await TestStore(.directory)
      let disk = try SmallDisk(in: store.scratch, mebibytes: 24)
      let record = store.scratch.file("record")
      let options = ["cache_dir=\(disk.path)/cache"]
      try store.mounted(options: options) { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("fill_disk.py", ["fill", file, record])
        try Programs.run("fill_disk.py", ["verify", file, record])
        #expect(mounted.pid != nil, "\(mounted.log)")
        try mounted.unmount()
        try mounted.mount()
        try Programs.run("fill_disk.py", ["verify", file, record])
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        try Programs.run("fill_disk.py", ["verify", other.mountpoint + "/f", record])
        try other.unmount()
      }
    }

    @Test func cacheOnADiskThatIsFullAtMount() async throws {
      let store = try await TestStore(.directory)
      let disk = try SmallDisk(in: store.scratch, mebibytes: 1)
      _ = try ChildProcess.run(["dd", "if=/dev/zero", "of=\(disk.path)/filler", "bs=4k"])
      let mounted = try store.filesystem(options: ["cache_dir=\(disk.path)/cache"])
      try expectRefusal(mounted, naming: [disk.path])
    }
  }
}

/// A small tmpfs.
final class SmallDisk {
  let path: String

  init(in scratch: Scratch, mebibytes: Int) throws {
    path = try scratch.directory("disk")
    try ChildProcess.check(["mount", "-t", "tmpfs", "-o", "size=\(mebibytes)m", "none", path])
  }

  deinit { _ = try? ChildProcess.run(["umount", "-l", path]) }
}

/// `rclone serve s3`, which ignores If-None-Match and If-Match.
final class RcloneServer {
  let address: String
  let environment = [
    "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
  ]
  private let process: BackgroundProcess

  init(in scratch: Scratch) throws {
    let directory = try scratch.directory("rclone")
    _ = try scratch.directory("rclone/bucket")
    process = try BackgroundProcess([
      Programs.tool("rclone"), "serve", "s3", "--addr", "127.0.0.1:0", "--auth-key", "key,secret",
      "--config", "/dev/null", directory,
    ])
    // "... NOTICE: Local file system at /tmp/…: Starting s3 server on [http://127.0.0.1:38283/]"
    let deadline = ContinuousClock.now + Patience.limit
    while ContinuousClock.now < deadline, process.isRunning {
      let words = process.errors.split(separator: "[http://")
      if words.count > 1, let end = words[1].firstIndex(of: "/") {
        address = String(words[1][..<end])
        return
      }
      usleep(10_000)
    }
    throw ProcessFailure("rclone does not start: \(process.errors)")
  }
}
