/// A group's objects in the store, read whole or in checked pieces and written under fresh names.
final class GroupObjects: Sendable {
  let group: GroupID
  let engine: EngineContext
  /// Copies in the cache; nil for who works on the store without one.
  let copies: MetadataCache?

  init(group: GroupID, engine: EngineContext, cacheDirectory: String? = nil) {
    self.group = group
    self.engine = engine
    copies = cacheDirectory.map {
      MetadataCache(group: group, cacheDirectory: $0, disk: engine.disk)
    }
  }

  var rootKey: ObjectKey { ObjectKeys.root(of: group) }
  func segmentKey(_ object: ObjectID) -> ObjectKey { ObjectKeys.segment(group, object) }
  func mapKey(_ object: ObjectID) -> ObjectKey { ObjectKeys.map(group, object) }

  /// How messages name an object: the store's address and the key.
  func address(_ key: ObjectKey) -> String {
    let base = engine.store.address
    return base.hasSuffix("/") ? base + key.text : base + "/" + key.text
  }

  // MARK: Reading

  /// The root and its version.
  func root() async throws(RemoteError) -> (root: Root, etag: ETag) {
    let (root, info) = try await readRoot()
    return (root, info.etag)
  }

  private func readRoot() async throws(RemoteError) -> (root: Root, info: ObjectInfo) {
    let buffer = IOBuffer(capacity: Limits.rootLength)
    let info = try await get(rootKey, range: nil, into: buffer, priority: .demand)
    let root = try parsing(rootKey) { () throws(FormatError) in try RootCodec.decode(buffer.array) }
    guard root.group == group else {
      throw .damaged(
        object: address(rootKey), FormatError(.invalid("another group's root"), what: "root"))
    }
    // There must be numbers for the claims and commits that follow.
    guard max(root.epoch, root.commit.number) <= Limits.numberInUse else {
      throw .damaged(
        object: address(rootKey), FormatError(.invalid("numbers out of range"), what: "root"))
    }
    return (root, info)
  }

  /// The root, or, where the store does not answer soon, the copy in the cache; that has no version.
  func rootOrCopy() async throws(RemoteError) -> (root: Root, info: ObjectInfo?) {
    guard let copy = copies?.root(of: group) else {
      let (root, info) = try await readRoot()
      return (root, info)
    }
    let answer = await engine.patiently { () async -> Result<(Root, ObjectInfo), RemoteError> in
      do throws(RemoteError) {
        return .success(try await self.readRoot())
      } catch {
        return .failure(error)
      }
    }
    switch answer {
    case .success((let root, let info)): return (root, info)
    case .failure(let error) where !error.isRetryable: throw error
    case .failure, nil:
      engine.log(
        .warning,
        "\(address(rootKey)) does not answer: group \(group) is shown as of commit "
          + "\(copy.commit.number), which the cache has")
      return (copy, nil)
    }
  }

  /// The table of a segment.
  func table(
    _ reference: Root.SegmentReference, geometry: Geometry
  ) async throws(RemoteError) -> SegmentTable {
    let key = segmentKey(reference.object)
    let bytes = try await checked(
      key, reference.tableRange, reference.tableChecksum, limit: Limits.tableLength,
      what: "segment table", priority: .demand)
    return try parsing(key) { () throws(FormatError) in
      let table = try SegmentCodec.decodeTable(
        bytes, segment: reference.object, payloadEnd: reference.tableRange.lowerBound,
        geometry: geometry)
      guard table.group == group, table.commit == reference.commit else {
        throw FormatError(.invalid("it belongs to another commit"), what: "segment table")
      }
      return table
    }
  }

  /// The index of a checkpoint.
  func index(
    _ reference: Root.CheckpointReference, in tail: CheckpointTail? = nil
  ) async throws(RemoteError) -> CheckpointIndex {
    let key = mapKey(reference.object)
    let bytes = try await checked(
      key, reference.indexOffset..<reference.indexOffset + UInt64(reference.indexLength),
      reference.indexChecksum, limit: Limits.indexLength, what: "checkpoint index",
      priority: .demand, in: tail)
    return try parsing(key) { () throws(FormatError) in
      let index = try CheckpointCodec.decodeIndex(bytes)
      guard index.group == group, index.commit == reference.commit else {
        throw FormatError(.invalid("it belongs to another commit"), what: "checkpoint index")
      }
      return index
    }
  }

  /// The bytes of a map or name page.
  func page(
    _ reference: CheckpointIndex.PageReference, what: String, priority: TransferPriority,
    in tail: CheckpointTail? = nil
  ) async throws(RemoteError) -> [UInt8] {
    try await checked(
      mapKey(reference.object), reference.offset..<reference.offset + UInt64(reference.length),
      reference.checksum, limit: max(Limits.mapPageLength, Limits.namePageLength), what: what,
      priority: priority, in: tail)
  }

  /// How often a damaged answer is asked for again before it counts as a damaged object. A path that
  /// damages every third answer fails one request in ten thousand; a damaged object costs this many.
  static let damagedAttempts = 8

