import Locks
import RegionCore

/// The groups that this mount has loaded, by number (a part of every node id), by uuid and by name.
final class GroupTable: Sendable {
  /// What a name at the top stands for.
  struct Top {
    var record: GroupRecord
    var etag: ETag
    var group: Group
    /// When the record was last read.
    var checkedAt: MonotonicTime
  }

  private struct State {
    var groups: [Group] = []
    var ordinals: [GroupID: Int] = [:]
    var tops: [FileName: Top] = [:]
    /// Names that the store did not have, and when it was asked.
    var absences: [FileName: MonotonicTime] = [:]
    /// Groups being loaded, and who waits for them.
    var loading: [GroupID: [CheckedContinuation<Result<Group, GroupError>, Never>]] = [:]
    /// Groups without a name, kept while files of them are open.
    var abandoned = Set<GroupID>()
  }

  private let state = Lock(State())

  /// All loaded groups.
  var all: [Group] { state.withLock { $0.groups } }

  /// Those of them that have not lost their names.
  var named: [Group] {
    state.withLock { state in state.groups.filter { !state.abandoned.contains($0.id) } }
  }

  /// The group with this number.
  func group(_ ordinal: Int) -> Group? {
    state.withLock { $0.groups.indices.contains(ordinal) ? $0.groups[ordinal] : nil }
  }

  /// The number of a loaded group, given when it is first asked for.
  func ordinal(_ group: Group) -> Int {
    state.withLock { state in
      if let known = state.ordinals[group.id] { return known }
      state.groups.append(group)
      state.ordinals[group.id] = state.groups.count - 1
      return state.groups.count - 1
    }
  }

  /// What a name stands for, as far as is known here.
  func top(_ name: FileName) -> Top? { state.withLock { $0.tops[name] } }

  /// The name of a group, if it has one.
  func name(of group: Group) -> FileName? {
    state.withLock { $0.tops.first { $0.value.group === group }?.key }
  }

  /// All names known here with their groups.
  var tops: [(name: FileName, top: Top)] {
    state.withLock { $0.tops.map { ($0.key, $0.value) }.sorted { $0.0 < $1.0 } }
  }

  func setTop(_ name: FileName, _ top: Top) {
    state.withLock { state in
      state.tops[name] = top
      state.absences[name] = nil
    }
  }

  func removeTop(_ name: FileName) { state.withLock { $0.tops[name] = nil } }

  /// Absent names that are remembered at a time.
  private static let mostAbsences = 10_000

  /// The store was asked at `time` and had no such name. What was made or read here since stands.
  func noteAbsent(_ name: FileName, asOf time: MonotonicTime) {
    state.withLock { state in
      if let top = state.tops[name], top.checkedAt > time { return }
      state.tops[name] = nil
      if state.absences.count >= Self.mostAbsences { state.absences = [:] }
      state.absences[name] = time
    }
  }

  /// Somebody has made these names.
  func forgetAbsence(of names: [FileName]) {
    state.withLock { state in
      guard !state.absences.isEmpty else { return }
      for name in names { state.absences[name] = nil }
    }
  }

  /// When the store was last known not to have the name; nil: it may have it.
  func absence(of name: FileName) -> MonotonicTime? { state.withLock { $0.absences[name] } }

  func noteAbandoned(_ group: GroupID) { state.withLock { _ = $0.abandoned.insert(group) } }

  var abandonedGroups: Set<GroupID> { state.withLock { $0.abandoned } }

  /// The loaded group, or the result of `load`, which runs once for all who ask at the same time.
  func group(
    _ id: GroupID, load: () async -> Result<Group, GroupError>
  ) async -> Result<Group, GroupError> {
    enum Next { case known(Group), wait, load }
    let next = state.withLock { state -> Next in
      if let ordinal = state.ordinals[id] { return .known(state.groups[ordinal]) }
      if state.loading[id] != nil { return .wait }
      state.loading[id] = []
      return .load
    }
    switch next {
    case .known(let group): return .success(group)
    case .wait:
      return await withCheckedContinuation { continuation in
        let known = state.withLock { state -> Group? in
          if let ordinal = state.ordinals[id] { return state.groups[ordinal] }
          state.loading[id, default: []].append(continuation)
          return nil
        }
        if let known { continuation.resume(returning: .success(known)) }
      }
    case .load:
      let result = await load()
      if case .success(let group) = result { _ = ordinal(group) }
      let waiters = state.withLock { $0.loading.removeValue(forKey: id) ?? [] }
      for waiter in waiters { waiter.resume(returning: result) }
      return result
    }
  }
}
