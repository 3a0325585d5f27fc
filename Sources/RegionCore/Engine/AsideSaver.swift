import Glibc

/// Why changes that were set aside could not be saved.
public struct RecoveryError: Error, Sendable, CustomStringConvertible {
  /// One line for the user.
  public let description: String
  init(_ description: String) { self.description = description }
}

/// Makes a group of its own of changes that were set aside: the content that its writer had when it
/// lost the claim, copied under a new name.
///
/// The caller holds the cache directory's lock.
public struct AsideSaver: Sendable {
  private let engine: EngineContext
  private let cacheDirectory: String
  private let bootID: Random128
  /// Told now and then how many bytes have been copied.
  private let progress: @Sendable (UInt64) -> Void

  /// Saves into the engine's store, with scratch space in the cache directory.
  public init(
    engine: EngineContext, cacheDirectory: String, bootID: Random128,
    progress: @escaping @Sendable (UInt64) -> Void = { _ in }
  ) {
    self.engine = engine
    self.cacheDirectory = cacheDirectory
    self.bootID = bootID
    self.progress = progress
  }

  private var scratch: String { cacheDirectory + "/recovering" }

  /// Saves `aside` as `name`, which nobody may have; then it is removed. Returns the new group.
  ///
  /// A crash on the way leaves what is set aside as it is, and at most objects that nothing names.
  public func save(_ aside: SetAsideLog, as name: FileName) async throws(RecoveryError) -> GroupID {
    try await checkIsFree(name)
    try clean()
    let old = try await contents(of: aside)
    let new = try await copy(old)
    try await publish(new, as: name)
    old.failParked()
    new.closeRegions()
    try clean()
    try await discard(aside)
    return new.id
  }

  /// Gives up what is set aside, and what the store keeps for it.
  public func discard(_ aside: SetAsideLog) async throws(RecoveryError) {
    // The note in the store first: while it is there the log can be explained.
    try await remote { () async throws(RemoteError) in
      try await GroupObjects(group: aside.group, engine: engine).forgetFenced(aside.epoch)
    }
    try local { () throws(LocalError) in try aside.discard(on: engine.disk) }
  }

  // MARK: The content that was lost

  /// The group as its writer had it, which nobody can change and which is never pushed.
  private func contents(of aside: SetAsideLog) async throws(RecoveryError) -> Group {
    let root = try await base(of: aside)
    let log = try records(of: aside, after: root)
    let objects = GroupObjects(group: aside.group, engine: engine)
    let group: Group
    do throws(RemoteError) {
      let tree = try await TreeLoader(objects: objects).load(root)
      group = try Group.make(
        objects, root, ETag(""), tree.namespace, scratch + "/old", bootID)
      group.map.reset(to: tree.index, tables: tree.tables)
    } catch {
      throw RecoveryError(
        "cannot read commit \(root.commit.number) of group \(aside.group): \(error)")
    }
    try local { () throws(LocalError) in
      try group.state.withLock { (state) throws(LocalError) in
        state.role = .stopped(.stale, reason: "its changes are being saved")
        for entry in log.entries { try group.replay(entry, &state) }
      }
    }
    return group
  }

  /// The root that the changes follow: kept beside them, or in the store.
  private func base(of aside: SetAsideLog) async throws(RecoveryError) -> Root {
    let path = aside.path + "/" + SetAsideLog.rootName
    let kept = try local { () throws(LocalError) in
      try engine.disk.contents(of: path, limit: Limits.rootLength)
    }
    if let kept, let root = try? RootCodec.decode(kept), root.group == aside.group { return root }
    let objects = GroupObjects(group: aside.group, engine: engine)
    let fenced = try await remote { () async throws(RemoteError) in
      try await objects.fencedRoot(aside.epoch, of: aside.writer)
    }
    if let fenced { return fenced }
    let root = try await remote { () async throws(RemoteError) in try await objects.root().root }
    guard let earlier = root.back(to: aside.base) else {
      throw RecoveryError(
        "the store does not say any more what commit \(aside.base.number) of group \(aside.group) "
          + "was, which the changes in \(aside.path) follow")
    }
    return earlier
  }