  /// `range` of an object, whose checksum is known.
  private func checked(
    _ key: ObjectKey, _ range: Range<UInt64>, _ checksum: UInt32, limit: Int, what: String,
    priority: TransferPriority, in tail: CheckpointTail? = nil
  ) async throws(RemoteError) -> [UInt8] {
    guard range.count <= limit else {
      throw .damaged(
        object: address(key), FormatError(.invalid("length \(range.count)"), what: what))
    }
    let name = MetadataCache.name(key, offset: range.lowerBound)
    if let copy = copies?.piece(name, length: range.count, checksum: checksum) { return copy }
    if let piece = tail?.piece(key, range, checksum) {
      keeping { () throws(LocalError) in try copies?.keep(piece, as: name) }
      return piece
    }
    for _ in 0..<Self.damagedAttempts {
      let buffer = IOBuffer(capacity: range.count)
      _ = try await get(key, range: range, into: buffer, priority: priority)
      if unsafe CRC32C.checksum(buffer.bytes) == checksum {
        keeping { () throws(LocalError) in try copies?.keep(buffer.array, as: name) }
        return buffer.array
      }
      engine.log(.warning, "\(address(key)): \(what) arrived damaged, asking again")
    }
    throw .damaged(object: address(key), FormatError(.checksum, what: what))
  }

  /// A GET, its error wrapped.
  func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(RemoteError) -> ObjectInfo {
    do {
      return try await engine.store.get(key, range: range, into: buffer, priority: priority)
    } catch {
      throw .store(error)
    }
  }

  /// Runs a parser and names the object in its error.
  func parsing<Value>(
    _ key: ObjectKey, _ body: () throws(FormatError) -> Value
  ) throws(RemoteError) -> Value {
    do throws(FormatError) {
      return try body()
    } catch {
      throw .damaged(object: address(key), error)
    }
  }

  /// Keeps copies. That it does not work costs requests, and openings without the store.
  func keeping(_ body: () throws(LocalError) -> Void) {
    do throws(LocalError) {
      try body()
    } catch {
      engine.log(.debug, "no copy in the cache: \(error)")
    }
  }

  /// Keeps a copy of a part of an object that was uploaded.
  func keep(_ key: ObjectKey, _ body: IOBuffer, offset: UInt64, length: UInt32) {
    let range = Int(offset)..<Int(offset) + Int(length)
    guard range.upperBound <= body.count else { return }
    let bytes = unsafe [UInt8](body.bytes.bytes(range))
    keeping { () throws(LocalError) in
      try copies?.keep(bytes, as: MetadataCache.name(key, offset: offset))
    }
  }

  // MARK: Writing

  /// Writes an immutable object; its name is fresh.
  func create(_ key: ObjectKey, _ body: IOBuffer) async throws(RemoteError) {
    do {
      _ = try await engine.store.put(key, body, condition: .absent, priority: .demand)
    } catch {
      throw .store(error)
    }
  }

  /// Makes the group's first root.
  func createRoot(_ root: Root) async throws(RemoteError) -> ETag {
    try await putRoot(root, .absent)
  }

  /// Writes a root once. Not repeated where the answer is lost: who needs to know what became of it
  /// reads it.
  func putRoot(_ root: Root, _ condition: PutCondition) async throws(RemoteError) -> ETag {
    try await engine.requireChecked(rootKey)
    let bytes = try parsing(rootKey) { () throws(FormatError) in try RootCodec.encode(root) }
    do {
      return try await engine.store.put(
        rootKey, IOBuffer(bytes), condition: condition, priority: .demand)
    } catch {
      throw .store(error)
    }
  }

  /// One slow answer alone is no reason to give a swap up.
  private static let leastSwapAttempts = 4

  /// What became of an attempt to replace the root.
  enum SwapResult {
    /// The root is ours now (or was, and history shows it).
    case done(ETag)
    /// The root is another one: a higher epoch, or what a former daemon of this cache had under way.
    case lost(Root, ETag)
  }

  /// Replaces the root by compare-and-swap, never believing a refusal or silence blindly: it reads
  /// back, and repeats the same bytes while the old root is still there, ever less often. Throws when
  /// the store cannot be asked, or takes no PUT for as long as a fault may wait.
  func swapRoot(
    from old: Root, _ etag: ETag, to new: Root
  ) async throws(RemoteError) -> SwapResult {
    let body = IOBuffer(
      try parsing(rootKey) { () throws(FormatError) in try RootCodec.encode(new) })
    var etag = etag
    var backoff = Backoff(first: .milliseconds(50))
    let start = engine.clock.now
    var attempts = 0
    try await engine.requireChecked(rootKey)
    while true {
      attempts += 1
      let failure: StoreError
      do {
        return .done(
          try await engine.store.put(rootKey, body, condition: .matches(etag), priority: .demand))
      } catch {
        guard Self.isUndecided(error.kind) else { throw .store(error) }
        engine.log(.info, "\(error.description): reading the root back")
        failure = error
      }
      let (current, currentTag) = try await root()
      if current == new { return .done(currentTag) }
      // A release of ours whose acknowledgement was lost: only a claim raises the epoch, so nobody
      // can have written since.
      var held = current
      if current.claim == .free { (held.claim, held.holder) = (old.claim, old.holder) }
      if held != old { return .lost(current, currentTag) }
      // Still the old root: the attempt did not happen. The same bytes may be sent again.
      etag = currentTag
      let waited = engine.clock.now.since(start)
      guard attempts < Self.leastSwapAttempts || waited < engine.settings.faultTimeout else {
        throw .store(failure)
      }
      await engine.clock.sleep(for: backoff.next(engine))
    }
  }

  /// Whether the swap may have happened in spite of this answer.
  private static func isUndecided(_ kind: StoreError.Kind) -> Bool {
    switch kind {
    case .preconditionFailed, .conflict, .throttled, .unavailable, .damagedAnswer, .io: true
    default: false
    }
  }
}
