import DirectoryStore
import Glibc
import RegionCore
import RegionTesting
import Testing

/// A directory store with several processes, some of which are killed.
@Suite struct DirectoryStoreCrashTests {
  private static let child = Products.path("regionfs-store-child")

  private func content(_ number: Int) -> [UInt8] {
    [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 20_000 + number % 1000)
  }

  @Test func processesIncrementTogether() async throws {
    let scratch = try Scratch()
    let store = try DirectoryStore(directory: scratch.path)
    try await store.put(key("counter"), [UInt8]("0".utf8))
    let children = try (0..<3).map { _ in
      try BackgroundProcess([Self.child, "increment", scratch.path, "counter", "40"])
    }
    for child in children {
      let result = try child.waitForExit()
      #expect(result.succeeded, "\(result)")
    }
    #expect(String(decoding: try await store.get(key("counter")).bytes, as: UTF8.self) == "120")
  }

  /// Kills a writer at a random moment, many times: what it was told is there, what it was not told
  /// is there whole or not at all, and its locks are free.
  @Test func losesNothingThatWasAcknowledged() async throws {
    let scratch = try Scratch()
    let store = try DirectoryStore(directory: scratch.path)
    var generator = SplitMix64(seed: 3)
    var acknowledged = 0
    for round in 0..<15 {
      let writer = try BackgroundProcess([Self.child, "puts", scratch.path, "r\(round)"])
      _ = try writer.nextLine()
      try await Task.sleep(for: .microseconds(Int.random(in: 0...30_000, using: &generator)))
      writer.kill()
      let lines = writer.output.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
      let last = try #require(lines.last.flatMap { Int($0) })
      acknowledged += last + 1
      for number in 0...last {
        #expect(
          try await store.get(key("r\(round)/\(number % 7)/\(number)")).bytes == content(number))
      }
      // Of the objects under way when it was killed, none is cut.
      for text in try await store.all("r\(round)/") where text != "r\(round)/root" {
        let number = try #require(text.split(separator: "/").last.flatMap { Int($0) })
        #expect(number <= last + 1)
        #expect(try await store.get(key(text)).bytes == content(number))
      }
      let root = try await store.get(key("r\(round)/root"))
      #expect(root.bytes == content(last) || root.bytes == content(last + 1))
      try await store.put(key("r\(round)/root"), [1], .matches(root.info.etag))
    }
    #expect(acknowledged > 15, "the writers were killed before they wrote anything")
  }
}
