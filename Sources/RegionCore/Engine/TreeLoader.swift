/// Reads a group's committed tree: the checkpoint's index and names, and the tables since.
struct TreeLoader {
  /// What a root refers to.
  struct Tree: Sendable {
    var index: CheckpointIndex?
    var tables: [SegmentTable]
    var namespace: Namespace
  }

  let objects: GroupObjects

  /// Everything that `root` refers to but the map's pages. Objects are asked for side by side.
  func load(_ root: Root) async throws(RemoteError) -> Tree {
    async let tables = self.tables(root)
    let index: CheckpointIndex?
    if let reference = root.checkpoint {
      index = try await objects.index(reference)
    } else {
      index = nil
    }
    var namespace = Namespace(
      inodes: try await inodes(index?.namePages ?? []), nextFileID: root.nextFileID)
    let loaded = try await tables.get()
    for table in loaded {
      for case .name(let change) in table.changes { namespace.apply(change) }
    }
    return Tree(index: index, tables: loaded, namespace: namespace)
  }

  private func tables(_ root: Root) async -> Result<[SegmentTable], RemoteError> {
    await all(root.tail) { (reference) async throws(RemoteError) in
      try await objects.table(reference, geometry: root.geometry)
    }
  }

  private func inodes(_ pages: [CheckpointIndex.NamePageEntry]) async throws(RemoteError) -> [Inode] {
    let pages = try await all(pages) { (entry) async throws(RemoteError) -> NamePage in
      let bytes = try await objects.page(entry.page, what: "name page", priority: .demand)
      return try objects.parsing(objects.mapKey(entry.page.object)) { () throws(FormatError) in
        try CheckpointCodec.decodeNamePage(bytes)
      }
    }.get()
    return pages.flatMap(\.inodes)
  }

  /// Runs `body` for all items, several at a time; the results in order, or the first error.
  private func all<Item: Sendable, Value: Sendable>(
    _ items: [Item], _ body: @escaping @Sendable (Item) async throws(RemoteError) -> Value
  ) async -> Result<[Value], RemoteError> {
    let width = 16
    return await withTaskGroup(of: (Int, Result<Value, RemoteError>).self) { group in
      var results: [Int: Value] = [:]
      var next = 0
      func addOne() {
        guard next < items.count else { return }
        let (at, item) = (next, items[next])
        next += 1
        group.addTask {
          do throws(RemoteError) {
            return (at, .success(try await body(item)))
          } catch {
            return (at, .failure(error))
          }
        }
      }
      for _ in 0..<width { addOne() }
      while let (at, result) = await group.next() {
        switch result {
        case .success(let value): results[at] = value
        case .failure(let error):
          group.cancelAll()
          return .failure(error)
        }
        addOne()
      }
      return .success(items.indices.compactMap { results[$0] })
    }
  }
}
