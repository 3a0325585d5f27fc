import RegionCore
import RegionTesting
import Synchronization
import Testing

@testable import S3Store

/// The store against a server that misbehaves as each test says.
@Suite struct ScriptedStoreTests {
  static let bytes = (0..<1000).map { UInt8(truncatingIfNeeded: $0) }

  static func store(
    _ server: ScriptedServer, clock: any EngineClock = SystemClock(),
    credentials: any CredentialsSource = StaticCredentials(
      Credentials(accessKey: "K", secretKey: "S", source: "the test"))
  ) throws -> S3Store {
    let configuration = try S3Configuration(
      url: "s3://bucket/p", options: S3Options(endpoint: server.url), environment: [:])
    return try S3Store(configuration, credentials: credentials, clock: clock)
  }

  static func key() throws -> ObjectKey { try #require(ObjectKey("k")) }

  /// What a GET of `range` comes to when the server answers so.
  static func get(_ answer: ScriptedAnswer, _ range: Range<UInt64>?, capacity: Int = 1000)
    async throws -> Result<ObjectInfo, StoreError>
  {
    let server = try ScriptedServer { _ in answer }
    defer { server.stop() }
    let buffer = IOBuffer(capacity: capacity)
    let store = try store(server)
    let key = try key()
    do throws(StoreError) {
      let info = try await store.get(key, range: range, into: buffer, priority: .demand)
      #expect(
        buffer.array == Array(bytes[Int(range?.lowerBound ?? 0)..<Int(range?.upperBound ?? 1000)]))
      return .success(info)
    } catch {
      #expect(buffer.count == 0)
      return .failure(error)
    }
  }

  static func kind(_ answer: ScriptedAnswer, _ range: Range<UInt64>?, capacity: Int = 1000)
    async throws -> StoreError.Kind?
  {
    if case .failure(let error) = try await get(answer, range, capacity: capacity) {
      return error.kind
    }
    return nil
  }

  static func answer(
    _ status: Int, _ range: Range<Int>, says text: String?, _ more: [String: String] = [:]
  ) -> ScriptedAnswer {
    var headers = ["ETag": "\"e\""].merging(more) { $1 }
    headers["Content-Range"] = text
    return .reply(status, headers, Array(bytes[range]))
  }

