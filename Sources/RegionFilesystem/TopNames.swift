import FuseKit
import Glibc
import RegionCore

/// The top directory: each entry is a group, its name an object in the store. So these operations
/// ask the store and answer later.
extension RegionFilesystem {
  /// How long a name, or that there is none, is believed without asking the store again.
  private static let nameAge = Duration.seconds(1)

  func lookupTop(_ bytes: [UInt8], _ reply: consuming EntryReply) {
    guard bytes.count <= Limits.nameLength, let name = FileName(bytes) else {
      return reply.error(bytes.count > Limits.nameLength ? ENAMETOOLONG : ENOENT)
    }
    if let known = groups.top(name), isFresh(known),
      let inode = known.group.inode(Namespace.top)
    {
      return answer(inode, of: known.group, reply)
    }
    // Shells, SQLite and importing interpreters ask for absent names again and again.
    if isAbsent(name) { return reply.error(ENOENT) }
    let box = parking.hold(reply, .reading)
    engine.executor.spawn { [self] in
      do throws(RegionError) {
        let top = try await find(name)
        guard let inode = top.group.inode(Namespace.top) else { throw .notFound }
        answer(inode, of: top.group, box)
      } catch {
        box.take()?.error(error.code)
      }
    }
  }

  /// Only its writer can rename or remove a group: then what is known here is true.
  private func isFresh(_ top: GroupTable.Top) -> Bool {
    top.group.isWriter || engine.clock.now.since(top.checkedAt) < Self.nameAge
  }

  private func isAbsent(_ name: FileName) -> Bool {
    groups.absence(of: name).map { engine.clock.now.since($0) < Self.nameAge } ?? false
  }

  /// What a name stands for, asking the store if what is known is old. If the store does not answer
  /// soon, what was known stands, also what the cache remembers of former mounts.
  func find(_ name: FileName) async throws(RegionError) -> GroupTable.Top {
    if let known = groups.top(name), isFresh(known) { return known }
    do throws(RemoteError) {
      guard let (record, info) = try await recordOrKnown(name) else {
        throw .store(noSuchName(name))
      }
      let group: Group
      do throws(RemoteError) {
        group = try await load(record)
      } catch {
        // Removed in this moment, or is an object missing of a group that is there? The latter is
        // damage, and must not look like an absent file.
        guard case .store(let missing) = error, missing.kind == .notFound,
          try await self.record(name) != nil
        else { throw error }
        throw .store(
          StoreError(
            .io, operation: missing.operation, object: missing.object,
            detail: "it is missing, but its group is there: restore the object"))
      }
      await group.refresh(maxAge: Self.nameAge)
      let top = GroupTable.Top(
        record: record, etag: info.etag, group: group, checkedAt: info.asOf ?? engine.clock.now)
      groups.setTop(name, top)
      group.noteName(name)
      return top
    } catch {
      if error.isNotFound { throw .notFound }
      if let known = groups.top(name) { return known }
      engine.log(.error, "cannot open \(name): \(error)")
      throw error.regionError
    }
  }

  /// The record of a name, or what the cache remembers of it where the store does not answer soon.
  private func recordOrKnown(
    _ name: FileName
  ) async throws(RemoteError) -> (GroupRecord, ObjectInfo)? {
    guard let known = known.record(name) else { return try await record(name) }
    let answer = await engine.patiently {
      () async -> Result<(GroupRecord, ObjectInfo)?, RemoteError> in
      do throws(RemoteError) {
        return .success(try await self.record(name))
      } catch {
        return .failure(error)
      }
    }
    switch answer {
    case .success(let found): return found
    case .failure(let error) where !error.isRetryable: throw error
    case .failure, nil: return (known.record, ObjectInfo(etag: known.etag, totalLength: 0))
    }
  }

  /// The record of a name; nil where there is none, which is noted.
  private func record(_ name: FileName) async throws(RemoteError) -> (GroupRecord, ObjectInfo)? {
    let asked = engine.clock.now
    if let found = try await catalogue.newestRecord(name) {
      known.note(found.record, found.info.etag)
      return found
    }
    groups.noteAbsent(name, asOf: asked)
    known.remove(name)
    return nil
  }

