import Locks
import RegionTesting

@testable import RegionCore

/// A store whose requests take a random time on a simulation's clock, before and after they are done,
/// and are noted in its trace.
final class SlowStore: ObjectStore {
  private let inner: any ObjectStore
  private let executor: SimulatedExecutor
  private let random: Lock<SplitMix64>

  init(_ inner: any ObjectStore, _ executor: SimulatedExecutor, seed: UInt64) {
    self.inner = inner
    self.executor = executor
    random = Lock(SplitMix64(seed: seed))
  }

  var address: String { inner.address }

  private func pass(_ operation: String, _ key: String) async {
    executor.note("\(operation) \(key)")
    let microseconds = random.withLock { random in
      random.oneIn(3) ? 0 : Int.random(in: 1...(random.oneIn(10) ? 300_000 : 3000), using: &random)
    }
    if microseconds > 0 { await executor.clock.sleep(for: .microseconds(microseconds)) }
  }

  func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    await pass("GET", key.text)
    let info = try await inner.get(key, range: range, into: buffer, priority: priority)
    await pass("got", key.text)
    return info
  }

  func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    await pass("PUT", key.text)
    let etag = try await inner.put(key, body, condition: condition, priority: priority)
    await pass("put", key.text)
    return etag
  }

  func delete(_ key: ObjectKey) async throws(StoreError) {
    await pass("DELETE", key.text)
    try await inner.delete(key)
    await pass("deleted", key.text)
  }

  func list(prefix: String, from token: String?, limit: Int) async throws(StoreError) -> ListPage {
    await pass("LIST", prefix)
    return try await inner.list(prefix: prefix, from: token, limit: limit)
  }
}
