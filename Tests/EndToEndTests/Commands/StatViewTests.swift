import Foundation
import Glibc
import RegionTesting
import Testing

extension EndToEnd {
  /// `regionfs-stat` on real mounts: its live view in a terminal, its maps, its page.
  @Suite(.serialized) struct StatViewTests {
    /// A mount with two files, of which one is partly here, partly not, and partly dirty.
    static func withMount(_ body: (MountedFilesystem) throws -> Void) async throws {
      let store = try await TestStore(.directory)
      try store.mounted { mounted in
        try ChildProcess.check(
          [
            "sh", "-c",
            "head -c 8M /dev/urandom > \(mounted.mountpoint)/large; echo > \(mounted.mountpoint)/small",
          ])
        try mounted.unmount()
      }
      try store.mounted("other", options: ["push_interval=1h", "pull=lazy"]) { mounted in
        let large = mounted.mountpoint + "/large"
        try ChildProcess.check(["sh", "-c", "cat \(mounted.mountpoint)/small > /dev/null"])
        try ChildProcess.check(
          ["dd", "if=\(large)", "of=/dev/null", "bs=4096", "count=1", "iflag=direct"])
        try ChildProcess.check(
          [
            "dd", "if=/dev/urandom", "of=\(large)", "bs=4096", "count=1", "seek=1024",
            "conv=notrunc",
          ])
        try body(mounted)
      }
    }

    @Test(arguments: ["quit", "interrupt", "term", "hangup", "crash"])
    func liveViewFollowsKeysAndSizeAndGivesTheTerminalBack(ending: String) async throws {
      try await Self.withMount { mounted in
        try ChildProcess.check(
          Programs.command(
            "live_view.py", [ending, Products.path("regionfs-stat"), mounted.mountpoint]),
          environment: mounted.environment)
      }
    }

    @Test func mapsTellWhatTheChunksDo() async throws {
      try await Self.withMount { mounted in
        let report = try Report(try mounted.stat())
        let large = try report.map(of: "large")
        // 8 MiB are 32 chunks of 256 KiB; the first was read, and the one at 4 MiB written.
        #expect(large.count == 32)
        #expect(large.first == "#")
        #expect(large[large.index(large.startIndex, offsetBy: 16)] == "*")
        #expect(large.last == ".")
        #expect(try report.waits(of: "large"))
        try mounted.sync()
        #expect(try !Report(try mounted.stat()).map(of: "large").contains("*"))
      }
    }

    @Test func linesWhereThereIsNoCursorToMove() async throws {
      try await Self.withMount { mounted in
        // `script` gives it a terminal; a dumb one has no alternate screen.
        let command =
          "timeout 3 \(Products.path("regionfs-stat")) --watch=0.2 \(mounted.mountpoint)"
        let result = try ChildProcess.run(
          ["script", "-qec", command, "/dev/null"],
          environment: mounted.environment.merging(["TERM": "dumb"]) { $1 })
        #expect(result.output.contains("/large size=8388608 present="))
        #expect(!result.output.contains("\u{1B}"))
      }
    }

    @Test func thePageShowsTheMount() async throws {
      try await Self.withMount { mounted in
        let page = try mounted.stat(["--html", "-"])
        #expect(page.contains("<h3>large</h3>") && page.contains("class=\"dirty\""))
      }
    }
  }

  /// What `regionfs-stat --json` says.
  private struct Report: Decodable {
    struct Faults: Decodable { var medianWaitSeconds: Double?, p99WaitSeconds: Double? }
    struct Map: Decodable { var runs: String }
    struct Region: Decodable { var name: String, map: Map?, faults: Faults }
    struct Mount: Decodable { var regions: [Region] }
    var mounts: [Mount]

    init(_ text: String) throws {
      self = try JSONDecoder().decode(Report.self, from: Data(text.utf8))
    }

    func region(_ name: String) throws -> Region {
      try #require(mounts.first?.regions.first { $0.name == name })
    }

    /// The cells of a region's map, one character each.
    func map(of name: String) throws -> String {
      let runs = try #require(try region(name).map?.runs)
      return runs.matches(of: /([0-9]+)([^0-9])/).map {
        String(repeating: String($0.2), count: Int($0.1) ?? 0)
      }.joined()
    }

    /// Its median and p99 wait are there and in order.
    func waits(of name: String) throws -> Bool {
      let faults = try region(name).faults
      let (median, p99) = (
        try #require(faults.medianWaitSeconds), try #require(faults.p99WaitSeconds)
      )
      return 0 < median && median <= p99
    }
  }
}
