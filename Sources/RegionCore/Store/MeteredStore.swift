import Synchronization

/// Counts what goes through: requests, bytes, errors, and how many are under way.
public final class MeteredStore: ObjectStore {
  /// The counts of one operation so far.
  public struct Counts: Hashable, Sendable {
    /// Requests begun.
    public var requests: UInt64 = 0
    /// Requests that failed. An object that is not there, one that is longer than there was room for,
    /// and a condition that does not hold are answers, not failures.
    public var errors: UInt64 = 0
    /// Requests under way now.
    public var inFlight: UInt64 = 0
    /// Body bytes of requests that succeeded: received for GET, sent for PUT, else 0.
    public var bytes: UInt64 = 0
    /// No requests yet.
    public init() {}
  }

  /// All counts at one time (each exact, the set not of one instant).
  public struct Snapshot: Hashable, Sendable {
    /// Downloads.
    public var get = Counts()
    /// Uploads.
    public var put = Counts()
    /// Deletions.
    public var delete = Counts()
    /// Pages of listings.
    public var list = Counts()
    /// No requests yet.
    public init() {}
    /// Requests of all kinds.
    public var requests: UInt64 {
      self.get.requests + put.requests + delete.requests + list.requests
    }
    /// Errors of all kinds.
    public var errors: UInt64 { self.get.errors + put.errors + delete.errors + list.errors }
  }

  private final class Meter: Sendable {
    let requests = Atomic<UInt64>(0)
    let errors = Atomic<UInt64>(0)
    let inFlight = Atomic<UInt64>(0)
    let bytes = Atomic<UInt64>(0)

    var counts: Counts {
      var counts = Counts()
      counts.requests = requests.load(ordering: .relaxed)
      counts.errors = errors.load(ordering: .relaxed)
      counts.inFlight = inFlight.load(ordering: .relaxed)
      counts.bytes = bytes.load(ordering: .relaxed)
      return counts
    }
  }

  private let inner: any ObjectStore
  private let onError: (@Sendable (StoreError) -> Void)?
  private let health: StoreHealth?
  private let gets = Meter()
  private let puts = Meter()
  private let deletes = Meter()
  private let lists = Meter()

  /// Counts what goes to `inner`; calls `onError` with each failure, on the failing task, and tells
  /// `health` of each attempt.
  public init(
    _ inner: any ObjectStore, health: StoreHealth? = nil,
    onError: (@Sendable (StoreError) -> Void)? = nil
  ) {
    self.inner = inner
    self.health = health
    self.onError = onError
  }

  /// The inner store's address.
  public var address: String { inner.address }

  /// The counts so far.
  public func snapshot() -> Snapshot {
    var snapshot = Snapshot()
    snapshot.get = gets.counts
    snapshot.put = puts.counts
    snapshot.delete = deletes.counts
    snapshot.list = lists.counts
    return snapshot
  }

  /// Reads an object, see `ObjectStore.get`.
  public func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    let info = try await metered(gets) { () throws(StoreError) in
      try await self.inner.get(key, range: range, into: buffer, priority: priority)
    }
    gets.bytes.add(UInt64(buffer.count), ordering: .relaxed)
    return info
  }

  /// Writes an object, see `ObjectStore.put`.
  public func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    let etag = try await metered(puts) { () throws(StoreError) in
      try await self.inner.put(key, body, condition: condition, priority: priority)
    }
    puts.bytes.add(UInt64(body.count), ordering: .relaxed)
    return etag
  }

  /// Removes an object, see `ObjectStore.delete`.
  public func delete(_ key: ObjectKey) async throws(StoreError) {
    try await metered(deletes) { () throws(StoreError) in try await self.inner.delete(key) }
  }

  /// Lists keys, see `ObjectStore.list`.
  public func list(prefix: String, from token: String?, limit: Int) async throws(StoreError)
    -> ListPage
  {
    try await metered(lists) { () throws(StoreError) in
      try await self.inner.list(prefix: prefix, from: token, limit: limit)
    }
  }

  private func metered<Value>(_ meter: Meter, _ operation: () async throws(StoreError) -> Value)
    async throws(StoreError) -> Value
  {
    meter.requests.add(1, ordering: .relaxed)
    meter.inFlight.add(1, ordering: .relaxed)
    defer { meter.inFlight.subtract(1, ordering: .relaxed) }
    do {
      let value = try await operation()
      health?.noteAnswer()
      return value
    } catch {
      switch error.kind {
      case .unavailable: health?.noteFailure()
      case .cancelled: break
      default: health?.noteAnswer()
      }
      switch error.kind {
      case .notFound, .tooLarge, .preconditionFailed, .conflict, .cancelled: break
      default:
        meter.errors.add(1, ordering: .relaxed)
        onError?(error)
      }
      throw error
    }
  }
}
