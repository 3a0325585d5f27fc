import Glibc
import RegionTesting
import Testing

extension EndToEnd {
  /// `pull=full`: the mount command returns when everything is here.
  @Suite(.serialized) struct FullPullTests {
    let scratch: Scratch
    let mountpoint: String
    let store: String
    let environment: [String: String]

    init() throws {
      scratch = try Scratch()
      mountpoint = try scratch.directory("mnt")
      store = try scratch.directory("store")
      environment = ["REGIONFS_RUNTIME_DIR": try scratch.directory("run")]
    }

    func regionfs(_ arguments: String...) throws -> ProcessResult {
      try ChildProcess.run(
        [Products.path("regionfs")] + arguments, environment: environment, timeout: Patience.limit)
    }

    func mount(_ options: String) throws -> ProcessResult {
      try regionfs(
        "mount", "file://\(store)", mountpoint, "-o",
        "cache_dir=\(try scratch.directory("cache")),\(options)")
    }

    /// Takes the mount away however the test ended; its daemon then drains and ends.
    func cleanUp() {
      _ = try? ChildProcess.run(["umount", "-i", "-l", "-q", mountpoint])
    }

    /// A file of so many random bytes at a path of the store.
    func add(_ name: String, mebibytes: Int) throws -> String {
      let file = scratch.file("original-" + name.split(separator: "/").joined(separator: "-"))
      try CopyTests.makeFile(file, mebibytes: mebibytes)
      let result = try regionfs("cp", file, "file://\(store)/\(name)")
      try #require(result.status == 0, "\(result)")
      return file
    }

    func unmount() throws {
      let result = try regionfs("umount", mountpoint)
      #expect(result.status == 0, "\(result)")
    }

    /// Nothing of any file has to come from the store, which may have gone.
    @Test func whenTheMountReturnsTheStoreIsNotNeeded() throws {
      defer { cleanUp() }
      var originals = ["large": try add("large", mebibytes: 9)]
      let tree = try scratch.directory("tree")
      try ChildProcess.check(["mkdir", "-p", "\(tree)/a/b", "\(tree)/empty"])
      for name in (1...40).map({ "a/b/\($0)" }) + ["a/c"] {
        try ChildProcess.check([
          "dd", "if=/dev/urandom", "of=\(tree)/\(name)", "bs=3000", "count=7", "status=none",
        ])
        originals["tree/" + name] = "\(tree)/\(name)"
      }
      try ChildProcess.check(["touch", "\(tree)/a/nothing"])
      try ChildProcess.check(["ln", "-s", "c", "\(tree)/a/link"])
      let copied = try regionfs("cp", "-r", tree, "file://\(store)/tree")
      try #require(copied.status == 0, "\(copied)")
      let result = try mount("pull=full,fault_timeout=2s")
      try #require(result.status == 0 && result.errors.isEmpty, "\(result)")
      try ChildProcess.check(["mv", store, store + "-away"])
      for (name, original) in originals {
        try ChildProcess.check(["cmp", original, "\(mountpoint)/\(name)"])
      }
      try ChildProcess.check(["mv", store + "-away", store])
      try unmount()
    }

    @Test func itSaysHowFarItIs() throws {
      defer { cleanUp() }
      _ = try add("f", mebibytes: 16)
      let began = ContinuousClock.now
      let result = try mount("pull=full,download_limit=2m")
      #expect(result.status == 0, "\(result)")
      #expect(began.duration(to: .now) > .seconds(5))
      #expect(result.errors.contains("pulling everything, 1 of 1 files: "), "\(result)")
      try unmount()
    }

    /// What is there can be used.
    @Test func whatCannotBeHadIsNamed() throws {
      defer { cleanUp() }
      let good = try add("good", mebibytes: 1)
      _ = try add("bad", mebibytes: 1)
      let info = try regionfs("info", "file://\(store)/bad", "--json")
      let words = info.output.split(separator: "\"")
      let at = try #require(words.firstIndex(of: "groupID"), "\(info)")
      let group = words[at + 2]
      try ChildProcess.check([
        "sh", "-c", "find '\(store)' -path '*\(group)*/seg/*' -type f -delete",
      ])
      let result = try mount("pull=full")
      #expect(result.status == 0, "\(result)")
      #expect(result.errors.contains("not everything is here: bad: "), "\(result)")
      #expect(!result.errors.contains("good"), "\(result)")
      try ChildProcess.check(["cmp", good, mountpoint + "/good"])
      try unmount()
    }

    @Test func aCacheThatIsTooSmallIsSaid() throws {
      defer { cleanUp() }
      let original = try add("f", mebibytes: 96)
      let result = try mount("pull=full,cache_size=64m")
      #expect(result.status == 0, "\(result)")
      #expect(
        result.errors.contains("not everything is here: f: stopped: the cache is full"), "\(result)"
      )
      try ChildProcess.check(["cmp", original, mountpoint + "/f"])
      try unmount()
    }

    // A bug that was: the daemon opened the file, too, to tell the kernel of what had come, and its open
    // waited for the rest, which kept the unmount waiting for fault_timeout.
    @Test func whoUnmountsMeanwhileIsNotKeptWaiting() throws {
      defer { cleanUp() }
      _ = try add("f", mebibytes: 64)
      let options = "cache_dir=\(try scratch.directory("cache")),pull=full,download_limit=1m"
      let mount = try BackgroundProcess(
        [Products.path("regionfs"), "mount", "file://\(store)", mountpoint, "-o", options],
        environment: environment)
      try eventually("the mount answers") { Files.exists(mountpoint + "/f") }
      try ChildProcess.check(["umount", "-i", mountpoint])
      let result = try mount.waitForExit(timeout: Patience.limit)
      #expect(result.status == 32, "\(result)")
      #expect(
        result.errors.contains("\(mountpoint) was unmounted before everything was here"),
        "\(result)")
    }

    /// Nothing comes back, or every connection breaks, in the midst of it.
    @Test(arguments: OutageTests.outages)
    func anOutageIsWaitedOut(outage: String) async throws {
      defer { cleanUp() }
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let original = scratch.file("original")
      try CopyTests.makeFile(original, mebibytes: 24)
      try store.succeed("cp", original, "\(store.address)/f")
      let words = [
        "cache_dir=\(try scratch.directory("cache"))", "endpoint=http://\(proxy.address)",
        "path_style",
        "pull=full", "download_limit=8m", "fault_timeout=2s",
      ]
      var environment = store.environment.merging(self.environment) { $1 }
      environment["AWS_ENDPOINT_URL_S3"] = nil
      let mount = try BackgroundProcess(
        [Products.path("regionfs"), "mount", store.address, mountpoint, "-o"]
          + [words.joined(separator: ",")], environment: environment)
      try eventually("the mount answers") { Files.exists(mountpoint + "/f") }
      try proxy.addRule(outage)
      ChildProcess.pause(.seconds(6))
      #expect(mount.isRunning)
      try proxy.clearRules()
      let result = try mount.waitForExit(timeout: Patience.limit)
      #expect(result.status == 0, "\(result)")
      #expect(!result.errors.contains("not everything is here"), "\(result)")
      try proxy.addRule(outage)
      try ChildProcess.check(["cmp", original, mountpoint + "/f"])
      try proxy.clearRules()
      try unmount()
    }
  }
}
