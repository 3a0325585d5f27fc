import RegionTesting
import Testing

extension EndToEnd {
  /// The next mount pulls nothing that the cache has, however the last one ended.
  @Suite(.serialized) struct WarmRestartTests {
    /// GETs of segments that went through the proxy, which has the one rule that counts them.
    private func segmentReads(_ proxy: ImpairmentProxy) throws -> Int {
      let statistics = try proxy.control("stats")
      return try #require(Int(try TestStore.value("d['rules'][0]['matched']", of: statistics)))
    }

    @Test func nothingThatIsHereIsPulledAgain() async throws {
      let store = try await TestStore(.s3)
      let original = store.scratch.file("original")
      try CopyTests.makeFile(original, mebibytes: 24)
      try store.succeed("cp", original, "\(store.address)/f")
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try proxy.addRule("match=GET .*/seg/,action=delay,for=1ms")
      try store.mounted(options: ["push_interval=200ms"], through: proxy) { mounted in
        let file = mounted.mountpoint + "/f"
        try ChildProcess.check(["cmp", original, file])
        let cold = try segmentReads(proxy)
        #expect(cold > 0)
        func expectWarm(_ what: String) throws {
          let before = try segmentReads(proxy)
          try mounted.remount()
          try ChildProcess.check(["cmp", original, file])
          #expect(try segmentReads(proxy) == before, "\(what)")
        }
        try expectWarm("after an unmount")
        try mounted.kill()
        try expectWarm("after SIGKILL of a reader")
        let changes = store.scratch.file("changes")
        for isCommitted in [true, false] {
          try ChildProcess.check(["dd", "if=/dev/urandom", "of=\(changes)", "bs=5000", "count=9"])
          for path in [original, file] {
            try ChildProcess.check([
              "dd", "if=\(changes)", "of=\(path)", "bs=5000", "seek=777", "conv=notrunc,fsync",
            ])
          }
          if isCommitted { try mounted.sync() }
          try mounted.kill()
          try expectWarm("after SIGKILL of a writer, committed: \(isCommitted)")
        }
        try mounted.unmount()
        try expectWarm("after all that was committed")
        try mounted.unmount()
      }
    }
  }
}
