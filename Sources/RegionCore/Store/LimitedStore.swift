import Locks

/// Keeps downloads and uploads to a rate (`download_limit`, `upload_limit`).
public final class LimitedStore: ObjectStore {
  private let inner: any ObjectStore
  private let clock: any EngineClock
  private let downloads: Lock<TokenBucket>?
  private let uploads: Lock<TokenBucket>?

  /// Limits what goes to `inner`, in bytes a second; nil: no limit.
  public init(
    _ inner: any ObjectStore, download: UInt64?, upload: UInt64?,
    clock: any EngineClock = SystemClock()
  ) {
    self.inner = inner
    self.clock = clock
    downloads = download.map { Lock(TokenBucket(rate: $0, at: clock.now)) }
    uploads = upload.map { Lock(TokenBucket(rate: $0, at: clock.now)) }
  }

  /// The inner store's address.
  public var address: String { inner.address }

  /// Reads an object, see `ObjectStore.get`. A whole object counts with the bytes it has in the end.
  public func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    let bytes = range.map { $0.upperBound - $0.lowerBound } ?? 0
    try await pass(downloads, bytes, priority, "GET", key.text)
    let info = try await inner.get(key, range: range, into: buffer, priority: priority)
    if range == nil { charge(UInt64(buffer.count)) }
    return info
  }

  /// Writes an object, see `ObjectStore.put`.
  public func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    try await pass(uploads, UInt64(body.count), priority, "PUT", key.text)
    return try await inner.put(key, body, condition: condition, priority: priority)
  }

  /// Removes an object, see `ObjectStore.delete`.
  public func delete(_ key: ObjectKey) async throws(StoreError) { try await inner.delete(key) }

  /// Lists keys, see `ObjectStore.list`.
  public func list(prefix: String, from token: String?, limit: Int) async throws(StoreError)
    -> ListPage
  {
    try await inner.list(prefix: prefix, from: token, limit: limit)
  }

  /// Takes bytes that came already: in pieces that need not wait.
  private func charge(_ bytes: UInt64) {
    guard let downloads else { return }
    let now = clock.now
    var left = bytes
    downloads.withLock { bucket in
      while left > 0 {
        let piece = min(left, TokenBucket.freeBytes)
        _ = bucket.take(piece, .demand, at: now)
        left -= piece
      }
    }
  }

  private func pass(
    _ bucket: Lock<TokenBucket>?, _ bytes: UInt64, _ priority: TransferPriority,
    _ operation: String, _ key: String
  ) async throws(StoreError) {
    guard let bucket else { return }
    while let wait = bucket.withLock({ $0.take(bytes, priority, at: clock.now) }) {
      await clock.sleep(for: wait)
      guard !Task.isCancelled else {
        throw StoreError(
          .cancelled, operation: operation, object: "\(address)/\(key)",
          detail: "cancelled while it waited for its turn")
      }
    }
  }
}
