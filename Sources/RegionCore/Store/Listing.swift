extension ObjectStore {
  /// Calls `body` with the keys that begin with `prefix`, a page of them at a time, in order.
  func forEachPage(
    of prefix: String, _ body: ([ObjectKey]) async throws(RemoteError) -> Void
  ) async throws(RemoteError) {
    var token: String?
    repeat {
      let page: ListPage
      do throws(StoreError) {
        page = try await list(prefix: prefix, from: token, limit: 1000)
      } catch {
        throw .store(error)
      }
      try await body(page.keys)
      token = page.next
    } while token != nil
  }

  /// All keys that begin with `prefix`, in order.
  func keys(_ prefix: String) async throws(RemoteError) -> [ObjectKey] {
    var keys: [ObjectKey] = []
    try await forEachPage(of: prefix) { (page) async throws(RemoteError) in keys += page }
    return keys
  }
}
