@testable import CurlKit
import Foundation
import RegionCore
import RegionTesting
import Testing

@testable import S3Store

/// A clock that is wrong by a fixed time.
struct SkewedClock: EngineClock {
  var offset: Duration
  var now: MonotonicTime { SystemClock().now }
  var wall: Timestamp {
    Timestamp(
      nanoseconds: SystemClock().wall.nanoseconds + offset.components.seconds * 1_000_000_000)
  }
  func sleep(for duration: Duration) async { await SystemClock().sleep(for: duration) }
}

/// Against a real server.
@Suite struct SeaweedTests {
  /// One server for all tests here: it takes seconds to start.
  static let shared = Task { try await SeaweedServer.start() }

  static func store(prefix: String = "p-\(UInt64.random(in: 0 ... .max))") async throws -> S3Store {
    try await shared.value.store(prefix: prefix)
  }

  /// A store with one thing about it changed.
  static func store(
    bucket: String = "bucket-a", secret: String? = nil, clock: any EngineClock = SystemClock()
  ) async throws -> S3Store {
    let server = try await shared.value
    let environment = server.environment.merging(
      secret.map { ["AWS_SECRET_ACCESS_KEY": $0] } ?? [:]
    ) { $1 }
    let configuration = try S3Configuration(url: "s3://\(bucket)/p", environment: environment)
    return try S3Store(configuration, clock: clock)
  }

