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
    var index: CheckpointIndex?
    var tail: CheckpointTail?
    if let reference = root.checkpoint {
      tail = try await objects.tail(of: reference)
      index = try await objects.index(reference, in: tail)
    }
    var namespace = Namespace(
      inodes: try await inodes(index?.namePages ?? [], tail), nextFileID: root.nextFileID)
    if let tail { objects.keepPages(index?.mapPages ?? [], in: tail) }
    let loaded = try await tables.get()
    for table in loaded {
      for case .name(let change) in table.changes { namespace.apply(change) }
    }
    return Tree(index: index, tables: loaded, namespace: namespace)
  }

  private func tables(_ root: Root) async -> Result<[SegmentTable], RemoteError> {
    await all(root.tail) { reference in
      do throws(RemoteError) {
        return .success(try await objects.table(reference, geometry: root.geometry))
      } catch {
        return .failure(error)
      }
    }
  }

  private func inodes(
    _ pages: [CheckpointIndex.NamePageEntry], _ tail: CheckpointTail?
  ) async throws(RemoteError) -> [Inode] {
    let pages = try await all(pages) { await namePage($0, tail) }.get()
    return pages.flatMap(\.inodes)
  }

  private func namePage(
    _ entry: CheckpointIndex.NamePageEntry, _ tail: CheckpointTail?
  ) async -> Result<NamePage, RemoteError> {
    do throws(RemoteError) {
      let bytes = try await objects.page(
        entry.page, what: "name page", priority: .demand, in: tail)
      return .success(
        try objects.parsing(objects.mapKey(entry.page.object)) { () throws(FormatError) in
          try CheckpointCodec.decodeNamePage(bytes)
        })
    } catch {
      return .failure(error)
    }
  }

  /// Requests of one load at a time.
  private static let width = 16

  /// Runs `body` for all items, several at a time; the results in order, or the first error.
  ///
  /// Results travel as values: errors thrown inside a task group's closure come out wrong in
  /// optimised builds (Swift 6.3.1).
  private func all<Item: Sendable, Value: Sendable>(
    _ items: [Item], _ body: @escaping @Sendable (Item) async -> Result<Value, RemoteError>
  ) async -> Result<[Value], RemoteError> {
    await withTaskGroup { group in
      var results: [Int: Value] = [:]
      for (at, item) in items.prefix(Self.width).enumerated() {
        group.addTask { (at, await body(item)) }
      }
      var next = Self.width
      while let (at, result) = await group.next() {
        switch result {
        case .success(let value): results[at] = value
        case .failure(let error):
          group.cancelAll()
          return .failure(error)
        }
        if next < items.count {
          let (index, item) = (next, items[next])
          next += 1
          group.addTask { (index, await body(item)) }
        }
      }
      return .success(items.indices.compactMap { results[$0] })
    }
  }
}
