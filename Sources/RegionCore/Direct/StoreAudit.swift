/// Looks at what a store holds beside its groups.
public struct StoreAudit: Sendable {
  private let engine: EngineContext
  private let catalogue: GroupCatalogue

  /// An audit of the engine's store.
  public init(engine: EngineContext) {
    self.engine = engine
    catalogue = GroupCatalogue(engine: engine)
  }

  /// A name and what it stands for.
  public struct Entry: Sendable {
    /// The name.
    public var name: FileName
    /// Its record.
    public var record: GroupRecord
  }

  /// The names of a store.
  public struct Names: Sendable {
    /// Those whose records can be read.
    public var entries: [Entry] = []
    /// Those whose records cannot.
    public var damaged: [FileName] = []
    /// What is wrong with them.
    public var findings: [AuditFinding] = []
  }

  /// All names.
  ///
  /// - Throws: `RemoteError.store` where the store could not be asked.
  public func names() async throws(RemoteError) -> Names {
    var names = Names()
    for name in try await catalogue.names() {
      do throws(RemoteError) {
        // Nil: it was removed in between.
        guard let record = try await catalogue.record(name)?.record else { continue }
        names.entries.append(Entry(name: name, record: record))
      } catch {
        guard case .damaged(let object, let cause) = error else { throw error }
        names.damaged.append(name)
        names.findings.append(
          AuditFinding(
            severity: .error, object: object, cause: "\(cause)", remedy: GroupAudit.restore))
      }
    }
    names.findings += Self.duplicates(names.entries)
    return names
  }

  /// Of two names of one group, the one with the lower serial was left by a crash during a rename.
  private static func duplicates(_ entries: [Entry]) -> [AuditFinding] {
    Dictionary(grouping: entries, by: \.record.group).values.flatMap { same -> [AuditFinding] in
      let newest = same.max { $0.record.serial < $1.record.serial }
      return same.filter { $0.name != newest?.name }.map { old in
        AuditFinding(
          severity: .warning, object: "\(GroupNames.key(for: old.name))",
          cause: "it names the same group as \(newest?.name.description ?? ""), which is newer",
          remedy: "A rename was interrupted; the next mount that opens it sets it right")
      }
    }
  }

  /// Groups that have no name and no note that says when they go, with the number of their objects.
  func unnamed(_ entries: [Entry]) async throws(RemoteError) -> [GroupID: Int] {
    let named = Set(entries.map(\.record.group))
    var noted = Set<GroupID>()
    for key in try await keys(ObjectKeys.deletedPrefix) {
      if let id = ObjectKeys.identifier(of: key, prefix: ObjectKeys.deletedPrefix) {
        noted.insert(id)
      }
    }
    var counts: [GroupID: Int] = [:]
    for key in try await keys("g/") {
      let parts = key.text.split(separator: "/")
      guard parts.count >= 3, let id = GroupID(parts[1]) else { continue }
      counts[id, default: 0] += 1
    }
    return counts.filter { !named.contains($0.key) && !noted.contains($0.key) }
  }

  /// Objects of groups without a name, as findings.
  public func unnamedGroups(_ entries: [Entry]) async throws(RemoteError) -> [AuditFinding] {
    try await unnamed(entries).sorted { "\($0.key)" < "\($1.key)" }
      .map { id, count in
        AuditFinding(
          severity: .orphan, object: "\(engine.store.address)/g/\(id)",
          cause: "a group without a name (\(count) objects)",
          remedy:
            "A mount that made it may just be giving it its name; if it stays, its name record "
            + "was lost or its maker ended: delete the objects, or restore the record in groups/")
      }
  }

  private func keys(_ prefix: String) async throws(RemoteError) -> [ObjectKey] {
    try await engine.store.keys(prefix)
  }
}
