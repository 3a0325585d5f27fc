/// One thing that an audit found.
public struct AuditFinding: Sendable, Equatable {
  /// How bad it is.
  public enum Severity: String, Sendable, CaseIterable {
    /// Something of a group cannot be read, or is not what it should be.
    case error
    /// Nothing is lost, but something deserves a look.
    case warning
    /// Objects that take space and nothing else.
    case orphan
  }
  /// How bad it is.
  public var severity: Severity
  /// The object, with the store's address.
  public var object: String
  /// What is wrong with it, in one line.
  public var cause: String
  /// What a person can do.
  public var remedy: String
}

/// What an audit of a group has read and found.
public struct GroupAuditReport: Sendable {
  /// The group.
  public var group: GroupID
  /// Its name; nil where it has none.
  public var name: FileName?
  /// Its newest commit, as its root has it; nil if the root cannot be read.
  public var commit: CommitNumber?
  /// Objects that the group refers to.
  public var objects = 0
  /// Extents of its map.
  public var extents = 0
  /// Inodes.
  public var inodes = 0
  /// Payload bytes that were read and compared with their checksum.
  public var payloadBytesRead: UInt64 = 0
  /// What was found.
  public var findings: [AuditFinding] = []
  /// Whether what leads to the data (root, checkpoint, pages, tables) is damaged or missing, so that
  /// `GroupRebuild` may help.
  public var isStructureDamaged = false

  /// A report with nothing read yet.
  public init(group: GroupID, name: FileName?) {
    self.group = group
    self.name = name
  }
}

/// Reads everything that a group's root leads to and compares it with what it should be. Changes
/// nothing, and may run beside mounts: it looks at one commit, which stays readable for the grace
/// time.
public struct GroupAudit: Sendable {
  let objects: GroupObjects
  private let readsData: Bool
  private let progress: @Sendable (UInt64) -> Void
  private var report: GroupAuditReport
  /// Remedies for what is damaged or gone for good.
  static let restore = "Restore the object from a backup or an earlier version of it"
  /// Requests at a time.
  static let width = 16

  /// An audit of one group.
  ///
  /// - Parameters:
  ///   - readsData: also read and compare all payload.
  ///   - progress: told bytes of payload as they are read.
  public init(
    _ group: GroupID, name: FileName?, engine: EngineContext, readsData: Bool,
    progress: @escaping @Sendable (UInt64) -> Void = { _ in }
  ) {
    objects = GroupObjects(group: group, engine: engine)
    self.readsData = readsData
    self.progress = progress
    report = GroupAuditReport(group: group, name: name)
  }

  /// Runs it.
  ///
  /// - Parameter kind: what the name record says that the group is; nil without a name.
  /// - Throws: `RemoteError.store` where the store could not be asked: that is no finding.
  public consuming func run(kind: InodeKind?) async throws(RemoteError) -> GroupAuditReport {
    var audit = self
    guard let root = try await audit.checkRoot() else { return audit.report }
    audit.report.commit = root.commit.number
    var references = AuditReferences()
    let names = try await audit.checkTree(root, &references, kind: kind)
    try await audit.checkMap(root, &references, names)
    try await audit.checkSegments(references)
    audit.report.objects = references.segments.count + references.maps.count + 1
    try await audit.findOrphans(root, references)
    try await audit.checkTrace(root)
    return audit.report
  }

  // MARK: Findings

  private mutating func find(
    _ severity: AuditFinding.Severity, _ object: String, _ cause: String, _ remedy: String
  ) {
    report.findings.append(
      AuditFinding(severity: severity, object: object, cause: cause, remedy: remedy))
  }

  /// Turns an error that says something about an object into a finding; an error that says nothing
  /// (the store did not answer) ends the audit.
  private mutating func note(
    _ error: RemoteError, _ what: String, _ severity: AuditFinding.Severity = .error,
    remedy: String = Self.restore
  ) throws(RemoteError) {
    switch error {
    case .damaged(let object, let error):
      if case .newerVersion = error.kind {
        let update = "Use the version of regionfs that wrote it, or a later one"
        return find(severity, object, "\(error)", update)
      }
      find(severity, object, "\(error)", remedy)
    case .store(let cause) where cause.kind == .notFound:
      find(severity, cause.object, "\(what) is missing", remedy)
    case .store(let cause) where cause.kind == .damagedAnswer || cause.kind == .tooLarge:
      find(severity, cause.object, "\(what): \(cause.detail)", remedy)
    default: throw error
    }
  }

