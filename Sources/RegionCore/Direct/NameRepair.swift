/// Why a damaged name record was not written again.
public enum NameRepairError: Error, Sendable, CustomStringConvertible {
  /// The store, or the group.
  case remote(RemoteError)
  /// Which group the name stood for does not follow from what is there.
  case ambiguous(damagedRecords: Int, unnamedGroups: Int)
  /// The group was never committed, so nothing says whether it is a file or a directory.
  case empty(GroupID)

  /// One line with the cause.
  public var description: String {
    switch self {
    case .remote(let error): error.description
    case .ambiguous(let records, let groups):
      "which group it named does not follow from damaged name records (\(records)) and groups "
        + "without a name (\(groups)), unless there is one of each"
    case .empty(let group): "group \(group) has no commit, so nothing says what it was"
    }
  }
}

/// Writes a damaged name record again. Its key says the name; its group is the one that no other
/// record names, which is certain only where there is one such group and one such record.
public struct NameRepair: Sendable {
  private let engine: EngineContext

  /// A repair in the engine's store.
  public init(engine: EngineContext) { self.engine = engine }

  /// Repairs the record of `name`, one of the damaged ones of `names`; returns what it says now.
  public func run(
    _ name: FileName, of names: StoreAudit.Names
  ) async throws(NameRepairError) -> GroupRecord {
    let unnamed = try await remote { () async throws(RemoteError) -> [GroupID: Int] in
      try await StoreAudit(engine: engine).unnamed(names.entries)
    }
    guard let group = unnamed.keys.first, unnamed.count == 1, names.damaged.count == 1 else {
      throw .ambiguous(damagedRecords: names.damaged.count, unnamedGroups: unnamed.count)
    }
    let kind = try await remote { () async throws(RemoteError) -> InodeKind? in
      try await topKind(of: group)
    }
    guard let kind else { throw .empty(group) }
    let record = GroupRecord(group: group, name: name, kind: kind, serial: 0)
    try await remote { () async throws(RemoteError) -> Void in
      let catalogue = GroupCatalogue(engine: engine)
      _ = try await catalogue.replace(record, at: try await catalogue.version(of: name))
    }
    return record
  }

  /// What the group's top is; nil if it was never committed.
  private func topKind(of group: GroupID) async throws(RemoteError) -> InodeKind? {
    let objects = GroupObjects(group: group, engine: engine)
    let root = try await objects.root().root
    return try await TreeLoader(objects: objects).load(root).namespace[Namespace.top]?.kind
  }

  private func remote<Value>(
    _ body: () async throws(RemoteError) -> Value
  ) async throws(NameRepairError) -> Value {
    do throws(RemoteError) { return try await body() } catch { throw .remote(error) }
  }
}
