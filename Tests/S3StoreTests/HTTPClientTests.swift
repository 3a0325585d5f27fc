import Glibc
import Synchronization
import RegionTesting
import Testing

@testable import CurlKit

/// The transfer loop against a server that behaves as each test says.
@Suite struct HTTPClientTests {
  static func client(_ change: (inout HTTPConfiguration) -> Void = { _ in }) throws -> HTTPClient {
    var configuration = HTTPConfiguration()
    // The machine may be busy with other tests: only a test of stalls is about them.
    configuration.timeouts.stall = .seconds(600)
    change(&configuration)
    return try HTTPClient(configuration)
  }

  /// The kind of error that a request ends with; nil if it succeeds.
  static func failure(_ client: HTTPClient, _ request: HTTPRequest) async -> HTTPError? {
    do throws(HTTPError) {
      _ = try await client.perform(request)
      return nil
    } catch {
      return error
    }
  }

  @Test func connectionsAreReusedAlsoAfterErrors() async throws {
    let clock = ContinuousClock()
    for _ in 0..<5 {
      let began = clock.now
      let (newConnections, statistics) = try await Self.exchangesWithErrors()
      // curl lets go of a connection that nobody used for two minutes, and a test may be held up for longer.
      guard clock.now - began < .seconds(100) else { continue }
      #expect(newConnections == [1, 0, 0, 0, 0])
      #expect(statistics == HTTPStatistics(transfers: 5, connections: 1))
      return
    }
    Issue.record("five exchanges took 100 seconds each time")
  }

  /// The connections that each of five requests began, some of which are answered with errors.
  private static func exchangesWithErrors() async throws -> ([Int], HTTPStatistics) {
    let statuses = [200, 404, 412, 503, 200]
    let count = Atomic<Int>(0)
    let server = try ScriptedServer { _ in
      let index = count.wrappingAdd(1, ordering: .relaxed).oldValue
      return .reply(statuses[index], [:], "body \(index)")
    }
    defer { server.stop() }
    let client = try client()
    var newConnections: [Int] = []
    for (index, status) in statuses.enumerated() {
      let response = try await client.perform(HTTPRequest(.get, server.url + "/x"))
      #expect(response.status == status)
      #expect(String(decoding: response.body, as: UTF8.self) == "body \(index)")
      newConnections.append(response.newConnections)
    }
    return (newConnections, client.statistics)
  }

  @Test func requestsGoOutExactlyAsGiven() async throws {
    let server = try ScriptedServer { _ in .reply(200, ["X-Answer": " yes "], "") }
    defer { server.stop() }
    var request = HTTPRequest(
      .put, server.url + "/a/../b%2Fc/./d?x=%20",
      headers: [
        HTTPHeader("X-One", "1"), HTTPHeader("X-Empty", ""), HTTPHeader("Host", "other:1"),
      ],
      body: HTTPBody(Array("hello".utf8)))
    request.freshConnection = true
    let response = try await Self.client().perform(request)
    #expect(response.headers["x-answer"] == "yes")
    let seen = try #require(server.requests.first)
    #expect(seen.method == "PUT")
    #expect(seen.target == "/a/../b%2Fc/./d?x=%20")
    #expect(seen.body == Array("hello".utf8))
    #expect(seen.headers["x-one"] == "1")
    #expect(seen.headers["x-empty"] == "")
    #expect(seen.headers["host"] == "other:1")
    #expect(seen.headers["expect"] == nil)
  }

  /// Handles are kept: nothing of a PUT may leak into the GET after it.
  @Test func aHandleForgetsItsFormerRequest() async throws {
    let server = try ScriptedServer { _ in .reply(200, [:], "ok") }
    defer { server.stop() }
    let client = try Self.client()
    _ = try await client.perform(
      HTTPRequest(
        .put, server.url + "/1", headers: [HTTPHeader("X-Old", "1")], body: HTTPBody([1, 2, 3])))
    _ = try await client.perform(HTTPRequest(.get, server.url + "/2"))
    _ = try await client.perform(HTTPRequest(.delete, server.url + "/3"))
    _ = try await client.perform(HTTPRequest(.put, server.url + "/4"))
    let seen = server.requests
    #expect(seen.map(\.method) == ["PUT", "GET", "DELETE", "PUT"])
    #expect(seen.map(\.body.count) == [3, 0, 0, 0])
    #expect(seen[1].headers["x-old"] == nil && seen[1].headers["content-length"] == nil)
    #expect(seen[3].headers["content-length"] == "0")
  }

