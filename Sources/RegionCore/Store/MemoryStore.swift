import Locks

/// A store in this process's memory: `memory:`. Gone with the process; the contract's plainest form.
public final class MemoryStore: ObjectStore {
  private struct Object {
    var bytes: [UInt8]
    var version: UInt64
  }
  private struct State {
    var objects: [ObjectKey: Object] = [:]
    /// Counts every write, so that no ETag ever comes twice.
    var version: UInt64 = 0
  }
  private let state: Lock<State>

  /// An empty store.
  public init() { state = Lock(State()) }

  private init(_ state: State) { self.state = Lock(state) }

  /// Another store with the same objects.
  public func copy() -> MemoryStore { MemoryStore(state.withLock { $0 }) }

  /// The address as users write it: `memory:`.
  public var address: String { "memory:" }

  /// Reads an object, see `ObjectStore.get`.
  public func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    try checkCancellation("GET", key.text)
    guard let object = state.withLock({ $0.objects[key] }) else {
      throw error(.notFound, "GET", key.text, "no such object")
    }
    let total = UInt64(object.bytes.count)
    let range = range ?? 0..<total
    guard range.upperBound <= total else {
      throw error(.damagedAnswer, "GET", key.text, "the object ends at \(total)")
    }
    guard range.count <= buffer.capacity else {
      throw error(.tooLarge, "GET", key.text, "\(range.count) bytes, room for \(buffer.capacity)")
    }
    buffer.count = 0
    // SAFETY: `append` copies at once; the slice lies within the array by the first check.
    unsafe object.bytes[Int(range.lowerBound)..<Int(range.upperBound)].withUnsafeBytes {
      unsafe buffer.append($0)
    }
    return ObjectInfo(etag: Self.etag(object.version), totalLength: total)
  }

  /// Writes an object, see `ObjectStore.put`.
  public func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    try checkCancellation("PUT", key.text)
    let bytes = body.array
    let version = state.withLock { state -> UInt64? in
      let current = state.objects[key].map { Self.etag($0.version) }
      switch condition {
      case .none: break
      case .absent: if current != nil { return nil }
      case .matches(let etag): if current != etag { return nil }
      }
      state.version += 1
      state.objects[key] = Object(bytes: bytes, version: state.version)
      return state.version
    }
    guard let version else {
      throw error(.preconditionFailed, "PUT", key.text, "the condition does not hold")
    }
    return Self.etag(version)
  }

  /// Removes an object, see `ObjectStore.delete`.
  public func delete(_ key: ObjectKey) async throws(StoreError) {
    try checkCancellation("DELETE", key.text)
    state.withLock { _ = $0.objects.removeValue(forKey: key) }
  }

  /// Lists keys, see `ObjectStore.list`.
  public func list(prefix: String, from token: String?, limit: Int) async throws(StoreError)
    -> ListPage
  {
    try checkCancellation("LIST", prefix)
    let matching = state.withLock { state in
      state.objects.keys.filter { key in
        key.text.utf8.starts(with: prefix.utf8)
          && (token.map { $0.utf8.lexicographicallyPrecedes(key.text.utf8) } ?? true)
      }
    }.sorted()
    let page = Array(matching.prefix(limit))
    return ListPage(keys: page, next: matching.count > limit ? page.last?.text : nil)
  }

  private static func etag(_ version: UInt64) -> ETag { ETag("\"\(version)\"") }

  private func checkCancellation(_ operation: String, _ key: String) throws(StoreError) {
    if Task.isCancelled { throw error(.cancelled, operation, key, "cancelled") }
  }

  private func error(_ kind: StoreError.Kind, _ operation: String, _ key: String, _ detail: String)
    -> StoreError
  {
    StoreError(kind, operation: operation, object: "memory:\(key)", detail: detail)
  }
}
