/// Roots from which claims were taken over: `g/<uuid>/fenced/<epoch>-<nonce>`. The one that lost its
/// claim finds there how far it had committed, and on what its uncommitted changes were made; the
/// checkpoints of that time stay until somebody has decided about them.
extension GroupObjects {
  /// Keeps a root that is about to lose its claim.
  func keepFenced(_ root: Root) async throws(RemoteError) {
    try await engine.requireChecked(rootKey)
    let key = ObjectKeys.fenced(group, root.epoch, root.commit.nonce)
    let bytes = try parsing(key) { () throws(FormatError) in try RootCodec.encode(root) }
    do throws(StoreError) {
      _ = try await engine.store.put(key, IOBuffer(bytes), condition: .none, priority: .demand)
    } catch {
      throw .store(error)
    }
  }

  /// The last root that `writer` had in `epoch`, if its claim was taken over.
  func fencedRoot(_ epoch: Epoch, of writer: WriterID) async throws(RemoteError) -> Root? {
    var last: Root?
    for key in try await fencedKeys(epoch) {
      let buffer = IOBuffer(capacity: Limits.rootLength)
      _ = try await get(key, range: nil, into: buffer, priority: .demand)
      let root = try parsing(key) { () throws(FormatError) in try RootCodec.decode(buffer.array) }
      guard root.group == group, root.epoch == epoch, root.claim == .held(writer) else { continue }
      if root.commit.number >= last?.commit.number ?? 0 { last = root }
    }
    return last
  }

  /// Objects of this epoch and of those before it may be needed by somebody who lost a claim; nil:
  /// by nobody.
  func fencedEpoch() async throws(RemoteError) -> Epoch? {
    try await fencedKeys(nil).compactMap(Self.epoch).max()
  }

  /// The changes that were made in `epoch` and not committed are saved or discarded.
  func forgetFenced(_ epoch: Epoch) async throws(RemoteError) {
    for key in try await fencedKeys(epoch) {
      do throws(StoreError) {
        try await engine.store.delete(key)
      } catch {
        throw .store(error)
      }
    }
  }

  private func fencedKeys(_ epoch: Epoch?) async throws(RemoteError) -> [ObjectKey] {
    let prefix = ObjectKeys.fencedPrefix(of: group) + (epoch.map { "\($0)-" } ?? "")
    return try await engine.store.keys(prefix)
  }

  private static func epoch(of key: ObjectKey) -> Epoch? {
    key.text.split(separator: "/").last?.split(separator: "-").first.flatMap { Epoch($0) }
  }
}
