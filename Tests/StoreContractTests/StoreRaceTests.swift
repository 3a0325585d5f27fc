import RegionCore
import RegionTesting
import Testing

/// What of the contract only shows when several do it at once.
@Suite struct StoreRaceTests {
  private static let writers = 8

  /// Runs one racing PUT per writer; how many won, and which.
  private func race(
    _ store: any ObjectStore, _ key: ObjectKey, _ condition: PutCondition, round: Int
  ) async throws -> [Int] {
    try await withThrowingTaskGroup(of: Int?.self) { group in
      for writer in 0..<Self.writers {
        group.addTask {
          do {
            try await store.put(key, Self.body(writer, round), condition)
            return writer
          } catch let error as StoreError
            where error.kind == .preconditionFailed || error.kind == .conflict
          {
            return nil
          }
        }
      }
      var winners: [Int] = []
      for try await writer in group { if let writer { winners.append(writer) } }
      return winners
    }
  }

  private static func body(_ writer: Int, _ round: Int) -> [UInt8] {
    [UInt8](repeating: UInt8(writer), count: 1000 + round)
  }

  @Test(arguments: StoreUnderTest.all)
  func exactlyOneMakesAnObject(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    for round in 0..<kind.raceRounds {
      let key = try key("race/\(round)")
      let winners = try await race(store, key, .absent, round: round)
      #expect(winners.count == 1, "round \(round)")
      let winner = try #require(winners.first)
      #expect(try await store.get(key).bytes == Self.body(winner, round))
    }
  }

  @Test(arguments: StoreUnderTest.all)
  func exactlyOneSwaps(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    let key = try key("race/root")
    var etag = try await store.put(key, [0])
    for round in 0..<kind.raceRounds {
      let winners = try await race(store, key, .matches(etag), round: round)
      #expect(winners.count == 1, "round \(round)")
      let found = try await store.get(key)
      #expect(found.bytes == Self.body(try #require(winners.first), round))
      #expect(found.info.etag != etag)
      etag = found.info.etag
    }
  }

  @Test(arguments: StoreUnderTest.all)
  func noIncrementIsLost(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    let key = try key("counter")
    try await store.put(key, [0])
    try await withThrowingTaskGroup { group in
      for _ in 0..<4 {
        group.addTask {
          var done = 0
          while done < 10 {
            let found = try await store.get(key)
            let next = [try #require(found.bytes.first) + 1]
            let lost = try await failure {
              try await store.put(key, next, .matches(found.info.etag))
            }
            if lost == nil {
              done += 1
            } else {
              #expect(lost == .preconditionFailed || lost == .conflict)
            }
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try await store.get(key).bytes == [40])
  }

  /// While one writer replaces an object with bodies of many lengths, each of one repeated byte,
  /// readers see whole bodies only.
  @Test(arguments: StoreUnderTest.all)
  func readersSeeWholeObjects(_ kind: StoreUnderTest) async throws {
    let (store, keeper) = try await kind.make()
    defer { withExtendedLifetime(keeper) {} }
    let key = try key("g/root")
    func length(_ byte: UInt8) -> Int { 1 + Int(byte) * 997 }
    try await store.put(key, [UInt8](repeating: 0, count: length(0)))
    try await withThrowingTaskGroup { group in
      group.addTask {
        for byte in 1..<100 as Range<UInt8> {
          try await store.put(key, [UInt8](repeating: byte, count: length(byte)))
        }
      }
      for _ in 0..<3 {
        group.addTask {
          var seen: UInt8 = 0
          while seen < 99 {
            let bytes = try await store.get(key).bytes
            let byte = try #require(bytes.first)
            #expect(bytes == [UInt8](repeating: byte, count: length(byte)))
            #expect(byte >= seen, "an older version came back")
            seen = byte
          }
        }
      }
      try await group.waitForAll()
    }
  }
}