  @Test func rangesInEveryDialect() async throws {
    let info = ObjectInfo(etag: ETag("\"e\""), totalLength: 1000)
    #expect(
      try await Self.get(Self.answer(206, 10..<20, says: "bytes 10-19/1000"), 10..<20)
        == .success(info))
    // rclone says 200.
    #expect(
      try await Self.get(Self.answer(200, 10..<20, says: "bytes 10-19/1000"), 10..<20)
        == .success(info))
    // A store without ranges, asked for the whole.
    #expect(try await Self.get(Self.answer(200, 0..<1000, says: nil), 0..<1000) == .success(info))
  }

  @Test func answersToRangesThatAreNotWhatWasAsked() async throws {
    for answer in [
      Self.answer(206, 10..<19, says: "bytes 10-18/1000"),
      Self.answer(206, 10..<20, says: "bytes 11-20/1000"),
      Self.answer(206, 11..<21, says: "bytes 11-20/1000"),
      Self.answer(206, 10..<20, says: "bytes 10-19/*"),
      Self.answer(206, 10..<20, says: "nonsense"),
      Self.answer(206, 10..<20, says: nil), Self.answer(200, 10..<20, says: nil),
      Self.answer(200, 0..<1000, says: nil), Self.answer(206, 10..<40, says: "bytes 10-39/1000"),
      Self.answer(206, 10..<10, says: "bytes 10-19/1000"),
      .reply(206, ["Content-Range": "bytes 10-19/1000"], Array(Self.bytes[10..<20])),
      .rawThenClose(
        Array(
          "HTTP/1.1 206 x\r\nETag: e\r\nContent-Length: 10\r\nContent-Range: bytes 10-19/1000\r\n\r\nfour"
            .utf8)),
      .reply(416, [:], "<Error><Code>InvalidRange</Code></Error>"),
    ] {
      #expect(try await Self.kind(answer, 10..<20) == .damagedAnswer, "\(answer)")
    }
  }

  @Test func buffersThatAreTooSmall() async throws {
    #expect(
      try await Self.kind(Self.answer(200, 0..<1000, says: nil), nil, capacity: 999) == .tooLarge)
    #expect(
      try await Self.kind(Self.answer(206, 0..<10, says: "bytes 0-9/1000"), 0..<10, capacity: 9)
        == .tooLarge)
    #expect(try await Self.kind(Self.answer(206, 0..<0, says: nil), 5..<5) == .badRequest)
  }

  @Test func checksumsOfWholeObjectsAreVerified() async throws {
    let right = Base64.encode(CRC32C.checksum(Self.bytes))
    func answer(_ checksum: String, _ more: [String: String] = [:]) -> ScriptedAnswer {
      Self.answer(
        200, 0..<1000, says: nil, more.merging(["x-amz-checksum-crc32c": checksum]) { $1 })
    }
    #expect(try await Self.kind(answer(right), nil) == nil)
    #expect(try await Self.kind(answer("AAAAAA=="), nil) == .damagedAnswer)
    // Of the parts of a multipart upload: says nothing about the whole.
    #expect(try await Self.kind(answer("AAAAAA==-3"), nil) == nil)
    #expect(
      try await Self.kind(answer("AAAAAA==", ["x-amz-checksum-type": "COMPOSITE"]), nil) == nil)
  }

  @Test func conditionsAndChecksumsOfPuts() async throws {
    let server = try ScriptedServer { _ in .reply(200, ["ETag": "new"], "") }
    defer { server.stop() }
    let store = try Self.store(server)
    let body = IOBuffer(Self.bytes)
    let conditions: [PutCondition] = [.none, .absent, .matches(ETag("\"we\\ird\""))]
    for condition in conditions {
      let etag = try await store.put(Self.key(), body, condition: condition, priority: .demand)
      #expect(etag == ETag("new"))
    }
    let seen = server.requests
    #expect(seen.map { $0.headers["if-none-match"] } == [nil, "*", nil])
    #expect(seen.map { $0.headers["if-match"] } == [nil, nil, "\"we\\ird\""])
    for request in seen {
      #expect(request.target == "/bucket/p/k" && request.body == Self.bytes)
      #expect(
        request.headers["x-amz-checksum-crc32c"] == Base64.encode(CRC32C.checksum(Self.bytes)))
      #expect(request.headers["x-amz-content-sha256"] == Hashing.hex(Hashing.sha256(Self.bytes)))
      #expect(request.headers["expect"] == nil)
    }
  }

  /// Found with libcurl 7.88: the answer to a conditional PUT is lost on a kept connection, libcurl
  /// repeats it, and the store says 412 to its own success.
  @Test(arguments: [0, 1000])
  func aLostAnswerToAConditionalPutIsNotA412(_ length: Int) async throws {
    let written = Atomic<Int>(0)
    let server = try ScriptedServer { request in
      guard request.method == "PUT" else { return .reply(204, [:], "") }
      return written.wrappingAdd(1, ordering: .relaxed).newValue == 1
        ? .reset : .reply(412, [:], "<Error><Code>PreconditionFailed</Code></Error>")
    }
    defer { server.stop() }
    let store = try Self.store(server)
    try await store.delete(Self.key())
    let body = IOBuffer([UInt8](repeating: 1, count: length))
    await #expect {
      try await store.put(Self.key(), body, condition: .absent, priority: .demand)
    } throws: { ($0 as? StoreError)?.kind == .unavailable }
    #expect(written.load(ordering: .relaxed) == 1)
  }

  @Test func deletingWhatIsNotThereIsSuccess() async throws {
    let server = try ScriptedServer { request in
      request.target.hasSuffix("k")
        ? .reply(404, [:], "<Error><Code>NoSuchKey</Code></Error>")
        : .reply(404, [:], "<Error><Code>NoSuchBucket</Code></Error>")
    }
    defer { server.stop() }
    let store = try Self.store(server)
    try await store.delete(Self.key())
    let other = try #require(ObjectKey("other"))
    await #expect { try await store.delete(other) } throws: {
      ($0 as? StoreError)?.kind == .noSuchContainer
    }
  }

  @Test func expiredCredentialsAreRenewedOnceAndTheRequestRepeated() async throws {
    let clock = ManualClock()
    let server = try ScriptedServer { request in
      request.headers["authorization"]?.contains("Credential=key-2/") == true
        ? .reply(200, ["ETag": "e"], Self.bytes)
        : .reply(400, [:], "<Error><Code>ExpiredToken</Code></Error>")
    }
    defer { server.stop() }
    let source = CredentialsProviderTests.Source(clock, lifetime: .seconds(3600))
    let store = try Self.store(server, credentials: source)
    let buffer = IOBuffer(capacity: 1000)
    _ = try await store.get(Self.key(), range: nil, into: buffer, priority: .demand)
    #expect(server.requests.count == 2 && source.loads == 2)
    let stubborn = try ScriptedServer { _ in
      .reply(400, [:], "<Error><Code>ExpiredToken</Code></Error>")
    }
    defer { stubborn.stop() }
    let other = try Self.store(stubborn)
    await #expect { try await other.delete(Self.key()) } throws: {
      ($0 as? StoreError)?.kind == .accessDenied
    }
    #expect(stubborn.requests.count == 2)
  }

  @Test func errorsNameTheObjectAndTheCause() async throws {
    let server = try ScriptedServer { _ in
      .reply(
        503, ["Retry-After": "3"], "<Error><Code>SlowDown</Code><Message>Easy</Message></Error>")
    }
    defer { server.stop() }
    let store = try Self.store(server)
    do throws(StoreError) {
      _ = try await store.list(prefix: "g/", from: nil, limit: 10)
      Issue.record("no error")
    } catch {
      #expect(error.description == "LIST s3://bucket/p/g/: HTTP 503 SlowDown: Easy")
      #expect(error.retryAfter == .seconds(3) && error.isRetryable)
    }
  }

  @Test func cancellation() async throws {
    let server = try ScriptedServer { _ in .silence }
    defer { server.stop() }
    let store = try Self.store(server)
    let key = try Self.key()
    let task = Task { () async -> StoreError.Kind? in
      do throws(StoreError) {
        try await store.delete(key)
        return nil
      } catch {
        return error.kind
      }
    }
    try await eventually("the request has come") { !server.requests.isEmpty }
    task.cancel()
    #expect(await task.value == .cancelled)
  }

  @Test func aListingThatIsNoListingIsDamaged() async throws {
    let server = try ScriptedServer { _ in .reply(200, [:], "<html>hello</html>") }
    defer { server.stop() }
    let store = try Self.store(server)
    await #expect { try await store.list(prefix: "", from: nil, limit: 10) } throws: {
      ($0 as? StoreError)?.kind == .damagedAnswer
    }
  }
}
