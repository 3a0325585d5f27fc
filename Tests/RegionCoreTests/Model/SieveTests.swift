import RegionTesting
import Testing

@testable import RegionCore

/// The eviction's order, against a list that is looked at by hand and against LRU.
@Suite struct SieveTests {
  /// A cache of so many chunks, with the marks that chunk words have in a region.
  private struct Cache {
    let capacity: Int
    var sieve = Sieve()
    var present = Set<UInt32>()
    var visited = Set<UInt32>()
    var hits = 0

    init(_ capacity: Int) { self.capacity = capacity }

    /// Reads a chunk, with as many READs as it takes.
    mutating func read(_ chunk: UInt32, reads: Int = 1) {
      if present.contains(chunk) {
        hits += 1
        visited.insert(chunk)
      } else {
        while present.count >= capacity { evictOne() }
        insert(chunk)
      }
      for _ in 1..<reads { visited.insert(chunk) }
    }

    private mutating func insert(_ chunk: UInt32) {
      present.insert(chunk)
      visited.insert(chunk)
      var settled: [UInt32] = []
      sieve.insert(CachedChunk(region: 1, chunk: chunk)) { settled.append($0.chunk) }
      for chunk in settled { visited.remove(chunk) }
    }

    private mutating func evictOne() {
      var visited = self.visited
      let found = sieve.next { key in
        guard present.contains(key.chunk) else { return .gone }
        return visited.remove(key.chunk) == nil ? .unused : .used
      }
      self.visited = visited
      guard let found else {
        Issue.record("nothing can go of \(present.count)")
        return present = []
      }
      sieve.remove(found.place)
      present.remove(found.key.chunk)
    }
  }

  private struct LRU {
    let capacity: Int
    var order: [UInt32] = []
    var hits = 0

    mutating func read(_ chunk: UInt32) {
      if let at = order.firstIndex(of: chunk) {
        hits += 1
        order.remove(at: at)
      } else if order.count == capacity {
        order.removeFirst()
      }
      order.append(chunk)
    }
  }

  @Test func whatIsUsedAgainSurvivesAScanOfTenTimesTheCache() {
    var cache = Cache(400)
    let favourites = UInt32(0)..<200
    for _ in 0..<3 { for chunk in favourites { cache.read(chunk) } }
    // The favourites have to leave the probation, and be used after that.
    for chunk in UInt32(1000)..<1300 { cache.read(chunk, reads: 4) }
    for chunk in favourites { cache.read(chunk) }
    for chunk in UInt32(2000)..<6000 {
      cache.read(chunk, reads: 4)
      if chunk % 10 == 0 { for favourite in favourites { cache.read(favourite) } }
    }
    #expect(favourites.allSatisfy { cache.present.contains($0) })
  }

  @Test func manyReadsOfOneChunkInAScanAreOneUse() {
    var cache = Cache(100)
    for chunk in UInt32(0)..<1000 { cache.read(chunk, reads: 64) }
    cache.hits = 0
    // Had each counted, the hand would have gone round and round.
    for chunk in UInt32(900)..<1000 { cache.read(chunk) }
    #expect(cache.hits > 0)
    #expect(cache.present.count == 100)
  }

  /// Uneven popularity, now and then a scan, as a database with a backup running.
  @Test func itHitsMoreOftenThanLRUWhereScansPass() {
    var random = SplitMix64(seed: 4)
    var (sieve, lru) = (Cache(500), LRU(capacity: 500))
    for round in 0..<20_000 {
      let chunk: UInt32
      if round / 1000 % 4 == 3 {
        chunk = 100_000 + UInt32(round)
      } else {
        let a = UInt32.random(in: 0..<2000, using: &random)
        chunk = min(a, UInt32.random(in: 0..<2000, using: &random))
      }
      sieve.read(chunk)
      lru.read(chunk)
    }
    #expect(sieve.hits > lru.hits)
  }

  @Test(arguments: 1...20) func theQueueNamesEachChunkOnceAndForgetsNone(seed: Int) {
    var random = SplitMix64(seed: UInt64(seed))
    var sieve = Sieve()
    var queued = Set<UInt32>()
    var dropped = Set<UInt32>()
    var next = UInt32(1)
    for _ in 0..<5000 {
      if random.oneIn(2) {
        sieve.insert(CachedChunk(region: 1, chunk: next)) { _ in }
        queued.insert(next)
        next += 1
        continue
      }
      // Chunks that went by other ways are found out when the hand comes.
      if random.oneIn(4), let gone = queued.randomElement(using: &random) { dropped.insert(gone) }
      let victim = sieve.next { key in
        guard dropped.contains(key.chunk) else { return random.oneIn(3) ? .used : .unused }
        queued.remove(key.chunk)
        return .gone
      }
      guard let victim else { continue }
      #expect(queued.contains(victim.key.chunk) && !dropped.contains(victim.key.chunk))
      if random.oneIn(2) {
        sieve.remove(victim.place)
        queued.remove(victim.key.chunk)
      }
    }
    #expect(sieve.count == queued.count)
  }
}

/// Chunks with uncommitted changes, beside a plain list of records.
@Suite struct UncommittedChunkTests {
  @Test(arguments: 1...50) func nothingUncommittedIsForgotten(seed: Int) {
    var random = SplitMix64(seed: UInt64(seed))
    var chunks = UncommittedChunks()
    var records: [(chunks: Range<ChunkIndex>, sequence: SequenceNumber)] = []
    var cut: SequenceNumber = 0
    for sequence in SequenceNumber(1)...600 {
      let first = ChunkIndex.random(in: 0..<5000, using: &random)
      let count = ChunkIndex.random(in: 0..<(random.oneIn(2) ? 300 : 4), using: &random)
      records.append((first..<first + count, sequence))
      chunks.note(first..<first + count, sequence)
      if random.oneIn(50) {
        cut = SequenceNumber.random(in: cut...sequence, using: &random)
        chunks.commit(through: cut)
        records.removeAll { $0.sequence <= cut }
      }
      let probe = ChunkIndex.random(in: 0..<5000, using: &random)
      if records.contains(where: { $0.chunks.contains(probe) }) { #expect(chunks.contains(probe)) }
    }
    for chunk in ChunkIndex(0)..<5300 where records.contains(where: { $0.chunks.contains(chunk) }) {
      #expect(chunks.contains(chunk))
    }
    chunks.commit(through: 600)
    #expect(chunks.isEmpty)
  }
}