  /// The value, or nil after its failure became a finding.
  private mutating func noting<Value>(
    _ what: String, _ result: Result<Value, RemoteError>
  ) throws(RemoteError) -> Value? {
    switch result {
    case .success(let value): return value
    case .failure(let error):
      try note(error, what)
      report.isStructureDamaged = true
      return nil
    }
  }

  // MARK: Root and names

  private mutating func checkRoot() async throws(RemoteError) -> Root? {
    try noting(
      "root", await catching { () async throws(RemoteError) in try await objects.root().root })
  }

  private mutating func checkTree(
    _ root: Root, _ references: inout AuditReferences, kind: InodeKind?
  ) async throws(RemoteError) -> AuditNames {
    var names = AuditNames(Namespace(nextFileID: root.nextFileID))
    if let checkpoint = root.checkpoint {
      references.maps.insert(checkpoint.object)
      let index = await catching { () async throws(RemoteError) in
        try await objects.index(checkpoint)
      }
      if let index = try noting("checkpoint index", index) {
        references.index = index
        for entry in index.mapPages { references.maps.insert(entry.page.object) }
        for entry in index.namePages { references.maps.insert(entry.page.object) }
        let pages = await mapConcurrently(index.namePages, width: Self.width) { [objects] entry in
          await Self.namePage(entry, objects)
        }
        for page in pages {
          for inode in try noting("name page", page)?.inodes ?? [] {
            names.namespace.apply(.set(inode))
          }
        }
        names.isComplete = pages.allSatisfy { (try? $0.get()) != nil }
      } else {
        names.isComplete = false
      }
    }
    let tables = await mapConcurrently(root.tail, width: Self.width) { [objects] reference in
      await catching { () async throws(RemoteError) in
        try await objects.table(reference, geometry: root.geometry)
      }
    }
    for (reference, result) in zip(root.tail, tables) {
      references.segments.insert(reference.object)
      references.lengths[reference.object] = UInt64(reference.length)
      guard let table = try noting("segment table", result) else {
        names.isComplete = false
        continue
      }
      references.tables.append(table)
      for case .name(let change) in table.changes { names.namespace.apply(change) }
    }
    report.inodes = names.namespace.count
    checkNames(names, kind: kind)
    return names
  }

  private static func namePage(
    _ entry: CheckpointIndex.NamePageEntry, _ objects: GroupObjects
  ) async -> Result<NamePage, RemoteError> {
    await catching { () async throws(RemoteError) in
      let bytes = try await objects.page(entry.page, what: "name page", priority: .background)
      return try objects.parsing(objects.mapKey(entry.page.object)) { () throws(FormatError) in
        try CheckpointCodec.decodeNamePage(bytes)
      }
    }
  }

  private mutating func checkNames(_ names: AuditNames, kind: InodeKind?) {
    // Where a table or a page is missing, all else would follow from that.
    guard names.isComplete else { return }
    let root = objects.address(objects.rootKey)
    let repair = "Keep the store as it is and report it: this is a defect of regionfs"
    if let kind, let top = names.namespace[Namespace.top], top.kind != kind {
      find(.error, root, "its top is a \(top.kind), its name record says \(kind)", repair)
    }
    for cause in names.problems { find(.error, root, cause, repair) }
  }

  // MARK: The map

  private mutating func checkMap(
    _ root: Root, _ references: inout AuditReferences, _ names: AuditNames
  ) async throws(RemoteError) {
    let geometry = root.geometry
    let map = RemoteMap(objects: objects, geometry: geometry)
    map.reset(to: references.index, tables: references.tables)
    var wanted = references.index.map { $0.mapPages.map { ($0.file, $0.number) } } ?? []
    for (file, number, _, _) in map.checkpointInput().changed { wanted.append((file, number)) }
    var seen = Set<AuditPage>()
    let pages = wanted.map { AuditPage(file: $0.0, number: $0.1) }.filter {
      seen.insert($0).inserted
    }
    // A bounded number at a time: the extents of a full page of the map take megabytes.
    for batch in pages.chunked(by: Self.width) {
      let results = await mapConcurrently(batch, width: Self.width) { page in
        await Self.extents(page, map, geometry)
      }
      for (page, result) in zip(batch, results) {
        guard let extents = try noting("map page", result) else { continue }
        report.extents += extents.count
        if names.isComplete, names.namespace[page.file]?.kind != .file, !extents.isEmpty {
          find(
            .error, objects.address(objects.rootKey),
            "the map has content of inode \(page.file), which is no file",
            "Keep the store as it is and report it: this is a defect of regionfs")
        }
        for case .unit(let unit, _) in extents.map(\.source) { references.add(unit) }
      }
    }
  }