  /// The log with the records that the root does not contain.
  private func records(of aside: SetAsideLog, after root: Root) throws(RecoveryError) -> WriteLog {
    let recovered: RecoveredLog?
    do throws(LogRecoveryError) {
      recovered = try WriteLog.recover(in: aside.path, on: engine.disk, boot: bootID.low)
    } catch {
      throw RecoveryError("\(error)")
    }
    guard let log = recovered?.log else { throw RecoveryError("there is no log in \(aside.path)") }
    let cut = root.log == aside.log ? root.cut : root.commit == aside.base ? aside.cut : 0
    let first = log.entries.first?.sequence ?? log.nextSequence
    guard first <= cut + 1 else {
      throw RecoveryError("records \(cut + 1) to \(first - 1) are missing in \(aside.path)")
    }
    log.entries.removeAll { $0.sequence <= cut }
    return log
  }

  // MARK: The copy

  private func copy(_ old: Group) async throws(RecoveryError) -> Group {
    let inodes = old.state.withLock { state in state.namespace.all.sorted { $0.id < $1.id } }
    guard let top = inodes.first, top.id == Namespace.top else {
      throw RecoveryError("group \(old.id) has no top")
    }
    let new: Group
    do throws(GroupError) {
      new = try await Group.create(
        engine, cacheDirectory: scratch + "/new", bootID: bootID, kind: top.kind, mode: top.mode,
        uid: top.uid, gid: top.gid, target: top.target)
    } catch {
      throw RecoveryError("cannot make a group: \(error)")
    }
    do throws(RegionError) {
      try set(inodes, in: new)
      var copied: UInt64 = 0
      for inode in inodes where inode.kind == .file {
        try await copy(inode, from: old, to: new, &copied)
      }
      // Once more: writing changed the times.
      try set(inodes, in: new)
    } catch {
      throw RecoveryError("cannot copy group \(old.id): \(error); see the lines before")
    }
    guard await new.drain() else {
      throw RecoveryError(
        "cannot commit the copy of group \(old.id): \(new.snapshot().lastError ?? "no reason")")
    }
    return new
  }

  /// Inodes logged in one record.
  private static let batch = 32

  private func set(_ inodes: [Inode], in group: Group) throws(RegionError) {
    for start in stride(from: 0, to: inodes.count, by: Self.batch) {
      let changes = inodes[start..<min(start + Self.batch, inodes.count)].map { NameChange.set($0) }
      try group.edit { (_, _) throws(RegionError) in ((), changes) }
    }
  }

  private static let step: UInt64 = 1 << 20

  private func copy(_ file: Inode, from old: Group, to new: Group, _ copied: inout UInt64)
    async throws(RegionError)
  {
    let source = try old.open(file.id, writable: false).region
    let target = try new.open(file.id, writable: true).region
    var offset: UInt64 = 0
    while offset < file.size, let start = try await source.seek(offset, data: true),
      start < file.size
    {
      let end = min(try await source.seek(start, data: false) ?? file.size, file.size)
      for at in stride(from: start, to: end, by: Int(Self.step)) {
        let bytes = try await source.read(at..<min(at + Self.step, end))
        try await new.write(bytes, target, at: at)
        copied += UInt64(bytes.count)
        progress(copied)
      }
      offset = end
    }
    new.close(file.id, writable: true)
    old.close(file.id, writable: false)
    old.evict(file.id)
  }

  // MARK: The name

  private func checkIsFree(_ name: FileName) async throws(RecoveryError) {
    let catalogue = GroupCatalogue(engine: engine)
    let known = try await remote { () async throws(RemoteError) in try await catalogue.record(name)
    }
    if known != nil { throw RecoveryError("there is a \(name) in \(engine.store.address) already") }
  }

