import Locks

/// Sends a GET that somebody waits for a second time when its answer takes unusually long, and takes
/// whichever answer comes first. For stores whose requests end soon when they are cancelled.
public final class HedgingStore: ObjectStore {
  /// Larger answers take long for another reason.
  private static let rangeLimit: UInt64 = 1 << 20

  private enum Event: Sendable {
    case first(Result<ObjectInfo, StoreError>)
    case second(Result<ObjectInfo, StoreError>)
    case patienceIsOver
  }

  private let inner: any ObjectStore
  private let clock: any EngineClock
  private let policy = Lock(HedgePolicy())

  /// Hedges what goes to `inner`.
  public init(_ inner: any ObjectStore, clock: any EngineClock = SystemClock()) {
    self.inner = inner
    self.clock = clock
  }

  /// The inner store's address.
  public var address: String { inner.address }

  /// Requests that were sent twice so far.
  public var hedges: Int { policy.withLock { $0.hedges } }

  /// Reads an object, see `ObjectStore.get`.
  public func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    guard priority == .demand, let range, range.upperBound - range.lowerBound <= Self.rangeLimit
    else { return try await inner.get(key, range: range, into: buffer, priority: priority) }
    let (number, patience) = policy.withLock { $0.began(at: clock.now) }
    let result: Result<ObjectInfo, StoreError>
    if let patience {
      result = await race(key, range, buffer, patience)
    } else {
      result = await attempt(key, range, buffer)
    }
    let isAnswer = if case .success = result { true } else { false }
    policy.withLock { $0.ended(number, isAnswer: isAnswer, at: clock.now) }
    return try result.get()
  }

  private func attempt(_ key: ObjectKey, _ range: Range<UInt64>, _ buffer: IOBuffer) async
    -> Result<ObjectInfo, StoreError>
  {
    do throws(StoreError) {
      return .success(try await inner.get(key, range: range, into: buffer, priority: .demand))
    } catch {
      return .failure(error)
    }
  }

  /// The first answer of up to two. When this returns nobody writes into the buffer any more: the
  /// group waits for the one that lost.
  private func race(
    _ key: ObjectKey, _ range: Range<UInt64>, _ buffer: IOBuffer, _ patience: Duration
  ) async -> Result<ObjectInfo, StoreError> {
    let spare = Lock<IOBuffer?>(nil)
    let (result, isSpare) = await withTaskGroup(of: Event.self) { group in
      group.addTask { .first(await self.attempt(key, range, buffer)) }
      group.addTask {
        await self.clock.sleep(for: patience)
        return .patienceIsOver
      }
      var underWay = 1
      var failure: Result<ObjectInfo, StoreError>?
      while let event = await group.next() {
        switch event {
        case .patienceIsOver:
          guard !Task.isCancelled, failure == nil,
            policy.withLock({ $0.mayHedge(at: clock.now) })
          else { continue }
          underWay += 1
          let second = IOBuffer(capacity: buffer.capacity)
          spare.withLock { $0 = second }
          group.addTask { .second(await self.attempt(key, range, second)) }
        case .first(let result):
          underWay -= 1
          if case .success = result {
            group.cancelAll()
            return (result, false)
          }
          // The first one's error is the one that is told.
          failure = result
        case .second(let result):
          underWay -= 1
          if case .success = result {
            group.cancelAll()
            return (result, true)
          }
          failure = failure ?? result
        }
        if underWay == 0, let failure {
          group.cancelAll()
          return (failure, false)
        }
      }
      preconditionFailure("a race without a first request")
    }
    if isSpare, let second = spare.withLock({ $0 }) {
      unsafe buffer.memory.copyMemory(from: second.bytes)
      buffer.count = second.count
    }
    return result
  }

  /// Writes an object, see `ObjectStore.put`.
  public func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    try await inner.put(key, body, condition: condition, priority: priority)
  }

  /// Removes an object, see `ObjectStore.delete`.
  public func delete(_ key: ObjectKey) async throws(StoreError) { try await inner.delete(key) }

  /// Lists keys, see `ObjectStore.list`.
  public func list(prefix: String, from token: String?, limit: Int) async throws(StoreError)
    -> ListPage
  {
    try await inner.list(prefix: prefix, from: token, limit: limit)
  }
}