  private static func extents(
    _ page: AuditPage, _ map: RemoteMap, _ geometry: Geometry
  ) async -> Result<[Extent], RemoteError> {
    await catching { () async throws(RemoteError) in
      var found: [Extent] = []
      let end = (UInt64(page.number) + 1) * Limits.chunksPerMapPage
      var at = UInt64(page.number) * Limits.chunksPerMapPage
      while let chunk = map.nextMapped(page.file, from: at, below: end) {
        found += try await map.extents(page.file, chunk, priority: .background)
        at = chunk + 1
      }
      return found
    }
  }

  // MARK: Segments

  private mutating func checkSegments(_ references: AuditReferences) async throws(RemoteError) {
    let segments = references.segments.sorted { $0.name < $1.name }
    let results = await mapConcurrently(segments, width: Self.width) { [self] object in
      await SegmentAudit(objects: objects, object: object, readsData: readsData).run(
        units: references.units[object] ?? [], length: references.lengths[object],
        progress: progress)
    }
    for result in results {
      switch result {
      case .failure(let error): try note(error, "segment")
      case .success(let found):
        report.payloadBytesRead += found.bytesRead
        report.findings += found.findings
      }
    }
  }

  // MARK: The trace

  /// Nothing of the group depends on it.
  private mutating func checkTrace(_ root: Root) async throws(RemoteError) {
    do throws(RemoteError) {
      _ = try await objects.trace(root.geometry)
    } catch {
      let remedy = "Remove it with regionfs trace clear: the next start records another"
      try note(error, "trace", .warning, remedy: remedy)
    }
  }

  // MARK: Orphans

  private mutating func findOrphans(
    _ root: Root, _ references: AuditReferences
  ) async throws(RemoteError) {
    let pending = Set(root.pendingDeletion.map(\.object))
    let isHeld = root.claim != .free
    for (prefix, known) in [
      (ObjectKeys.segmentPrefix(of: objects.group), references.segments),
      (ObjectKeys.mapPrefix(of: objects.group), references.maps),
    ] {
      for key in try await objects.engine.store.keys(prefix) {
        guard let object = ObjectKeys.object(of: key, prefix: prefix) else {
          find(
            .warning, objects.address(key), "no name of an object of ours", "Look who put it there")
          continue
        }
        if known.contains(object) || pending.contains(object) { continue }
        // What the writer of this epoch has uploaded becomes part of its next commit.
        if isHeld, object.epoch == root.epoch { continue }
        find(
          .orphan, objects.address(key), "nothing refers to it",
          "It takes space only; it may be deleted while no mount writes the group")
      }
    }
  }
}

/// A page of a file's map.
struct AuditPage: Hashable, Sendable {
  var file: FileID
  var number: UInt32
}

/// The names of a group, and whether all of them could be read.
struct AuditNames {
  var namespace: Namespace
  var isComplete = true

  init(_ namespace: Namespace) { self.namespace = namespace }

  /// What does not fit together.
  var problems: [String] {
    var found: [String] = []
    for inode in namespace.all where inode.id != Namespace.top {
      guard let name = inode.name else {
        found.append("inode \(inode.id) has no name")
        continue
      }
      if namespace.child(name, of: inode.parent)?.id != inode.id {
        found.append("inode \(inode.id) is not the only \(name) of directory \(inode.parent)")
      }
      if namespace[inode.parent]?.kind != .directory {
        found.append("inode \(inode.id) (\(name)) is in \(inode.parent), which is no directory")
      } else if namespace.path(of: inode.id) == nil {
        found.append("inode \(inode.id) (\(name)) cannot be reached from the top")
      }
    }
    return found.sorted()
  }
}

/// What a group refers to.
struct AuditReferences: Sendable {
  var index: CheckpointIndex?
  var tables: [SegmentTable] = []
  var segments = Set<ObjectID>()
  var maps = Set<ObjectID>()
  /// Lengths that the root states.
  var lengths: [ObjectID: UInt64] = [:]
  var units: [ObjectID: Set<StoredUnit>] = [:]

  mutating func add(_ unit: StoredUnit) {
    segments.insert(unit.segment)
    units[unit.segment, default: []].insert(unit)
  }
}

/// What a body came to, as a value.
func catching<Value>(
  _ body: () async throws(RemoteError) -> Value
) async -> Result<Value, RemoteError> {
  do throws(RemoteError) { return .success(try await body()) } catch { return .failure(error) }
}

extension Array {
  /// The elements in pieces of at most `size`.
  func chunked(by size: Int) -> [[Element]] {
    stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min($0 + size, count)]) }
  }
}
