import RegionTesting
import Synchronization
import Testing

@testable import RegionCore

/// Pulled chunks that stay in memory: they are what is in the data file, or nobody is given them.
@Suite struct HotChunkTests {
  private static let chunk = 1 << 16
  private static let chunks = 40

  /// A cold host that has read a region of `chunks` chunks ahead, with its claim.
  private func readAhead(_ world: World, _ content: [UInt8], _ number: Int = 1) async throws -> (
    Group, Region
  ) {
    let daemon = try world.host(number)
    let group = try await daemon.load(try await world.group(content))
    try await group.claim()
    let region = try group.region("f")
    for chunk in 0..<Self.chunks {
      let start = chunk * Self.chunk
      #expect(try await region.contents(start..<start + 100) == Array(content[start..<start + 100]))
    }
    try await eventually("all chunks are here") {
      region.chunksPresent.load(ordering: .relaxed) >= Self.chunks
    }
    return (group, region)
  }

  private static func isLent(_ region: Region, _ chunk: Int) -> Bool {
    let buffer = IOBuffer(capacity: 4096)
    guard
      case .lent(let loan) = unsafe region.readPresent(
        UInt64(chunk * Self.chunk), into: buffer.memory)
    else { return false }
    region.giveBack(loan)
    return true
  }

  @Test func whatWasReadAheadIsLentUntilItChanges() async throws {
    let content = World.pattern(Self.chunks * Self.chunk)
    let (group, region) = try await readAhead(try World(), content)
    let lent = (0..<Self.chunks).filter { Self.isLent(region, $0) }
    #expect(lent.count > Self.chunks / 2)
    #expect(region.engine.hotChunks.byteCount >= lent.count * Self.chunk)
    #expect(try await group.contents("f") == content)

    let victims = Array(lent.suffix(4))
    var expected = content
    // A whole page, a part of one, zeros within the chunk, the whole chunk zero.
    let start = victims.map { $0 * Self.chunk }
    let page = World.pattern(4096, 0x33)
    try await group.put(page, region, at: start[0] + 8192)
    expected.replaceSubrange(start[0] + 8192..<start[0] + 12_288, with: page)
    try await group.put([1, 2, 3], region, at: start[1] + 5)
    expected.replaceSubrange(start[1] + 5..<start[1] + 8, with: [1, 2, 3])
    for (from, count) in [(start[2] + 100, 9000), (start[3], Self.chunk)] {
      try await group.perform(region) {
        group.zero(region, UInt64(from)..<UInt64(from + count), size: nil)
      }
      expected.replaceSubrange(from..<from + count, with: repeatElement(0, count: count))
    }
    for victim in victims { #expect(!Self.isLent(region, victim)) }
    #expect(try await group.contents("f") == expected)

    // Cut within a lent chunk and grown again: what was cut off is zero.
    let cut = lent[2] * Self.chunk + 5000
    for size in [cut, expected.count] {
      try await group.perform(region) { group.resize(region, to: UInt64(size)) }
    }
    expected.replaceSubrange(cut..., with: repeatElement(0, count: expected.count - cut))
    #expect(try await group.contents("f") == expected)
    group.closeRegions()
    #expect(region.engine.hotChunks.byteCount == 0)
  }

  @Test func aReadAfterAnAnsweredWriteNeverFindsLentOldBytes() async throws {
    let content = [UInt8](repeating: 0, count: Self.chunks * Self.chunk)
      .enumerated().map { $0.offset % 4096 == 8 ? 1 : $0.element }
    for round in 1...8 {
      let (group, region) = try await readAhead(try World(), content, round)
      let answered = (0..<Self.chunks).map { _ in AtomicByte() }
      let shared = Shared()
      await withTaskGroup { tasks in
        for reader in 0..<2 {
          tasks.addTask {
            var random = SplitMix64(seed: UInt64(reader + 10 * round))
            let buffer = IOBuffer(capacity: 4096)
            while !shared.isOver.load(ordering: .relaxed) {
              await Task.yield()  // The pool may have no more threads than there are readers.
              let chunk = Int.random(in: 0..<Self.chunks, using: &random)
              let least = answered[chunk].value.load(ordering: .acquiring)
              let offset = UInt64(chunk * Self.chunk)
              var seen: UInt8?
              switch unsafe region.readPresent(offset, into: buffer.memory) {
              case .bytes: seen = unsafe buffer.memory[0]
              case .lent(let loan):
                seen = unsafe loan.bytes[0]
                region.giveBack(loan)
              case .missed, .failed: break
              }
              if seen.map({ $0 < least }) ?? true { shared.wrong.add(1, ordering: .relaxed) }
            }
          }
        }
        tasks.addTask {
          for generation in UInt8(1)...20 {
            for chunk in 0..<Self.chunks {
              let page = [UInt8](repeating: generation, count: 4096)
              do { try await group.put(page, region, at: chunk * Self.chunk) } catch {
                shared.wrong.add(1, ordering: .relaxed)
              }
              answered[chunk].value.store(generation, ordering: .releasing)
            }
          }
          shared.isOver.store(true, ordering: .relaxed)
        }
      }
      #expect(shared.wrong.load(ordering: .relaxed) == 0)
    }
  }

  private final class AtomicByte: Sendable { let value = Atomic<UInt8>(0) }

  private final class Shared: Sendable {
    let wrong = Atomic<Int>(0)
    let isOver = Atomic<Bool>(false)
  }

  @Test func lettingGoWaitsForReadersAndKeepsTheLimit() async throws {
    let size = 1 << 16
    let table = ChunkTable(geometry: try #require(Geometry(chunkSize: 1 << 16)))
    let hot = HotChunks(limit: 4 * size)
    let pool = BufferPool(limit: 1 << 20)
    let shared = Shared()
    await withTaskGroup { tasks in
      for reader in 0..<2 {
        tasks.addTask {
          var random = SplitMix64(seed: UInt64(reader))
          while !shared.isOver.load(ordering: .relaxed) {
            await Task.yield()  // The pool may have no more threads than there are readers.
            let chunk = UInt64.random(in: 0..<64, using: &random)
            guard case .entered = table.enter(chunk) else { continue }
            if let slot = table.hotSlot(chunk) {
              let bytes = unsafe hot.bytes(slot, 0..<size)
              let isRight = unsafe bytes.first == UInt8(chunk) && bytes.last == UInt8(chunk)
              if !isRight { shared.wrong.add(1, ordering: .relaxed) }
            }
            table.leave(chunk)
          }
        }
      }
      tasks.addTask {
        var random = SplitMix64(seed: 99)
        var now = SystemClock().now
        for _ in 0..<4000 {
          let chunk = UInt64.random(in: 0..<64, using: &random)
          table.setAbsent(chunk)
          table.waitForReaders(of: chunk)
          let buffer = pool.take(size)
          buffer.count = size
          unsafe buffer.memory.initializeMemory(as: UInt8.self, repeating: UInt8(chunk))
          let pooled = PooledBuffer(buffer, pool: pool)
          guard hot.hasRoom(for: size, at: now) else {
            now = now + .seconds(1)
            table.setPresent(chunk)
            continue
          }
          hot.add(.init(buffer: pooled, offset: 0, count: size), as: chunk, of: table, at: now)
          table.setPresent(chunk)
          if hot.byteCount > hot.limit { shared.wrong.add(1, ordering: .relaxed) }
        }
        shared.isOver.store(true, ordering: .relaxed)
      }
    }
    #expect(shared.wrong.load(ordering: .relaxed) == 0)
    #expect(hot.byteCount == hot.limit)
    hot.removeAll(of: table)
    #expect(hot.byteCount == 0)
    for chunk in UInt64(0)..<64 { #expect(table.hotSlot(chunk) == nil) }
  }
}