  /// Found with libcurl 7.88: a kept connection that breaks after the body was sent makes it send
  /// the PUT again, and a conditional PUT then fails on its own success.
  @Test func aBodyIsNeverSentTwiceBehindTheCallersBack() async throws {
    let count = Atomic<Int>(0)
    let server = try ScriptedServer { _ in
      count.wrappingAdd(1, ordering: .relaxed).newValue == 2 ? .reset : .reply(200, [:], "")
    }
    defer { server.stop() }
    let client = try Self.client()
    let body = HTTPBody([UInt8](repeating: 7, count: 5000))
    _ = try await client.perform(HTTPRequest(.put, server.url + "/1", body: body))
    let error = await Self.failure(client, HTTPRequest(.put, server.url + "/2", body: body))
    #expect(error?.kind == .reset)
    #expect(server.requests.map(\.target) == ["/1", "/2"])
  }

  /// A body of no bytes cannot be told from one that was not sent; a new connection helps.
  @Test func anEmptyBodyOnAFreshConnectionIsNotSentTwice() async throws {
    let count = Atomic<Int>(0)
    let server = try ScriptedServer { _ in
      count.wrappingAdd(1, ordering: .relaxed).newValue == 2 ? .reset : .reply(200, [:], "")
    }
    defer { server.stop() }
    let client = try Self.client()
    _ = try await client.perform(HTTPRequest(.put, server.url + "/1"))
    var request = HTTPRequest(.put, server.url + "/2")
    request.freshConnection = true
    #expect(await Self.failure(client, request)?.kind == .reset)
    #expect(server.requests.map(\.connection) == [0, 1])
  }

  @Test func bodiesLandInTheDestinationAndErrorsDoNot() async throws {
    let bytes = (0..<100_000).map { UInt8(truncatingIfNeeded: $0) }
    let server = try ScriptedServer { request in
      request.target == "/good" ? .reply(200, [:], bytes) : .reply(500, [:], "sorry")
    }
    defer { server.stop() }
    let client = try Self.client()
    let memory = Memory(capacity: 100_000)
    var request = HTTPRequest(.get, server.url + "/bad", destination: memory.destination)
    let bad = try await client.perform(request)
    #expect(bad.body == Array("sorry".utf8) && bad.byteCount == 5)
    #expect(memory.array.allSatisfy { $0 == 0xEE })
    request.url = server.url + "/good"
    let good = try await client.perform(request)
    #expect(good.byteCount == 100_000 && good.body.isEmpty)
    #expect(memory.array == bytes)
  }

  @Test func longBodiesAreRefusedAndErrorBodiesCut() async throws {
    let server = try ScriptedServer { request in
      .reply(request.target == "/error" ? 400 : 200, [:], [UInt8](repeating: 1, count: 100_001))
    }
    defer { server.stop() }
    let client = try Self.client()
    let memory = Memory(capacity: 100_000)
    let direct = HTTPRequest(.get, server.url + "/a", destination: memory.destination)
    #expect(await Self.failure(client, direct)?.kind == .tooLarge)
    let array = HTTPRequest(.get, server.url + "/b", destination: .array(limit: 100_000))
    #expect(await Self.failure(client, array)?.kind == .tooLarge)
    let error = try await client.perform(HTTPRequest(.get, server.url + "/error"))
    #expect(error.body.count == Transfer.errorBodyLimit && error.byteCount == 100_001)
  }

  @Test func shortAndBrokenAnswersAreErrors() async throws {
    let server = try ScriptedServer { request in
      switch request.target {
      case "/short":
        .rawThenClose(Array("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfour".utf8))
      case "/chunked":
        .rawThenClose(
          Array("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel".utf8))
      case "/nothing": .rawThenClose([])
      default: .reset
      }
    }
    defer { server.stop() }
    let client = try Self.client()
    func kind(_ path: String) async -> HTTPError.Kind? {
      await Self.failure(client, HTTPRequest(.get, server.url + path))?.kind
    }
    #expect(await kind("/short") == .shortBody)
    #expect([.shortBody, .reset].contains(await kind("/chunked")))
    #expect(await kind("/nothing") == .reset)
    #expect(await kind("/reset") == .reset)
  }

