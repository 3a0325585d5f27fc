import Locks
import RegionCore

/// The names at the top as the store had them last, kept in `<cache_dir>/names` so that they can be
/// shown while it does not answer, also right after a mount.
final class KnownNames: Sendable {
  fileprivate struct Known {
    var entry: NameList.Entry
    /// When it was noted, in notes.
    var note: UInt64
  }

  fileprivate struct State {
    var names: [FileName: Known] = [:]
    var notes: UInt64 = 0
    var isChecked = false
    /// What there was at the start fits this store.
    var isUsable = false
    var isSaveDue = false
  }

  /// How long changes are gathered before they are written.
  private static let delay = Duration.milliseconds(200)

  private let engine: EngineContext
  private let path: String
  private let store: String
  private let state = Lock(State())
  /// Held while the file is written: the newest state is written last.
  private let writing = Lock(())

  /// What `cacheDirectory` knows of `store` (its address and endpoint).
  init(engine: EngineContext, cacheDirectory: String, store: String) {
    self.engine = engine
    self.store = store
    path = cacheDirectory + "/names"
    guard let bytes = try? LocalDirectory.contents(of: path, limit: Limits.nameListLength),
      let list = try? NameListCodec.decode(bytes), list.store == store
    else { return }
    state.withLock { state in
      state.isUsable = true
      state.isChecked = list.isChecked
      for entry in list.entries { state.names[entry.name] = Known(entry: entry, note: 0) }
    }
  }

  /// Whether a former mount of this store left its names here.
  var isUsable: Bool { state.withLock { $0.isUsable } }
  /// Whether a former mount saw conditional writes honoured.
  var isChecked: Bool { state.withLock { $0.isChecked } }

  /// All names, in order.
  var all: [FileName] { state.withLock { $0.names.keys.sorted() } }

  /// The records that were ever read, in the order of their names.
  var records: [GroupRecord] {
    state.withLock { state in
      state.names.values.compactMap(\.entry.record).sorted { $0.name < $1.name }
    }
  }

  /// The record of a name and its version, if they were ever read.
  func record(_ name: FileName) -> (record: GroupRecord, etag: ETag)? {
    state.withLock { state in
      guard let entry = state.names[name]?.entry, let record = entry.record else { return nil }
      return (record, entry.etag)
    }
  }

  /// The store answered: this list stands for it from now on.
  func noteStore(isChecked: Bool) {
    change { state in
      state.isChecked = state.isChecked || isChecked
      state.isUsable = true
    }
  }

  /// A name stands for a group.
  func note(_ record: GroupRecord, _ etag: ETag) {
    let entry = NameList.Entry(name: record.name, record: record, etag: etag)
    guard state.withLock({ $0.names[record.name]?.entry != entry }) else { return }
    change { $0.set(entry) }
  }

  /// A name is gone.
  func remove(_ name: FileName) {
    guard state.withLock({ $0.names[name] != nil }) else { return }
    change { $0.names[name] = nil }
  }

  /// A moment, to be given to `noteAll` with what is read after it.
  var now: UInt64 { state.withLock { $0.notes } }

  /// The store's list, which was begun at `moment`: what was noted since may be missing there.
  func noteAll(_ names: [FileName], since moment: UInt64) {
    let listed = Set(names)
    let isChanged = state.withLock { state in
      listed.contains { state.names[$0] == nil }
        || state.names.contains { $0.value.note <= moment && !listed.contains($0.key) }
    }
    guard isChanged else { return }
    change { state in
      state.names = state.names.filter { $0.value.note > moment || listed.contains($0.key) }
      for name in listed where state.names[name] == nil {
        state.set(NameList.Entry(name: name, record: nil, etag: ETag("")))
      }
    }
  }

  private func change(_ body: (inout State) -> Void) {
    let isDue = state.withLock { state in
      body(&state)
      defer { state.isSaveDue = true }
      return !state.isSaveDue
    }
    guard isDue else { return }
    engine.executor.spawn {
      await self.engine.clock.sleep(for: Self.delay)
      self.save()
    }
  }

  /// Writes the list, if it changed.
  func save() {
    writing.withLock { _ in
      let list = state.withLock { state -> NameList? in
        guard state.isSaveDue, state.isUsable else { return nil }
        state.isSaveDue = false
        return NameList(
          store: store, isChecked: state.isChecked,
          entries: state.names.values.map(\.entry).sorted { $0.name < $1.name })
      }
      guard let list else { return }
      do throws(LocalError) {
        guard let bytes = try? NameListCodec.encode(list) else { return }
        try LocalDirectory.replaceFile(path, with: bytes)
      } catch {
        engine.log(.warning, "the names at the top are not kept for a mount offline: \(error)")
      }
    }
  }
}

extension KnownNames.State {
  fileprivate mutating func set(_ entry: NameList.Entry) {
    notes += 1
    names[entry.name] = KnownNames.Known(entry: entry, note: notes)
  }
}
