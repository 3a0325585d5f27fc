import Foundation
import RegionControl
import RegionTesting
import Testing

extension EndToEnd {
  /// docs/ARCHITECTURE.md says how much memory a daemon may take.
  @Suite(.serialized) struct MemoryTests {
    private func memory(_ mounted: MountedFilesystem) throws -> MemoryStatus {
      struct Output: Decodable { var mounts: [StatusReport] }
      let output = try JSONDecoder().decode(Output.self, from: Data(try mounted.stat().utf8))
      return try #require(output.mounts.first).memory
    }

    /// Many readers of one large file, at random places and in order, all of them cold.
    @Test func manyColdReadersStayWithinTheFormula() async throws {
      let store = try await TestStore(.directory)
      let copy = store.scratch.file("copy")
      try Programs.run("crowded_cache.py", ["make", copy, "--size", "512"])
      try ChildProcess.check([
        Products.path("regionfs"), "cp", "-q", copy, store.address + "/f",
      ])
      try store.mounted(options: ["pull=background"]) { mounted in
        let file = mounted.mountpoint + "/f"
        var readers: [BackgroundProcess] = []
        for seed in 1...6 {
          readers.append(
            try BackgroundProcess(
              Programs.command(
                "crowded_cache.py",
                [
                  "run", file, copy, mounted.cacheDirectory, "--limit", "4096", "--slack", "4096",
                  "--seed", "\(seed)", "--writes", "0", "--steps", "300",
                ])))
        }
        for _ in 0..<2 { try Programs.run("crowded_cache.py", ["verify", file, copy]) }
        for reader in readers {
          let result = try reader.waitForExit(timeout: .seconds(300))
          #expect(result.succeeded, "\(result)")
        }
        let memory = try memory(mounted)
        let bound = try #require(memory.boundBytes)
        #expect(memory.peakResidentBytes > 0)
        #expect(memory.peakResidentBytes <= bound)
        try mounted.unmount()
      }
    }
  }
}
