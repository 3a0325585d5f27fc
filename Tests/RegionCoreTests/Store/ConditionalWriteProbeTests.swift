import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// What the check of conditional writes says of stores that honour them, or do not, or not yet.
@Suite struct ConditionalWriteProbeTests {
  /// Nobody waits.
  private struct HastyClock: EngineClock {
    var now: MonotonicTime { SystemClock().now }
    var wall: Timestamp { SystemClock().wall }
    func sleep(for duration: Duration) async { await Task.yield() }
  }

  /// A store that takes conditions lightly.
  private final class LaxStore: ObjectStore {
    enum Laxity: CaseIterable {
      /// `If-None-Match: *` is not looked at.
      case overwrites
      /// `If-Match` is not looked at.
      case replacesAnything
      /// `If-Match` demands that the object is there, of whatever version.
      case replacesAnyVersion
      /// Conditions are looked at some time before the object is written.
      case looksBeforeItWrites
    }
    let inner = MemoryStore()
    let laxity: Laxity
    private let looked = Lock(0)

    init(_ laxity: Laxity) { self.laxity = laxity }

    var address: String { "lax:" }

    func put(
      _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
    ) async throws(StoreError) -> ETag {
      var condition = condition
      switch (laxity, condition) {
      case (.overwrites, .absent), (.replacesAnything, .matches): condition = .none
      case (.replacesAnyVersion, .matches):
        if try await etag(of: key) != nil { condition = .none }
      case (.looksBeforeItWrites, .absent):
        guard try await etag(of: key) == nil else { break }
        await waitForTheOthers()
        condition = .none
      default: break
      }
      return try await inner.put(key, body, condition: condition, priority: priority)
    }

    private func etag(of key: ObjectKey) async throws(StoreError) -> ETag? {
      let buffer = IOBuffer(capacity: 4096)
      do throws(StoreError) {
        return try await inner.get(key, range: nil, into: buffer, priority: .demand).etag
      } catch  where error.kind == .notFound {
        return nil
      }
    }

    /// Both writers of a race have looked before one of them writes.
    private func waitForTheOthers() async {
      looked.withLock { $0 += 1 }
      while looked.withLock({ $0 }) % 2 != 0 { await Task.yield() }
    }

    func get(
      _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
    ) async throws(StoreError) -> ObjectInfo {
      try await inner.get(key, range: range, into: buffer, priority: priority)
    }
    func delete(_ key: ObjectKey) async throws(StoreError) { try await inner.delete(key) }
    func list(
      prefix: String, from token: String?, limit: Int
    ) async throws(StoreError) -> ListPage {
      try await inner.list(prefix: prefix, from: token, limit: limit)
    }
  }

  private func objects(of store: any ObjectStore) async throws -> Int {
    try await store.list(prefix: "", from: nil, limit: 100).keys.count
  }

  private func failure(
    _ body: () async throws(ConditionalWriteProbe.Failure) -> Void
  ) async -> ConditionalWriteProbe.Failure? {
    do throws(ConditionalWriteProbe.Failure) {
      try await body()
      return nil
    } catch {
      return error
    }
  }

  /// Six requests in two steps, and one that removes what they made.
  @Test func aStoreThatHonoursThemIsAskedSevenTimes() async throws {
    let memory = MemoryStore()
    let store = FaultStore(memory)
    try await ConditionalWriteProbe.check(store, clock: HastyClock())
    #expect(store.requests.map(\.operation) == Array(repeating: .put, count: 6) + [.delete])
    #expect(try await objects(of: memory) == 0)
  }

  @Test(arguments: LaxStore.Laxity.allCases)
  private func whoIgnoresThemIsFound(laxity: LaxStore.Laxity) async throws {
    let store = LaxStore(laxity)
    let failure = await failure { () async throws(ConditionalWriteProbe.Failure) in
      try await ConditionalWriteProbe.check(store, clock: HastyClock())
    }
    #expect(failure == .ignored)
    #expect(try await objects(of: store.inner) == 0)
  }

  /// The mount goes on after the glance; what only the second step finds stops the first claim.
  @Test func theSecondStepFindsWhatTheFirstCannot() async throws {
    let store = LaxStore(.replacesAnyVersion)
    let made = try await ConditionalWriteProbe.glance(store, clock: HastyClock())
    #expect(try await objects(of: store.inner) == 1)
    let failure = await failure { () async throws(ConditionalWriteProbe.Failure) in
      _ = try await ConditionalWriteProbe.leftover(of: store, after: made, clock: HastyClock())
    }
    #expect(failure == .ignored)
    #expect(try await objects(of: store.inner) == 0)
  }

  /// One request in three fails, or is done and its answer lost: no answer is taken for a wrong one.
  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func lostAnswersDoNotAccuseAStore(seed: UInt64) async throws {
    let memory = MemoryStore()
    let store = FaultStore(memory, seed: seed)
    store.add(.init(.failAfter(.unavailable), on: [.put], probability: 0.2))
    store.add(.init(.failBefore(.throttled), on: [.put], probability: 0.2))
    let made = try await ConditionalWriteProbe.glance(store, clock: HastyClock())
    let key = try await ConditionalWriteProbe.leftover(
      of: store, after: made, clock: HastyClock())
    try await store.delete(key)
    #expect(try await objects(of: memory) == 0)
  }

  @Test func aRefusalIsFinalAndSilenceIsNot() async throws {
    let refusing = FaultStore(MemoryStore())
    refusing.add(.init(.failBefore(.accessDenied), on: [.put]))
    let refusal = await failure { () async throws(ConditionalWriteProbe.Failure) in
      try await ConditionalWriteProbe.check(refusing, clock: HastyClock())
    }
    guard case .refused(let error) = refusal else {
      Issue.record("\(String(describing: refusal))")
      return
    }
    #expect(error.kind == .accessDenied)
    #expect(refusing.requests.count { $0.operation == .put } == 3)

    let silent = FaultStore(MemoryStore())
    silent.add(.init(.failBefore(.unavailable)))
    let silence = await failure { () async throws(ConditionalWriteProbe.Failure) in
      try await ConditionalWriteProbe.check(silent, clock: HastyClock())
    }
    guard case .undecided(let error?) = silence else {
      Issue.record("\(String(describing: silence))")
      return
    }
    #expect(error.kind == .unavailable)
    #expect(silent.requests.count { $0.operation == .put } == 12 * 3)
  }
}