  @Test func aStallEndsTheTransferAndAConnectIsRefused() async throws {
    let server = try ScriptedServer { _ in .silence }
    let client = try Self.client { $0.timeouts.stall = .milliseconds(300) }
    let clock = ContinuousClock()
    let start = clock.now
    let error = await Self.failure(client, HTTPRequest(.get, server.url + "/"))
    #expect(error?.kind == .stalled)
    #expect(clock.now - start >= .milliseconds(300))
    server.stop()
    let refused = await Self.failure(client, HTTPRequest(.get, "http://127.0.0.1:1/"))
    #expect(refused?.kind == .connect)
    let unknown = await Self.failure(client, HTTPRequest(.get, "http://nowhere.invalid/"))
    #expect(unknown?.kind == .resolve)
    let unusable = await Self.failure(client, HTTPRequest(.get, "ftp://127.0.0.1/"))
    #expect(unusable?.kind == .other)
  }

  @Test func cancellationEndsActiveAndWaitingTransfers() async throws {
    let server = try ScriptedServer { _ in .silence }
    defer { server.stop() }
    let client = try Self.client {
      $0.connectionLimit = 1
      $0.activeLimit = 1
      $0.backgroundLimit = 1
    }
    let url = server.url
    let tasks = (0..<3).map { _ in Task { await Self.failure(client, HTTPRequest(.get, url)) } }
    try await eventually("the request has come") { !server.requests.isEmpty }
    for task in tasks { task.cancel() }
    for task in tasks { #expect(await task.value?.kind == .cancelled) }
    // Cancelled before it began.
    let early = Task {
      while !Task.isCancelled { await Task.yield() }
      return await Self.failure(client, HTTPRequest(.get, url))
    }
    early.cancel()
    #expect(await early.value?.kind == .cancelled)
  }

  /// The kernel holds megabytes that libcurl has handed over: while they drain, nothing else moves.
  @Test func aSlowUploadIsNoStall() async throws {
    let server = try ScriptedServer(slowness: 30_000) { request in
      .reply(200, [:], "\(request.body.count)")
    }
    defer { server.stop() }
    let client = try Self.client { $0.timeouts.stall = .milliseconds(1000) }
    let body = HTTPBody([UInt8](repeating: 1, count: 8 << 20))
    let response = try await client.perform(HTTPRequest(.put, server.url, body: body))
    #expect(response.body == Array("\(8 << 20)".utf8))
    #expect(response.duration > .seconds(2))
  }

  /// Memory is the caller's again when a request has returned, however it ended.
  @Test func cancelledTransfersNeverTouchTheirMemoryLater() async throws {
    let head = Array("HTTP/1.1 200 OK\r\nContent-Length: \(1 << 20)\r\n\r\n".utf8)
    let server = try ScriptedServer { _ in
      .rawThenSilence(head + [UInt8](repeating: 0x11, count: 1 << 19))
    }
    defer { server.stop() }
    let client = try Self.client()
    let url = server.url
    let memories = await withTaskGroup(of: Memory.self) { group in
      for number in 0..<40 {
        group.addTask {
          let memory = Memory(capacity: 1 << 20)
          let request = HTTPRequest(.get, url, destination: memory.destination)
          let task = Task { await Self.failure(client, request) }
          // Some before they start, most in the middle or when half has come.
          do {
            try await eventually("half of the requests have come") {
              number % 4 == 0 || server.requests.count > number / 2
            }
          } catch {
            Issue.record(error)
          }
          task.cancel()
          #expect(await task.value?.kind == .cancelled)
          memory.fill(0xEE)
          return memory
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
    try await Task.sleep(for: .milliseconds(100))
    for memory in memories { #expect(memory.holdsOnly(0xEE)) }
    #expect(client.statistics.transfers >= 20)
  }

  @Test func shutdownFailsWhatIsUnderWayAndWhatComesLater() async throws {
    let server = try ScriptedServer { _ in .silence }
    defer { server.stop() }
    let client = try Self.client()
    let url = server.url
    let task = Task { await Self.failure(client, HTTPRequest(.get, url)) }
    try await eventually("the request has come") { !server.requests.isEmpty }
    client.shutdown()
    #expect(await task.value?.kind == .cancelled)
    #expect(await Self.failure(client, HTTPRequest(.get, url))?.kind == .cancelled)
    client.shutdown()
  }

  @Test func demandGoesBeforeBackgroundEvenWhenAllOfThatIsHeldUp() async throws {
    let gate = Atomic<Bool>(false)
    let server = try ScriptedServer { request in
      while request.target == "/slow" && !gate.load(ordering: .relaxed) { usleep(1000) }
      return .reply(200, [:], "")
    }
    defer { server.stop() }
    let client = try Self.client {
      $0.connectionLimit = 4
      $0.activeLimit = 2
      $0.backgroundLimit = 2
    }
    let url = server.url
    let slow = (0..<6).map { _ in
      Task {
        await Self.failure(client, HTTPRequest(.get, url + "/slow", priority: .background))
      }
    }
    try await eventually("two requests have come") { server.requests.count >= 2 }
    let response = try await client.perform(HTTPRequest(.get, url + "/now", priority: .demand))
    #expect(response.status == 200)
    #expect(server.requests.map(\.target) == ["/slow", "/slow", "/now"])
    gate.store(true, ordering: .relaxed)
    for task in slow { #expect(await task.value == nil) }
  }

  @Test func interimAnswersAreSkipped() async throws {
    let server = try ScriptedServer { _ in
      .rawThenClose(
        Array(
          "HTTP/1.1 103 Early\r\nX-A: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".utf8)
      )
    }
    defer { server.stop() }
    let response = try await Self.client().perform(HTTPRequest(.get, server.url))
    #expect(response.status == 200 && response.headers["x-a"] == nil)
    #expect(response.headers.all.map(\.name) == ["content-length"])
  }
}

/// Memory for a body, filled with 0xEE.
@safe
final class Memory: @unchecked Sendable {
  // Sound because a test hands it to one transfer at a time and reads it after that.
  private let bytes: UnsafeMutableRawBufferPointer

  init(capacity: Int) {
    unsafe bytes = .allocate(byteCount: capacity, alignment: 16)
    unsafe _ = bytes.initializeMemory(as: UInt8.self, repeating: 0xEE)
  }

  deinit { unsafe bytes.deallocate() }

  /// Whether all bytes are `value`; `memcmp` of the bytes with themselves, moved by one.
  func holdsOnly(_ value: UInt8) -> Bool {
    guard let base = unsafe bytes.baseAddress, unsafe bytes.count > 1 else { return true }
    // SAFETY: both ranges lie inside `bytes`.
    return unsafe bytes[0] == value && memcmp(base, base + 1, bytes.count - 1) == 0
  }

  func fill(_ value: UInt8) { unsafe _ = bytes.initializeMemory(as: UInt8.self, repeating: value) }

  var array: [UInt8] { unsafe Array(bytes) }

  var destination: HTTPDestination {
    guard let base = unsafe bytes.baseAddress else { return .array(limit: 0) }
    return unsafe .memory(base, capacity: bytes.count, owner: self)
  }
}

/// The queue alone.
@Suite struct TransferQueueTests {
  @Test func limitsAndOrder() {
    var queue = TransferQueue<String>(demandLimit: 3, activeLimit: 2, backgroundLimit: 1)
    queue.append("b1", id: 1, priority: .background)
    queue.append("b2", id: 2, priority: .background)
    queue.append("r1", id: 3, priority: .readAhead)
    queue.append("d1", id: 4, priority: .demand)
    queue.append("d2", id: 5, priority: .demand)
    #expect(queue.next() == "d1")
    #expect(queue.next() == "d2")
    // Two are active: neither of the other classes may start.
    #expect(queue.next() == nil)
    queue.append("d3", id: 6, priority: .demand)
    #expect(queue.next() == "d3")
    queue.append("d4", id: 7, priority: .demand)
    #expect(queue.next() == nil)
    #expect(queue.remove(id: 7, priority: .demand) == "d4")
    #expect(queue.remove(id: 7, priority: .demand) == nil)
    queue.finished(.demand)
    queue.finished(.demand)
    #expect(queue.next() == "r1")
    queue.finished(.demand)
    #expect(queue.next() == "b1")
    queue.finished(.readAhead)
    // One background transfer is the limit, though there is room.
    #expect(queue.activeCount == 1 && queue.next() == nil)
    queue.finished(.background)
    #expect(queue.next() == "b2")
    #expect(queue.waitingCount == 0)
  }
}
