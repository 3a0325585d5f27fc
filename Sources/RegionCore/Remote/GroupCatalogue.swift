/// The names at the top of a mount: `<prefix>/groups/<escaped name>` objects that name groups.
public final class GroupCatalogue: Sendable {
  private let engine: EngineContext

  /// The catalogue of the engine's store.
  public init(engine: EngineContext) { self.engine = engine }

  /// All names, in order of bytes.
  public func names() async throws(RemoteError) -> [FileName] {
    try await engine.store.keys("groups/").compactMap { GroupNames.name(of: $0) }.sorted()
  }

  /// What a name stands for, with the record's version; nil if there is no such name.
  public func record(_ name: FileName) async throws(RemoteError) -> (
    record: GroupRecord, etag: ETag
  )? {
    try await newestRecord(name).map { ($0.record, $0.info.etag) }
  }

  /// The same with all that the store said of it.
  public func newestRecord(_ name: FileName) async throws(RemoteError) -> (
    record: GroupRecord, info: ObjectInfo
  )? {
    let key = GroupNames.key(for: name)
    let buffer = IOBuffer(capacity: Limits.groupRecordLength)
    let info: ObjectInfo
    do throws(StoreError) {
      info = try await engine.store.get(key, range: nil, into: buffer, priority: .demand)
    } catch {
      if error.kind == .notFound { return nil }
      throw .store(error)
    }
    do throws(FormatError) {
      let record = try GroupRecordCodec.decode(buffer.array)
      guard record.name == name else {
        throw FormatError(.invalid("it names another group"), what: "group record")
      }
      return (record, info)
    } catch {
      throw .damaged(object: engine.store.address + "/" + key.text, error)
    }
  }

  /// The version of a name's record, whatever it says.
  func version(of name: FileName) async throws(RemoteError) -> ETag {
    let buffer = IOBuffer(capacity: Limits.groupRecordLength)
    return try await store { () async throws(StoreError) in
      try await engine.store.get(
        GroupNames.key(for: name), range: nil, into: buffer, priority: .demand
      ).etag
    }
  }

  /// Adds a name; nil if it is taken.
  public func add(_ record: GroupRecord) async throws(RemoteError) -> ETag? {
    do throws(RemoteError) {
      return try await put(record, .absent)
    } catch {
      if case .store(let cause) = error, cause.kind == .preconditionFailed { return nil }
      throw error
    }
  }

  /// Lets a name stand for another group; fails if it is not at `etag` any more.
  public func replace(_ record: GroupRecord, at etag: ETag) async throws(RemoteError) -> ETag {
    try await put(record, .matches(etag))
  }

  /// Removes a name.
  public func remove(_ name: FileName) async throws(RemoteError) {
    let key = GroupNames.key(for: name)
    try await store { () async throws(StoreError) in try await engine.store.delete(key) }
  }

  private func put(_ record: GroupRecord, _ condition: PutCondition) async throws(RemoteError)
    -> ETag
  {
    let key = GroupNames.key(for: record.name)
    try await engine.requireChecked(key)
    let body = IOBuffer(try encode(record))
    return try await store { () async throws(StoreError) in
      try await engine.store.put(key, body, condition: condition, priority: .demand)
    }
  }

  private func encode(_ record: GroupRecord) throws(RemoteError) -> [UInt8] {
    do throws(FormatError) {
      return try GroupRecordCodec.encode(record)
    } catch {
      throw .damaged(object: "\(record.name)", error)
    }
  }

  private func store<Value>(_ body: () async throws(StoreError) -> Value) async throws(RemoteError)
    -> Value
  {
    do throws(StoreError) { return try await body() } catch { throw .store(error) }
  }

  // MARK: Removed groups

  /// Notes that a group has no name any more: its objects go after the grace time.
  public func markDeleted(_ group: GroupID) async throws(RemoteError) {
    let text = "regionfs-deleted 1 \(engine.clock.wall.nanoseconds)\n"
    let body = IOBuffer(Array(text.utf8))
    _ = try await store { () async throws(StoreError) in
      try await engine.store.put(
        ObjectKeys.deleted(group), body, condition: .none, priority: .background)
    }
  }

  /// Groups that lost their name longer than the grace time ago.
  public func expired() async throws(RemoteError) -> [GroupID] {
    var groups: [GroupID] = []
    for key in try await engine.store.keys(ObjectKeys.deletedPrefix) {
      guard let group = ObjectKeys.identifier(of: key, prefix: ObjectKeys.deletedPrefix) else {
        continue
      }
      if try await isExpired(key) { groups.append(group) }
    }
    return groups
  }

  private func isExpired(_ key: ObjectKey) async throws(RemoteError) -> Bool {
    guard let age = try await age(ofNote: key) else { return false }
    return age >= engine.settings.collectionGrace
  }

  /// How long ago a group was noted as deleted; nil without such a note.
  func deletionAge(_ group: GroupID) async throws(RemoteError) -> Duration? {
    do throws(RemoteError) {
      return try await age(ofNote: ObjectKeys.deleted(group))
    } catch {
      if error.isNotFound { return nil }
      throw error
    }
  }

  /// The age of a note, negative by another clock; nil for one that cannot be read.
  private func age(ofNote key: ObjectKey) async throws(RemoteError) -> Duration? {
    let buffer = IOBuffer(capacity: 256)
    _ = try await store { () async throws(StoreError) in
      try await engine.store.get(key, range: nil, into: buffer, priority: .background)
    }
    let words = String(decoding: buffer.array, as: UTF8.self).split(whereSeparator: {
      $0 == " " || $0 == "\n"
    })
    guard words.count == 3, words[0] == "regionfs-deleted", let time = Int64(words[2]) else {
      return nil
    }
    let (age, overflow) = engine.clock.wall.nanoseconds.subtractingReportingOverflow(time)
    return overflow ? nil : .nanoseconds(age)
  }

  /// All groups that have a name.
  public func namedGroups() async throws(RemoteError) -> Set<GroupID> {
    var groups = Set<GroupID>()
    for name in try await names() {
      if let record = try await record(name)?.record { groups.insert(record.group) }
    }
    return groups
  }

  /// Takes a note of deletion back.
  public func withdrawDeletion(_ group: GroupID) async throws(RemoteError) {
    try await store { () async throws(StoreError) in
      try await engine.store.delete(ObjectKeys.deleted(group))
    }
  }

  /// Removes all objects of a group that lost its name, then the note.
  public func purge(_ group: GroupID) async throws(RemoteError) {
    let prefixes = [
      ObjectKeys.segmentPrefix(of: group), ObjectKeys.mapPrefix(of: group),
      ObjectKeys.fencedPrefix(of: group),
    ]
    for prefix in prefixes {
      try await engine.store.forEachPage(of: prefix) { (keys) async throws(RemoteError) in
        for key in keys {
          try await store { () async throws(StoreError) in try await engine.store.delete(key) }
        }
      }
    }
    for key in [ObjectKeys.trace(of: group), ObjectKeys.root(of: group), ObjectKeys.deleted(group)]
    {
      try await store { () async throws(StoreError) in try await engine.store.delete(key) }
    }
  }
}
