/// A group as the store has it, read without a mount and without a cache: for the commands that
/// look at a store.
public struct StoredGroup: Sendable {
  /// The root that was read.
  public let root: Root
  /// Names and attributes at that root's commit.
  public let namespace: Namespace
  /// Where the committed content lies.
  let map: RemoteMap
  let objects: GroupObjects
  /// The checkpoint's index; nil before the first checkpoint.
  let index: CheckpointIndex?
  /// The tables since.
  let tables: [SegmentTable]

  /// Reads root, names and the tables since the checkpoint.
  ///
  /// - Parameter kind: what its name record says that it is; for a group whose first commit never
  ///   came.
  public static func open(
    _ id: GroupID, kind: InodeKind, engine: EngineContext
  ) async throws(RemoteError) -> StoredGroup {
    let objects = GroupObjects(group: id, engine: engine)
    let (root, _) = try await objects.root()
    let tree = try await TreeLoader(objects: objects).load(root)
    var namespace = tree.namespace
    namespace.addMissingTop(kind, at: root.committedAt)
    let map = RemoteMap(objects: objects, geometry: root.geometry)
    map.reset(to: tree.index, tables: tree.tables)
    return StoredGroup(
      root: root, namespace: namespace, map: map, objects: objects, index: tree.index,
      tables: tree.tables)
  }

  /// The inode at a path below the top; the top itself for an empty path.
  public func inode(at path: [FileName]) -> Inode? {
    var current = namespace[Namespace.top]
    for name in path {
      guard let directory = current else { return nil }
      current = namespace.child(name, of: directory.id)
    }
    return current
  }

  /// Bytes of all its files, holes included.
  public var size: UInt64 {
    namespace.all.reduce(0) { $0 &+ ($1.kind == .file ? $1.size : 0) }
  }

  // MARK: Reading

  /// Some pages of a file.
  public struct Piece: Sendable {
    /// Where they lie in the file, in bytes; the last page may reach beyond the file's end.
    public var offset: UInt64
    /// Their bytes.
    public var bytes: [UInt8]
  }

  /// The content of `chunks` of a file; what no piece covers is zero. Several ranges are fetched at
  /// a time.
  public func read(_ file: FileID, _ chunks: Range<ChunkIndex>) async throws(RemoteError) -> [Piece]
  {
    var located: [(chunk: ChunkIndex, extents: [Extent])] = []
    var next = map.nextMapped(file, from: chunks.lowerBound, below: chunks.upperBound)
    while let chunk = next {
      located.append((chunk, try await map.extents(file, chunk, priority: .demand)))
      next = map.nextMapped(file, from: chunk + 1, below: chunks.upperBound)
    }
    let plan = FetchPlan(located)
    let results = await mapConcurrently(plan.fetches, width: 8) {
      fetch -> Result<IOBuffer, RemoteError> in
      do throws(RemoteError) {
        return .success(try await objects.units(fetch, priority: .demand))
      } catch {
        return .failure(error)
      }
    }
    var buffers: [IOBuffer] = []
    for result in results { buffers.append(try result.get()) }
    defer { for buffer in buffers { objects.engine.buffers.give(buffer) } }
    return plan.pieces.values.flatMap { pieces in
      pieces.map { piece in
        let length = piece.pages.count << Int(Geometry.pageShift)
        return Piece(
          offset: piece.pages.lowerBound << Geometry.pageShift,
          bytes: buffers[piece.fetch].array(piece.offset..<piece.offset + length))
      }
    }
  }

  /// The next chunks that may hold data, at most `limit` of them, and where to look on; nil at the end.
  public func nextMappedRange(
    _ file: FileID, from first: ChunkIndex, below end: ChunkIndex, limit: UInt64
  ) async throws(RemoteError) -> (range: Range<ChunkIndex>, next: ChunkIndex)? {
    var start = first
    while true {
      guard let chunk = map.nextMapped(file, from: start, below: end) else { return nil }
      // The page of the map may not be in memory yet, and then every chunk of it may hold data.
      if try await map.extents(file, chunk, priority: .demand).isEmpty {
        start = chunk + 1
        continue
      }
      let upper = min(end, chunk + limit)
      return (chunk..<upper, upper)
    }
  }
}
