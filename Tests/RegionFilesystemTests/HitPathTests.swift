import RegionTesting
import Testing

/// "A hit takes no lock and no allocation", counted by `hit-path-probe` in a process of its own.
@Suite struct HitPathTests {
  /// What the probe prints of one way of reading.
  private struct Line {
    var reads = 0
    var allocations = 0
    /// Nil in builds that do not count locks.
    var locks: Int?
  }

  private func probe() throws -> [String: Line] {
    let scratch = try Scratch()
    let result = try ChildProcess.check([Products.path("hit-path-probe"), scratch.path])
    var lines: [String: Line] = [:]
    for text in result.output.split(separator: "\n") {
      let words = text.split(separator: " ")
      try #require(
        words.count == 7 && words[1] == "reads" && words[3] == "allocations" && words[5] == "locks",
        "\(text)")
      lines[String(words[0])] = Line(
        reads: try #require(Int(words[2])), allocations: try #require(Int(words[4])),
        locks: Int(words[6]))
    }
    return lines
  }

  @Test func aHitTakesNoLockAndNoAllocation() throws {
    let lines = try probe()
    let region = try #require(lines["region"])
    #expect(region.reads == 10_000)
    #expect(region.allocations == 0)
    // Through the mount: libfuse 3.14 allocates one `struct fuse_req` for each request, in C.
    let mount = try #require(lines["mount"])
    #expect(mount.reads == 128)
    #expect(mount.allocations <= mount.reads)
    // What must be counted is.
    let control = try #require(lines["control"])
    #expect(control.allocations >= control.reads)
    #if DEBUG
      #expect(region.locks == 0)
      #expect(mount.locks == 0)
      #expect(try #require(control.locks) >= control.reads)
    #endif
  }
}
