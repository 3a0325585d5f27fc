import RegionTesting
import Testing

@testable import RegionCore

/// Writes, zeros and sizes at all places around the edges of pages and chunks, beside an array.
@Suite struct PageEdgeTests {
  private static let edges = [0, 1, 4095, 4096, 4097, 8191, 8192, 65535, 65536, 65537]
  private static let sizes = [0, 1, 4095, 4096, 4097, 12_288, 65_535, 65_536, 65_537, 70_000]

  /// What a change does to the group and to the array.
  private typealias Change = (Group, Region, inout [UInt8]) async throws -> Void

  private func compare(_ changes: [(name: String, change: Change)]) async throws {
    let world = try World()
    let daemon = try world.host(1)
    let group = try await daemon.create()
    try group.make("f")
    let region = try group.region("f")
    for size in Self.sizes {
      for (name, change) in changes {
        try await group.perform(region) { group.resize(region, to: 0) }
        var expected = World.pattern(size)
        try await group.put(expected, region, at: 0)
        try await change(group, region, &expected)
        #expect(Int(region.size) == expected.count, "\(name) of \(size)")
        // What lies behind the end must be zero as well, or it would come up again.
        try await group.perform(region) { group.resize(region, to: 150_000) }
        let whole = expected + [UInt8](repeating: 0, count: 150_000 - expected.count)
        guard try await region.contents(0..<150_000) == whole else {
          Issue.record("\(name) of \(size)")
          continue
        }
      }
      try await group.committed()
      let last = try await group.contents("f")
      #expect(try await world.elsewhere(group.id)["f"] == last)
    }
  }

  @Test func writesAgreeWithAnArray() async throws {
    var changes: [(String, Change)] = []
    for offset in Self.edges {
      for length in [1, 2, 4095, 4096, 4097, 9000] {
        changes.append(
          (
            "write \(offset)+\(length)",
            { (group, region, bytes) in
              let new = World.pattern(length, 0x54)
              try await group.put(new, region, at: offset)
              bytes += [UInt8](repeating: 0, count: max(0, offset + length - bytes.count))
              bytes.replaceSubrange(offset..<offset + length, with: new)
            }
          ))
      }
    }
    try await compare(changes)
  }

  @Test func zerosAgreeWithAnArray() async throws {
    var changes: [(String, Change)] = []
    for offset in Self.edges {
      for length in [1, 4095, 4096, 4097, 70_000] {
        for grows in [false, true] {
          changes.append(
            (
              "zero \(offset)+\(length)\(grows ? " growing" : "")",
              { (group, region, bytes) in
                let end = offset + length
                let size = grows ? UInt64(max(bytes.count, end)) : nil
                try await group.perform(region) {
                  group.zero(region, UInt64(offset)..<UInt64(end), size: size)
                }
                if grows { bytes += [UInt8](repeating: 0, count: max(0, end - bytes.count)) }
                let range = (offset..<end).clamped(to: 0..<bytes.count)
                bytes.replaceSubrange(range, with: repeatElement(0, count: range.count))
              }
            ))
        }
      }
    }
    try await compare(changes)
  }

  @Test func sizesAgreeWithAnArray() async throws {
    try await compare(
      Self.edges.map { size in
        (
          "resize to \(size)",
          { (group, region, bytes) in
            try await group.perform(region) { group.resize(region, to: UInt64(size)) }
            bytes = Array(bytes.prefix(size))
            bytes += [UInt8](repeating: 0, count: size - bytes.count)
          }
        )
      })
  }

  @Test func writingWhatIsThereLogsNoPages() async throws {
    let group = try await World().host(1).create()
    try group.make("f")
    let region = try group.region("f")
    let bytes = World.pattern(20_000)
    try await group.put(bytes, region, at: 0)
    var before = group.uncommittedBytes
    // The kernel writes back more than was dirtied: nothing happened.
    let page = IOBuffer(Array(bytes[4096..<8192]))
    try await group.perform(region) {
      unsafe group.write(region, at: 4096, page.bytes, isWriteBack: true)
    }
    #expect(group.uncommittedBytes == before)
    // A program wrote: its time is an accepted change, its bytes are none.
    try await group.put(bytes, region, at: 0)
    try await group.put(Array(bytes[5000..<6000]), region, at: 5000)
    #expect(group.uncommittedBytes - before < 500)
    before = group.uncommittedBytes
    // One byte of five pages: one page.
    var changed = bytes
    changed[9000] ^= 1
    try await group.put(changed, region, at: 0)
    #expect(group.uncommittedBytes - before < 4096 + 200)
  }

  /// A bug that was: what a page held before was read from the disk to see whether it changes. The msync of
  /// 2,000 scattered pages took six times as long in a file that had just been pulled as in one whose bytes
  /// were in memory.
  @Test func oldBytesOfAPageAreNotReadFromTheDisk() async throws {
    let group = try await World().host(1).create()
    try group.make("f")
    let region = try group.region("f")
    let bytes = World.pattern(5 * 4096)
    try await group.put(bytes, region, at: 0)
    func logged(pages: Range<Int>) async throws -> UInt64 {
      region.data.dropCached(0..<UInt64(bytes.count))
      let before = group.uncommittedBytes
      let same = IOBuffer(Array(bytes[pages.lowerBound * 4096..<pages.upperBound * 4096]))
      try await group.perform(region) {
        unsafe group.write(
          region, at: UInt64(pages.lowerBound) * 4096, same.bytes, isWriteBack: true)
      }
      return group.uncommittedBytes - before
    }
    #expect(try await logged(pages: 1..<2) >= 4096)
    #expect(try await logged(pages: 1..<4) == 0, "most of them may not have been dirtied")
  }

  @Test func beyondTheLargestRegionIsRefused() async throws {
    let group = try await World().host(1).create()
    try group.make("f")
    let region = try group.region("f")
    let largest = Int(Limits.regionSize)
    await #expect(throws: RegionError.tooLarge) { try await group.put([1], region, at: largest) }
    await #expect(throws: RegionError.tooLarge) {
      try await group.perform(region) { group.resize(region, to: Limits.regionSize + 1) }
    }
    try await group.put([1], region, at: largest - 1)
    #expect(region.size == Limits.regionSize)
    #expect(try await region.contents(largest - 3..<largest) == [0, 0, 1])
    try await group.perform(region) { group.resize(region, to: 5) }
    try await group.committed()
  }
}
