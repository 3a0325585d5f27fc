import RegionCore

/// A store in a local directory: `file:///directory`. One file an object, at its key's path.
///
/// Several processes of one machine may use it at once, and any of them may die at any time:
/// objects are written under a temporary name, synced, and renamed into place, and all changes of
/// a key happen under a lock that dies with its holder. Directories are never removed, so that no
/// PUT loses the ground under its feet; a deleted group leaves three empty ones.
///
/// An object `a` and an object `a/b` cannot both exist here; regionfs has no such keys. Names at
/// the top that begin with a dot are the store's own.
public final class DirectoryStore: ObjectStore {
  private let files: ObjectFiles
  private let pool: BlockingPool

  /// Opens the store in the directory at the absolute `path`, which is made if its parent exists.
  /// Throws `.noSuchContainer`, `.accessDenied`, `.outOfSpace`, `.badRequest` or `.io`.
  public init(directory path: String) throws(StoreError) {
    files = try ObjectFiles(root: path)
    pool = try BlockingPool()
  }

  /// The address as users write it, e.g. `file:///directory`.
  public var address: String { "file://\(files.root)" }

  /// Reads an object, see `ObjectStore.get`.
  public func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    try await run("GET", key.text, priority) { files throws(StoreError) in
      try files.get(key, range: range, into: buffer)
    }
  }

  /// Writes an object, see `ObjectStore.put`.
  public func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    try await run("PUT", key.text, priority) { files throws(StoreError) in
      try files.put(key, body, condition: condition)
    }
  }

  /// Removes an object, see `ObjectStore.delete`.
  public func delete(_ key: ObjectKey) async throws(StoreError) {
    try await run("DELETE", key.text, .background) { files throws(StoreError) in
      try files.delete(key)
    }
  }

  /// Lists keys, see `ObjectStore.list`.
  public func list(prefix: String, from token: String?, limit: Int) async throws(StoreError)
    -> ListPage
  {
    try await run("LIST", prefix, .demand) { files throws(StoreError) in
      try Listing(files: files, prefix: prefix, after: token, limit: limit).page()
    }
  }

  /// Does `work` on the store's own threads.
  private func run<Value: Sendable>(
    _ operation: String, _ key: String, _ priority: TransferPriority,
    _ work: @escaping @Sendable (ObjectFiles) throws(StoreError) -> Value
  ) async throws(StoreError) -> Value {
    let files = files
    let cancelled = StoreError(
      .cancelled, operation: operation, object: files.describe(key), detail: "cancelled")
    if Task.isCancelled { throw cancelled }
    let result: Result<Value, StoreError> = await pool.run(
      priority: priority, cancelled: .failure(cancelled)
    ) {
      do throws(StoreError) {
        return .success(try work(files))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }
}
