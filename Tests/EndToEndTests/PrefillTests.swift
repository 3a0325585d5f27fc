import Foundation
import RegionControl
import RegionTesting
import Testing

extension EndToEnd {
  /// What a background pull brought is in the kernel's page cache, once.
  @Suite(.serialized) struct PrefillTests {
    private static let size = 96

    private struct Prepared {
      let store: TestStore
      let copy: String
    }

    private func prepare() async throws -> Prepared {
      let store = try await TestStore(.directory)
      let copy = store.scratch.file("copy")
      try Programs.run("crowded_cache.py", ["make", copy, "--size", "\(Self.size)"])
      try ChildProcess.check([
        Products.path("regionfs"), "cp", "-q", copy, store.address + "/f",
      ])
      return Prepared(store: store, copy: copy)
    }

    private func report(_ mounted: MountedFilesystem) throws -> StatusReport {
      struct Output: Decodable { var mounts: [StatusReport] }
      let output = try JSONDecoder().decode(Output.self, from: Data(try mounted.stat().utf8))
      return try #require(output.mounts.first)
    }

    private func cached(_ paths: String...) throws -> [Int] {
      try Programs.run("page_cache.py", ["show"] + paths).split(separator: "\n").map {
        try #require(Int($0))
      }
    }

    /// Opens and closes the file, which begins the background pull, and waits for its end.
    private func pull(_ file: String, _ mounted: MountedFilesystem) throws {
      try ChildProcess.check(["head", "-c", "1", file])
      try eventually("the pull") { try report(mounted).regions.first?.isPulled == true }
    }

    @Test func aPulledFileIsInThePageCacheOnce() async throws {
      let prepared = try await prepare()
      try prepared.store.mounted(options: ["pull=background"]) { mounted in
        let file = mounted.mountpoint + "/f"
        try pull(file, mounted)
        let data = try shell("ls \(mounted.cacheDirectory)/*/data/*").output
          .split(separator: "\n").map(String.init)
        let size = Self.size << 20
        // Holes are read by nobody: what was pulled is 15 of 16 MiB.
        try eventually("the page cache") { try cached(file)[0] >= size / 16 * 15 }
        try eventually("dropping the cache file's own pages") {
          let found = try cached(file, try #require(data.first))
          return found[0] + found[1] <= size / 10 * 12
        }
        let before = try #require(try report(mounted).regions.first).faults
        let end = try Programs.run("crowded_cache.py", ["verify", file, prepared.copy])
        #expect(end.isEmpty)
        let after = try #require(try report(mounted).regions.first).faults
        // Hardly more than the holes came to the daemon: a quarter of the READs of a cold file at most.
        let reads = after.misses + after.hits - before.misses - before.hits
        #expect(reads <= UInt64(size / (128 << 10) / 4))
        try mounted.unmount()
      }
    }

    @Test func withoutPrefillTheKernelHasOnlyWhatWasRead() async throws {
      let prepared = try await prepare()
      try prepared.store.mounted(options: ["pull=background", "prefill=off"]) { mounted in
        let file = mounted.mountpoint + "/f"
        try pull(file, mounted)
        #expect(try cached(file)[0] <= 1 << 20)
        #expect(try report(mounted).cache?.prefilledBytes == 0)
        try mounted.unmount()
      }
    }

    /// An open file of the daemon's own would make the unmount fail with EBUSY.
    @Test func anUnmountInTheMidstOfIt() async throws {
      let prepared = try await prepare()
      for round in 0..<8 {
        try prepared.store.mounted("round\(round)", options: ["pull=background"]) { mounted in
          try ChildProcess.check(["head", "-c", "1", mounted.mountpoint + "/f"])
          ChildProcess.pause(.milliseconds(40 * round))
          try mounted.unmount()
        }
      }
    }

    @Test func aTruncationInTheMidstOfItShowsNothingOld() async throws {
      let prepared = try await prepare()
      for round in 0..<4 {
        try prepared.store.mounted("round\(round)", options: ["pull=background"]) { mounted in
          let file = mounted.mountpoint + "/f"
          try ChildProcess.check(["head", "-c", "1", file])
          ChildProcess.pause(.milliseconds(50 * round))
          let half = Self.size << 19
          try ChildProcess.check(["truncate", "-s", "\(half)", file])
          try ChildProcess.check(["truncate", "-s", "\(half * 2)", file])
          #expect(try shell("cmp -n \(half) \(file) \(prepared.copy)").succeeded)
          #expect(try shell("tail -c \(half) \(file) | cmp -n \(half) - /dev/zero").succeeded)
          ChildProcess.pause(.milliseconds(300))
          #expect(try shell("tail -c \(half) \(file) | cmp -n \(half) - /dev/zero").succeeded)
          try ChildProcess.check(["cp", prepared.copy, file])
          try mounted.unmount()
        }
      }
    }
  }
}
