import Foundation
import RegionControl
import RegionTesting
import Testing

extension EndToEnd {
  /// A region ten times as large as the cache may be, on a real mount.
  @Suite(.serialized) struct CacheLimitTests {
    /// `cache_size` in MiB; the region is ten times that.
    private static let limit = 64
    /// What SEMANTICS allows beyond it for pulls in flight, in MiB.
    private static let slack = 64

    private func report(_ mounted: MountedFilesystem) throws -> StatusReport {
      struct Output: Decodable { var mounts: [StatusReport] }
      let output = try JSONDecoder().decode(Output.self, from: Data(try mounted.stat().utf8))
      return try #require(output.mounts.first)
    }

    private static func steps(_ standard: Int) -> Int {
      Environment.all["REGIONFS_EVICTION_STEPS"].flatMap { Int($0) } ?? standard
    }

    @Test func aRegionTenTimesTheLimitLosesNothing() async throws {
      let store = try await TestStore(.directory)
      let copy = store.scratch.file("copy")
      try Programs.run("crowded_cache.py", ["make", copy, "--size", "\(Self.limit * 10)"])
      try ChildProcess.check([
        Products.path("regionfs"), "cp", "-q", copy, store.address + "/f",
      ])
      let options = ["cache_size=\(Self.limit)m", "sync=remote", "push_interval=500ms"]
      try store.mounted(options: options) { mounted in
        let file = mounted.mountpoint + "/f"
        func run(_ seed: Int, writes: Double) throws {
          try Programs.run(
            "crowded_cache.py",
            [
              "run", file, copy, mounted.cacheDirectory, "--limit", "\(Self.limit)", "--slack",
              "\(Self.slack)", "--seed", "\(seed)", "--writes", "\(writes)", "--steps",
              "\(Self.steps(400))",
            ], timeout: .seconds(1200))
        }
        try run(1, writes: 0)
        for round in 2...3 {
          try run(round, writes: 0.4)
          try mounted.kill()
          try mounted.remount()
          try Programs.run("crowded_cache.py", ["verify", file, copy], timeout: .seconds(600))
        }
        let report = try report(mounted)
        let cache = try #require(report.cache)
        #expect(cache.limitBytes == UInt64(Self.limit) << 20)
        #expect(cache.evictedChunks > 0)
        // A mount that finds a full cache must not take it for its own to fill again.
        try mounted.unmount()
        try mounted.mount()
        try run(4, writes: 0)
        try mounted.unmount()
      }
      try store.mounted("elsewhere") { other in
        try Programs.run(
          "crowded_cache.py", ["verify", other.mountpoint + "/f", copy], timeout: .seconds(600))
        try other.unmount()
      }
    }

    @Test func pinnedBytesStayThroughScansAndRemounts() async throws {
      let store = try await TestStore(.directory)
      let copy = store.scratch.file("copy")
      try Programs.run("crowded_cache.py", ["make", copy, "--size", "256"])
      try ChildProcess.check([
        Products.path("regionfs"), "cp", "-q", copy, store.address + "/f",
      ])
      try store.mounted(options: ["cache_size=\(Self.limit)m", "pull=lazy"]) { mounted in
        let file = mounted.mountpoint + "/f"
        func pin(_ words: String...) throws -> String {
          try ChildProcess.check([Products.path("regionfs"), "pin"] + words + [file]).output
        }
        #expect(
          try pin("--range", "0:8m", "--range", "100m:102m") == "0:8388608 104857600:106954752\n")
        try ChildProcess.check([
          "dd", "if=\(file)", "of=/dev/null", "bs=1M", "count=8", "status=none",
        ])
        for isKilled in [true, false] {
          try Programs.run("crowded_cache.py", ["verify", file, copy])
          let region = try #require(try report(mounted).regions.first)
          #expect(region.chunksPinned == 40)
          #expect(region.chunksPresent < region.chunksTotal)
          // The first 8 MiB are in the data file, though all else came after them.
          let data = "\(mounted.cacheDirectory)/*/data/*"
          #expect(try shell("cmp -n \(8 << 20) \(data) \(copy)").succeeded)
          #expect(try !shell("cmp \(data) \(copy)").succeeded)
          #expect(try pin("--list") == "0:8388608 104857600:106954752\n")
          if isKilled { try mounted.kill() }
          try mounted.remount()
        }
        #expect(try pin("--unpin", "--range", "4m:") == "0:4194304\n")
        #expect(try pin("--unpin") == "none\n")
        #expect(
          try ChildProcess.run(["getfattr", "-n", "user.regionfs.pinned", file]).succeeded == false)
        try mounted.unmount()
      }
    }
  }
}
