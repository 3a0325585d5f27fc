import Locks

/// How often and how long a request is tried again.
public struct RetryPolicy: Hashable, Sendable {
  /// Attempts in all, at least 1.
  public var attempts: Int
  /// The upper bound of the first wait; each further one is twice the one before.
  public var base: Duration
  /// The longest wait that we choose ourselves (a store's Retry-After may be longer).
  public var longestWait: Duration
  /// No attempt begins later than this after the first one.
  public var timeLimit: Duration

  /// A policy.
  public init(attempts: Int, base: Duration, longestWait: Duration, timeLimit: Duration) {
    self.attempts = max(attempts, 1)
    self.base = base
    self.longestWait = longestWait
    self.timeLimit = timeLimit
  }

  /// 8 attempts in at most a minute, waits of up to 0.1 s, 0.2 s, 0.4 s ... 10 s.
  public static let standard = RetryPolicy(
    attempts: 8, base: .milliseconds(100), longestWait: .seconds(10), timeLimit: .seconds(60))
}

/// Tries again what may succeed later: exponential backoff with full jitter (a random wait between
/// zero and the bound, so that clients do not come back all at once).
///
/// - GET, DELETE, LIST and unconditional PUTs are repeated; doing them twice does no harm.
/// - A PUT `.absent` is repeated too. Its `.preconditionFailed` may be the answer to an earlier
///   attempt of ours (HTTP libraries resend silently, so even at the first attempt); therefore the
///   object is read back, and if it holds exactly our bytes, that is success. So callers whose PUTs
///   race must put something of their own (a nonce) into the bytes.
/// - A PUT `.matches` gets one attempt: only the caller can tell what became of it.
public final class RetryingStore: ObjectStore {
  private let inner: any ObjectStore
  private let clock: any EngineClock
  private let policy: RetryPolicy
  private let generator: Lock<any RandomNumberGenerator & Sendable>

  /// Retries what goes to `inner`, waiting by `clock` for times from `generator`.
  public init(
    _ inner: any ObjectStore, clock: any EngineClock = SystemClock(),
    generator: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator(),
    policy: RetryPolicy = .standard
  ) {
    self.inner = inner
    self.clock = clock
    self.policy = policy
    self.generator = Lock(generator)
  }

  /// The inner store's address.
  public var address: String { inner.address }

  /// Reads an object, see `ObjectStore.get`.
  public func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    try await retrying { () throws(StoreError) in
      try await self.inner.get(key, range: range, into: buffer, priority: priority)
    }
  }

  /// Writes an object, see `ObjectStore.put`.
  public func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    switch condition {
    case .matches:
      return try await inner.put(key, body, condition: condition, priority: priority)
    case .none:
      return try await retrying { () throws(StoreError) in
        try await self.inner.put(key, body, condition: condition, priority: priority)
      }
    case .absent:
      do {
        return try await retrying(also: .conflict) { () throws(StoreError) in
          try await self.inner.put(key, body, condition: condition, priority: priority)
        }
      } catch  where error.kind == .preconditionFailed {
        guard let etag = try await ownETag(key, body, priority) else { throw error }
        return etag
      }
    }
  }

  /// Removes an object, see `ObjectStore.delete`.
  public func delete(_ key: ObjectKey) async throws(StoreError) {
    try await retrying { () throws(StoreError) in try await self.inner.delete(key) }
  }

  /// Lists keys, see `ObjectStore.list`.
  public func list(prefix: String, from token: String?, limit: Int) async throws(StoreError)
    -> ListPage
  {
    try await retrying { () throws(StoreError) in
      try await self.inner.list(prefix: prefix, from: token, limit: limit)
    }
  }

  /// The ETag of the object if it holds exactly `body`; nil if it is another's. Throws if that
  /// cannot be found out, for then nothing is known.
  private func ownETag(_ key: ObjectKey, _ body: IOBuffer, _ priority: TransferPriority)
    async throws(StoreError) -> ETag?
  {
    let found = IOBuffer(capacity: body.count)
    do {
      let info = try await get(key, range: nil, into: found, priority: priority)
      // SAFETY: both buffers outlive the comparison and nobody writes to them now.
      let isEqual = unsafe found.bytes.elementsEqual(body.bytes)
      return isEqual ? info.etag : nil
    } catch  where error.kind == .tooLarge || error.kind == .notFound {
      return nil
    }
  }

  private func retrying<Value>(
    also kind: StoreError.Kind? = nil, _ operation: () async throws(StoreError) -> Value
  ) async throws(StoreError) -> Value {
    let start = clock.now
    var attempt = 1
    while true {
      do {
        return try await operation()
      } catch {
        guard error.isRetryable || error.kind == kind, attempt < policy.attempts else {
          throw error
        }
        let wait = max(jitteredWait(attempt), error.retryAfter ?? .zero)
        guard clock.now.since(start) + wait <= policy.timeLimit else { throw error }
        await clock.sleep(for: wait)
        if Task.isCancelled {
          throw StoreError(
            .cancelled, operation: error.operation, object: error.object,
            detail: "cancelled after \(attempt) attempts, the last: \(error.detail)")
        }
        attempt += 1
      }
    }
  }

  /// A random time up to `base` doubled for each attempt made, at most `longestWait`.
  private func jitteredWait(_ attempt: Int) -> Duration {
    let doublings = min(attempt - 1, 30)
    let bound = min(policy.base * (1 << doublings), policy.longestWait).wholeNanoseconds
    let nanoseconds = generator.withLock { UInt64.random(in: 0...bound, using: &$0) }
    return .nanoseconds(nanoseconds)
  }
}
