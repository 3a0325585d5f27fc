/// Holds a store to its contract: requests that make no sense never reach it, and an answer that
/// is not exactly what was asked for is an error. So no layer above ever reads a byte that the
/// store did not send.
public final class VerifyingStore: ObjectStore {
  private let inner: any ObjectStore

  /// Checks everything that goes to and comes from `inner`.
  public init(_ inner: any ObjectStore) { self.inner = inner }

  /// The inner store's address.
  public var address: String { inner.address }

  /// Reads an object, see `ObjectStore.get`.
  public func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    if let range {
      guard !range.isEmpty else { throw error(.badRequest, "GET", key.text, "empty range") }
      guard range.upperBound - range.lowerBound <= UInt64(buffer.capacity) else {
        throw error(.tooLarge, "GET", key.text, "range is larger than the buffer")
      }
    }
    buffer.count = 0
    do {
      let info = try await inner.get(key, range: range, into: buffer, priority: priority)
      try check(info, range: range, received: buffer.count, key)
      return info
    } catch {
      buffer.count = 0  // What came is not what was asked for.
      throw error
    }
  }

  /// Writes an object, see `ObjectStore.put`.
  public func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    if case .matches(let etag) = condition, etag.text.isEmpty {
      throw error(.badRequest, "PUT", key.text, "empty ETag as a condition")
    }
    let etag = try await inner.put(key, body, condition: condition, priority: priority)
    guard !etag.text.isEmpty else {
      throw error(.damagedAnswer, "PUT", key.text, "the answer has no ETag")
    }
    return etag
  }

  /// Removes an object, see `ObjectStore.delete`.
  public func delete(_ key: ObjectKey) async throws(StoreError) { try await inner.delete(key) }

  /// Lists keys, see `ObjectStore.list`.
  public func list(prefix: String, from token: String?, limit: Int) async throws(StoreError)
    -> ListPage
  {
    guard (1...1000).contains(limit) else {
      throw error(.badRequest, "LIST", prefix, "limit \(limit)")
    }
    let page = try await inner.list(prefix: prefix, from: token, limit: limit)
    func require(_ condition: Bool, _ why: String) throws(StoreError) {
      guard condition else { throw error(.damagedAnswer, "LIST", prefix, why) }
    }
    try require(page.keys.count <= limit, "more keys than asked for")
    try require(
      page.keys.allSatisfy { $0.text.utf8.starts(with: prefix.utf8) }, "a key of another prefix")
    try require(Set(page.keys).count == page.keys.count, "a key is listed twice")
    try require(page.next == nil || page.next != token, "the listing does not go on")
    return page
  }

  private func check(_ info: ObjectInfo, range: Range<UInt64>?, received: Int, _ key: ObjectKey)
    throws(StoreError)
  {
    let range = range ?? 0..<info.totalLength
    guard range.upperBound <= info.totalLength else {
      throw error(
        .damagedAnswer, "GET", key.text, "range ends behind the object's \(info.totalLength) bytes")
    }
    guard UInt64(received) == range.upperBound - range.lowerBound else {
      throw error(
        .damagedAnswer, "GET", key.text,
        "\(received) bytes instead of \(range.upperBound - range.lowerBound)")
    }
    guard !info.etag.text.isEmpty else {
      throw error(.damagedAnswer, "GET", key.text, "the answer has no ETag")
    }
  }

  private func error(_ kind: StoreError.Kind, _ operation: String, _ key: String, _ detail: String)
    -> StoreError
  {
    StoreError(kind, operation: operation, object: "\(address)/\(key)", detail: detail)
  }
}
