import Glibc
import RegionTesting
import Testing

extension EndToEnd {
  /// Commands on a store that is slow: whoever waits sees how far it is.
  @Suite(.serialized) struct ProgressTests {
    /// A terminal's worth of a command: `script` gives it one.
    static func onTerminal(_ command: [String], _ environment: [String: String]) throws -> String {
      let line = command.map { "'\($0)'" }.joined(separator: " ")
      return try ChildProcess.run(
        ["script", "-qec", line, "/dev/null"], environment: environment, timeout: Patience.limit
      ).output
    }

    @Test func umountShowsWhatIsLeftAndNoWaitSaysWhatStays() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try store.mounted(options: ["push_interval=1h"], through: proxy) { mounted in
        let write = "head -c 24M /dev/urandom > '\(mounted.mountpoint)/f'"
        try ChildProcess.check(["sh", "-c", write])
        // 24 MB in three segments at 40 Mbit/s: about five seconds, the first done before the last.
        try proxy.control("bandwidth 40M")
        let umount = [Products.path("regionfs"), "umount", mounted.mountpoint]
        let text = try Self.onTerminal(umount, mounted.environment)
        #expect(text.contains("MiB left"))
        #expect(!mounted.isMounted)
        for _ in 0..<3000 where mounted.pid != nil { usleep(20_000) }
        try mounted.mount()
        try ChildProcess.check(["sh", "-c", write])
        let quick = try ChildProcess.run(
          umount + ["--no-wait"], environment: mounted.environment)
        #expect(quick.status == 0 && quick.errors.contains("MiB not committed yet, safe in"))
        #expect(quick.errors.contains("Follow it with: regionfs umount \(mounted.mountpoint)"))
        try proxy.control("bandwidth off")
        let end = try ChildProcess.run(umount, environment: mounted.environment)
        #expect(end.status == 0 || end.errors.contains("not mounted"))
      }
    }

    @Test(arguments: [["list"], ["info"], ["create"]])
    func commandsOnAStoreSayThatTheyAreAtIt(words: [String]) async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let options = ["-o", "endpoint=http://\(proxy.address),path_style"]
      let environment = store.environment.filter { $0.key != "AWS_ENDPOINT_URL_S3" }
      func command(_ words: [String]) -> [String] {
        let places =
          switch words[0] {
          case "info": [store.address + "/a"]
          case "create": [store.address, "b"]
          default: [store.address]
          }
        return [Products.path("regionfs")] + words + options + places
      }
      try ChildProcess.check(
        [Products.path("regionfs"), "create"] + options + [store.address, "a"],
        environment: environment)
      // Each answer takes longer than the patience of whoever looks on.
      try proxy.control("rtt 1400ms")
      let text = try Self.onTerminal(command(words), environment)
      #expect(text.contains("requests to \(store.address)"), "\(text)")
    }
  }
}
