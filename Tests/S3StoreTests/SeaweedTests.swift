import CurlKit
import Foundation
import RegionCore
import RegionTesting
import Testing

@testable import S3Store

/// Against a real server.
@Suite struct SeaweedTests {
  /// One server for all tests here: it takes seconds to start.
  static let shared = Task { try await SeaweedServer.start() }

  static func store(prefix: String = "p-\(UInt64.random(in: 0 ... .max))") async throws -> S3Store {
    try await shared.value.store(prefix: prefix)
  }

  @Test func wholeAndRangeReads() async throws {
    let store = try await Self.store()
    let key = try #require(ObjectKey("g/some/object-1"))
    let bytes = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
    let etag = try await store.put(key, IOBuffer(bytes), condition: .none, priority: .demand)
    let whole = IOBuffer(capacity: 300_000)
    let info = try await store.get(key, range: nil, into: whole, priority: .demand)
    #expect(info.etag == etag && info.totalLength == 300_000)
    #expect(whole.array == bytes)
    let part = IOBuffer(capacity: 8192)
    let partInfo = try await store.get(key, range: 4096..<12_288, into: part, priority: .background)
    #expect(partInfo == info)
    #expect(part.array == Array(bytes[4096..<12_288]))
  }
}