  private func noSuchName(_ name: FileName) -> StoreError {
    StoreError(.notFound, operation: "GET", object: "\(name)", detail: "no such name")
  }

  private func load(_ record: GroupRecord) async throws(RemoteError) -> Group {
    let result = await groups.group(record.group) { [self] in
      do throws(GroupError) {
        return .success(
          try await Group.load(
            record.group, engine, cacheDirectory: settings.cacheDirectory,
            bootID: settings.bootID, kind: record.kind))
      } catch {
        return .failure(error)
      }
    }
    switch result {
    case .success(let group): return group
    case .failure(.remote(let error)): throw error
    case .failure(let error):
      throw .store(
        StoreError(.io, operation: "open", object: "\(record.name)", detail: "\(error)"))
    }
  }

  /// The names at the top, from the store; what is known here if the store does not answer.
  func topNames() async throws(RegionError) -> [FileName] {
    if !known.isUsable {
      do throws(RemoteError) { return try await list() } catch { throw error.regionError }
    }
    let answer = await engine.patiently { () async -> Result<[FileName], RemoteError> in
      do throws(RemoteError) {
        return .success(try await self.list())
      } catch {
        return .failure(error)
      }
    }
    switch answer {
    case .success(let names): return names
    case .failure(let error) where !error.isRetryable: throw error.regionError
    case .failure, nil:
      engine.log(.info, "the store does not answer: its names are listed as they were")
      return known.all
    }
  }

  private func list() async throws(RemoteError) -> [FileName] {
    let moment = known.now
    let names = try await catalogue.names()
    known.noteAll(names, since: moment)
    groups.forgetAbsence(of: names)
    return names
  }

  // MARK: Making

  func makeTop(
    _ new: NewInode, _ name: FileName, _ done: @escaping @Sendable (Group, Inode) -> Void,
    orElse fail: @escaping @Sendable (Int32) -> Void
  ) {
    guard !engine.settings.isReadOnly else { return fail(EROFS) }
    guard new.target.count <= Limits.symlinkLength else { return fail(ENAMETOOLONG) }
    engine.executor.spawn { [self] in
      do throws(RegionError) {
        let group = try await createGroup(new, name)
        guard let inode = group.inode(Namespace.top) else { throw .io }
        done(group, inode)
      } catch {
        fail(error.code)
      }
    }
  }

  private func createGroup(_ new: NewInode, _ name: FileName) async throws(RegionError) -> Group {
    if groups.top(name) != nil { throw .exists }
    do throws(GroupError) {
      let group = try await Group.create(
        engine, cacheDirectory: settings.cacheDirectory, bootID: settings.bootID, kind: new.kind,
        mode: UInt16(new.mode & 0o7777), uid: new.caller.uid, gid: new.caller.gid,
        target: new.target)
      let record = GroupRecord(group: group.id, name: name, kind: new.kind, serial: 0)
      let etag: ETag?
      do throws(RemoteError) {
        etag = try await catalogue.add(record)
      } catch {
        group.abandon()
        throw .remote(error)
      }
      guard let etag else {
        // Somebody else made the name: the fresh group was never visible.
        groups.forgetAbsence(of: [name])
        await discard(group)
        return try await Self.throwExists()
      }
      groups.setTop(
        name,
        GroupTable.Top(record: record, etag: etag, group: group, checkedAt: engine.clock.now))
      group.noteName(name)
      known.note(record, etag)
      return group
    } catch {
      engine.log(.error, "cannot make \(name): \(error)")
      throw error.regionError
    }
  }

  private static func throwExists() async throws(GroupError) -> Group {
    throw .remote(
      .store(StoreError(.preconditionFailed, operation: "PUT", object: "name", detail: "exists")))
  }

  private func discard(_ group: Group) async {
    group.abandon()
    do throws(RemoteError) {
      try await catalogue.purge(group.id)
    } catch {
      engine.log(.warning, "an unused group stays in the store: \(error)")
    }
  }