  private func publish(_ group: Group, as name: FileName) async throws(RecoveryError) {
    let catalogue = GroupCatalogue(engine: engine)
    let kind = group.inode(Namespace.top)?.kind ?? .directory
    let record = GroupRecord(group: group.id, name: name, kind: kind, serial: 0)
    let etag = try await remote { () async throws(RemoteError) in try await catalogue.add(record) }
    guard etag == nil else { return }
    // Perhaps it was this name whose acknowledgement was lost.
    let there = try await remote { () async throws(RemoteError) in try await catalogue.record(name)
    }
    guard there?.record.group != group.id else { return }
    try await remote { () async throws(RemoteError) in try await catalogue.purge(group.id) }
    throw RecoveryError("somebody made a \(name) in \(engine.store.address) meanwhile")
  }

  // MARK: Errors

  private func clean() throws(RecoveryError) {
    try local { () throws(LocalError) in try engine.disk.removeTree(scratch) }
  }

  private func local<Value>(_ body: () throws(LocalError) -> Value) throws(RecoveryError) -> Value {
    do throws(LocalError) { return try body() } catch { throw RecoveryError("\(error)") }
  }

  private func remote<Value>(_ body: () async throws(RemoteError) -> Value)
    async throws(RecoveryError) -> Value
  {
    do throws(RemoteError) { return try await body() } catch { throw RecoveryError("\(error)") }
  }
}

extension Root {
  /// This root as it was at an earlier commit, as far as that can be told: the commit is in the
  /// history, and the checkpoint no later.
  func back(to earlier: CommitID) -> Root? {
    if commit == earlier { return self }
    guard history.contains(earlier), (checkpoint?.commit.number ?? 0) <= earlier.number else {
      return nil
    }
    var root = self
    root.commit = earlier
    root.history.removeAll { $0.number >= earlier.number }
    root.tail.removeAll { $0.commit > earlier.number }
    root.log = .zero
    root.cut = 0
    return root
  }
}

extension Group {
  /// Writes bytes, waiting for what it has to.
  func write(_ bytes: IOBuffer, _ region: Region, at offset: UInt64) async throws(RegionError) {
    while true {
      switch unsafe write(region, at: offset, bytes.bytes, isWriteBack: false) {
      case .done: return
      case .failed(let error): throw error
      case .waitFor(let range): try await region.pulled(range)
      case .waitForRoom:
        await withCheckedContinuation { continuation in
          whenThereIsRoom { continuation.resume() }
        }
      }
    }
  }

  /// Drops the cached bytes of a file that nobody has open.
  func evict(_ file: FileID) {
    state.withLock { state in
      guard state.regions[file]?.opens == 0 else { return }
      state.regions.removeValue(forKey: file)?.region.close()
    }
    do throws(LocalError) {
      try cache.remove(file)
    } catch {
      engine.log(.warning, "\(error)")
    }
  }
}

extension Region {
  /// Waits until the bytes are here.
  func pulled(_ bytes: Range<UInt64>) async throws(RegionError) {
    let outcome = await withCheckedContinuation { continuation in
      demand(bytes, counts: false) { continuation.resume(returning: $0) }
    }
    if case .failed(let error) = outcome { throw error }
  }

  /// The bytes of a range within the region.
  func read(_ range: Range<UInt64>) async throws(RegionError) -> IOBuffer {
    let buffer = IOBuffer(capacity: range.count)
    while true {
      try await pulled(range)
      let memory = unsafe buffer.memory.prefixBytes(range.count)
      var result = unsafe readPresent(range.lowerBound, into: memory)
      if case .missed = result { result = unsafe readData(range.lowerBound, into: memory) }
      switch result {
      case .bytes(let count):
        guard count == range.count else { throw .io }
        buffer.count = count
        return buffer
      case .lent(let loan):
        unsafe buffer.append(loan.bytes)
        giveBack(loan)
        guard buffer.count == range.count else { throw .io }
        return buffer
      case .missed: continue
      case .failed(let error):
        engine.log(.error, "\(error)")
        throw .io
      }
    }
  }
}