  static func key(_ text: String) throws -> ObjectKey { try #require(ObjectKey(text)) }

  /// The error that an operation throws.
  static func error(_ body: () async throws -> Void) async throws -> StoreError {
    do {
      try await body()
    } catch let error as StoreError {
      return error
    }
    throw FixtureError("no error was thrown")
  }

  @Test func wholeAndRangeReads() async throws {
    let store = try await Self.store()
    let key = try Self.key("g/some/object-1")
    let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
    let etag = try await store.put(key, IOBuffer(bytes), condition: .none, priority: .demand)
    let whole = IOBuffer(capacity: 300_000)
    let info = try await store.get(key, range: nil, into: whole, priority: .demand)
    #expect(info == ObjectInfo(etag: etag, totalLength: 300_000))
    #expect(whole.array == bytes)
    let part = IOBuffer(capacity: 8192)
    for range in [4096..<12_288, 0..<1, 299_999..<300_000, 295_000..<300_000] as [Range<UInt64>] {
      let partInfo = try await store.get(key, range: range, into: part, priority: .background)
      #expect(partInfo == info)
      #expect(part.array == Array(bytes[Int(range.lowerBound)..<Int(range.upperBound)]))
    }
    for range in [299_999..<300_001, 300_000..<300_001, 400_000..<400_010] as [Range<UInt64>] {
      let error = try await Self.error {
        _ = try await store.get(key, range: range, into: part, priority: .demand)
      }
      #expect(error.kind == .damagedAnswer, "\(error)")
    }
    let small = IOBuffer(capacity: 299_999)
    let error = try await Self.error {
      _ = try await store.get(key, range: nil, into: small, priority: .demand)
    }
    #expect(error.kind == .tooLarge)
  }

  @Test func anEmptyObject() async throws {
    let store = try await Self.store()
    let key = try Self.key("empty")
    let etag = try await store.put(key, IOBuffer([]), condition: .absent, priority: .demand)
    let info = try await store.get(
      key, range: nil, into: IOBuffer(capacity: 0), priority: .demand)
    #expect(info == ObjectInfo(etag: etag, totalLength: 0))
    let error = try await Self.error {
      _ = try await store.put(key, IOBuffer([]), condition: .absent, priority: .demand)
    }
    #expect(error.kind == .preconditionFailed)
  }

  @Test func absentObjectsAndDeletes() async throws {
    let store = try await Self.store()
    let key = try Self.key("a/b")
    let error = try await Self.error {
      _ = try await store.get(key, range: nil, into: IOBuffer(capacity: 1), priority: .demand)
    }
    #expect(error.kind == .notFound && error.object == "\(store.address)/a/b")
    try await store.delete(key)
    _ = try await store.put(key, IOBuffer([1]), condition: .none, priority: .demand)
    try await store.delete(key)
    try await store.delete(key)
    let page = try await store.list(prefix: "", from: nil, limit: 10)
    #expect(page.keys.isEmpty)
  }

  @Test func wrongSecretBucketAndKey() async throws {
    let key = try Self.key("k")
    let secret = try await Self.error {
      let store = try await Self.store(secret: "wrong")
      _ = try await store.list(prefix: "", from: nil, limit: 1)
    }
    #expect(secret.kind == .accessDenied)
    #expect(secret.detail.contains("SignatureDoesNotMatch"), "\(secret)")
    #expect(secret.detail.contains("AWS_ACCESS_KEY_ID") && !secret.detail.contains("wrong"))
    let missing = try await Self.store(bucket: "no-such-bucket")
    let get = try await Self.error {
      _ = try await missing.get(key, range: nil, into: IOBuffer(capacity: 1), priority: .demand)
    }
    #expect(get.kind == .noSuchContainer, "\(get)")
    let list = try await Self.error {
      _ = try await missing.list(prefix: "", from: nil, limit: 1)
    }
    #expect(list.kind == .noSuchContainer, "\(list)")
    // A PUT would make the bucket: SeaweedFS does that for a key that may.
  }

  @Test(arguments: [-86_400, 86_400])
  func aWrongClockIsSaidToBeWrong(_ seconds: Int) async throws {
    let store = try await Self.store(clock: SkewedClock(offset: .seconds(seconds)))
    let error = try await Self.error { _ = try await store.list(prefix: "", from: nil, limit: 1) }
    #expect(error.kind == .clockSkew, "\(error)")
    #expect(error.detail.contains("set the clock"))
  }

  @Test func oneOfManyConditionalPutsWins() async throws {
    let store = try await Self.store()
    // Three rounds: whoever loses waits for a second of the server's at times.
    for round in 0..<3 {
      let key = try Self.key("race/\(round)")
      let created = await Self.race(store, key, .absent)
      #expect(created.wins.count == 1 && created.losers == 3)
      let current = try #require(created.wins.first)
      let swapped = await Self.race(store, key, .matches(current))
      #expect(swapped.wins.count == 1 && swapped.losers == 3)
      let buffer = IOBuffer(capacity: 100)
      let info = try await store.get(key, range: nil, into: buffer, priority: .demand)
      #expect(info.etag == swapped.wins.first)
    }
    let absent = try Self.key("race/absent")
    let error = try await Self.error {
      _ = try await store.put(
        absent, IOBuffer([1]), condition: .matches(ETag("\"abc\"")), priority: .demand)
    }
    #expect(error.kind == .preconditionFailed)
  }

  /// Four PUTs at once; bodies differ, so that versions do.
  static func race(_ store: S3Store, _ key: ObjectKey, _ condition: PutCondition) async -> (
    wins: [ETag], losers: Int
  ) {
    await withTaskGroup(of: ETag?.self) { group in
      for number in 0..<4 {
        group.addTask {
          let body = IOBuffer(Array("\(condition) \(number)".utf8))
          do throws(StoreError) {
            return try await store.put(key, body, condition: condition, priority: .demand)
          } catch {
            #expect(error.kind == .preconditionFailed || error.kind == .conflict, "\(error)")
            return nil
          }
        }
      }
      return await group.reduce(into: ([], 0)) { result, etag in
        if let etag { result.0.append(etag) } else { result.1 += 1 }
      }
    }
  }

  @Test(arguments: [
    "plain", "with blank", "plus+and%percent", "a=b&c?d#e", "q'u\"o`tes", "(par)[en]{th}<es>",
    "semi;colon:comma,at@$!*~|^", "ümläut/日本/😀", "deep/er/and/deeper",
  ])
  func everyCharacterInAPrefix(_ prefix: String) async throws {
    let store = try await Self.store(prefix: prefix)
    let key = try Self.key("g/A-b_c.d")
    let bytes = Array(prefix.utf8)
    _ = try await store.put(key, IOBuffer(bytes), condition: .absent, priority: .demand)
    let buffer = IOBuffer(capacity: 1000)
    _ = try await store.get(key, range: nil, into: buffer, priority: .demand)
    #expect(buffer.array == bytes)
    #expect(try await store.list(prefix: "g/", from: nil, limit: 10).keys == [key])
    // The URL that is signed in its query, read by a program that signs nothing.
    let response = try await HTTPClient().perform(
      HTTPRequest(.get, store.presignedURL(key, seconds: 60)))
    #expect(response.status == 200 && response.body == bytes)
    try await store.delete(key)
    #expect(try await store.list(prefix: "g/", from: nil, limit: 10).keys.isEmpty)
  }

  @Test func listingsGoOnPageByPage() async throws {
    let store = try await Self.store()
    let keys = try (0..<1100).map { try Self.key(String(format: "l/%04d", $0)) }
    try await withThrowingTaskGroup(of: Void.self) { group in
      for key in keys + [try Self.key("m")] {
        group.addTask {
          _ = try await store.put(key, IOBuffer([1]), condition: .none, priority: .background)
        }
      }
      try await group.waitForAll()
    }
    for limit in [1000, 300] {
      var found: [ObjectKey] = []
      var token: String?
      var pages = 0
      repeat {
        let page = try await store.list(prefix: "l/", from: token, limit: limit)
        #expect(page.keys.count <= limit)
        found += page.keys
        token = page.next
        pages += 1
      } while token != nil && pages < 20
      #expect(found == keys)
      #expect(pages >= (1100 + limit - 1) / limit)
    }
  }

  @Test func connectionsAreFewAndReused() async throws {
    let store = try await Self.store()
    let key = try Self.key("k")
    _ = try await store.put(key, IOBuffer([1, 2, 3]), condition: .none, priority: .demand)
    for _ in 0..<50 {
      _ = try await store.get(key, range: 0..<2, into: IOBuffer(capacity: 2), priority: .demand)
    }
    #expect(store.statistics == HTTPStatistics(transfers: 51, connections: 1))
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<400 {
        group.addTask {
          _ = try await store.get(
            key, range: 0..<2, into: IOBuffer(capacity: 2), priority: .background)
        }
      }
      try await group.waitForAll()
    }
    #expect(store.statistics.connections <= HTTPConfiguration().backgroundLimit)
  }

  @Test func aBodyThatChangedUnderWayIsRefusedByTheServer() async throws {
    let store = try await Self.store()
    let call = Call("PUT", "k", in: store)
    var request = CallRequest(.put)
    request.body = HTTPBody(Array("hello".utf8))
    request.headers = [HTTPHeader("x-amz-checksum-crc32c", Base64.encode(UInt32(1)))]
    let error = try await Self.error { _ = try await store.perform(call, request) }
    #expect(error.kind == .unavailable || error.kind == .badRequest, "\(error)")
    #expect(try await store.list(prefix: "", from: nil, limit: 1).keys.isEmpty)
  }

  @Test func anUnreachableEndpoint() async throws {
    let configuration = try S3Configuration(
      url: "s3://bucket-a", options: S3Options(endpoint: "http://127.0.0.1:1"),
      environment: ["AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S"])
    let store = try S3Store(configuration)
    let error = try await Self.error { _ = try await store.list(prefix: "", from: nil, limit: 1) }
    #expect(error.kind == .unavailable && error.isRetryable)
    #expect(error.description.contains("127.0.0.1"))
  }
}