  // MARK: Removing

  func removeTop(_ name: FileName, directory: Bool, _ box: ReplyBox<EmptyReply>) {
    guard !engine.settings.isReadOnly else {
      box.take()?.error(EROFS)
      return
    }
    engine.executor.spawn { [self] in
      do throws(RegionError) {
        let top = try await find(name)
        try await checkRemovable(top, asDirectory: directory)
        try await removeName(top)
        box.take()?.success()
      } catch {
        box.take()?.error(error.code)
      }
    }
  }

  /// Whether the group may be removed by rmdir or unlink; claims it, so that nobody else writes it.
  private func checkRemovable(_ top: GroupTable.Top, asDirectory: Bool) async throws(RegionError) {
    guard let inode = top.group.inode(Namespace.top) else { throw .notFound }
    if asDirectory {
      guard inode.kind == .directory else { throw .notDirectory }
    } else {
      guard inode.kind != .directory else { throw .isDirectory }
    }
    try await top.group.claim()
    if asDirectory, try !top.group.entries(of: Namespace.top).isEmpty { throw .notEmpty }
  }

  private func removeName(_ top: GroupTable.Top) async throws(RegionError) {
    do throws(RemoteError) {
      // The note first: a crash between the two leaves a note on a group that has a name, which is
      // withdrawn by whoever finds it.
      try await catalogue.markDeleted(top.group.id)
      try await catalogue.remove(top.record.name)
    } catch {
      engine.log(.error, "cannot remove \(top.record.name): \(error)")
      throw error.regionError
    }
    groups.removeTop(top.record.name)
    known.remove(top.record.name)
    groups.noteAbandoned(top.group.id)
    top.group.abandon()
  }

  // MARK: Renaming

  func renameTop(
    _ old: FileName, to new: FileName, replacing: Bool, _ box: ReplyBox<EmptyReply>
  ) {
    guard !engine.settings.isReadOnly else {
      box.take()?.error(EROFS)
      return
    }
    engine.executor.spawn { [self] in
      do throws(RegionError) {
        try await renameGroup(old, to: new, replacing: replacing)
        box.take()?.success()
      } catch {
        box.take()?.error(error.code)
      }
    }
  }

  private func renameGroup(_ old: FileName, to new: FileName, replacing: Bool)
    async throws(RegionError)
  {
    let source = try await find(old)
    if old == new { return }
    try await source.group.claim()
    let target: GroupTable.Top?
    do throws(RegionError) {
      target = try await find(new)
    } catch {
      guard error == .notFound else { throw error }
      target = nil
    }
    if let target {
      guard replacing else { throw .exists }
      try await checkRemovable(target, asDirectory: source.record.kind == .directory)
    }
    var record = source.record
    record.name = new
    record.serial += 1
    try note(
      RenameNote(serial: record.serial, old: old, new: new, replaced: target?.group.id),
      of: record.group)
    let etag = try await putName(record, over: target)
    groups.setTop(
      new,
      GroupTable.Top(record: record, etag: etag, group: source.group, checkedAt: engine.clock.now))
    source.group.noteName(new)
    groups.removeTop(old)
    known.note(record, etag)
    known.remove(old)
    do throws(RemoteError) {
      if let target {
        try await catalogue.markDeleted(target.group.id)
        target.group.abandon()
      }
      try await catalogue.remove(old)
      removeRenameNote(of: record.group)
    } catch {
      // Both names stand for the group until the next mount finds the note.
      engine.log(
        .error, "renamed \(old) to \(new), but the old name could not be removed: \(error)")
      throw error.regionError
    }
  }

  private func putName(_ record: GroupRecord, over target: GroupTable.Top?)
    async throws(RegionError) -> ETag
  {
    do throws(RemoteError) {
      if let target { return try await catalogue.replace(record, at: target.etag) }
      if let etag = try await catalogue.add(record) { return etag }
    } catch {
      engine.log(.error, "cannot make the name \(record.name): \(error)")
      throw error.regionError
    }
    throw .exists
  }
}
