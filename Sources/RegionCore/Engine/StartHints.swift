import Locks

/// The first requests of a mount that began with an empty cache.
public final class StartRecording: Sendable {
  /// Requests of one start: the others of a hint stay with those of other groups.
  private static let most = Limits.startHintEntries / 2

  /// nil: nothing is recorded.
  private let entries = Lock<[StartHint.Entry]?>(nil)

  /// Begins to record.
  public func begin() { entries.withLock { $0 = $0 ?? [] } }

  /// A chunk that somebody waits for is asked for.
  func note(_ plan: FetchPlan, _ place: StartHint.Place) {
    entries.withLock { entries in
      guard let count = entries?.count, count < Self.most else { return }
      entries?.append(contentsOf: plan.hints(place).prefix(Self.most - count))
    }
  }

  /// What was recorded.
  var recorded: [StartHint.Entry] { entries.withLock { $0 ?? [] } }
}

extension StartHint {
  /// What a store has; an empty one where it has none, or none that can be used.
  static func read(from store: any ObjectStore) async -> StartHint {
    let buffer = IOBuffer(capacity: Limits.startHintLength)
    guard
      (try? await store.get(
        ObjectKeys.startHint, range: nil, into: buffer, priority: .demand)) != nil
    else { return StartHint() }
    return (try? StartHintCodec.decode(buffer.array)) ?? StartHint()
  }
}

extension EngineContext {
  /// Keeps for the next mount with an empty cache where the bytes lie that this one asked for first, and
  /// where those of groups went that were changed here. Of two hosts that write it at the same time one
  /// is lost, which is no harm.
  public func saveStartHint(_ groups: [Group]) async {
    let changed = groups.filter(\.hasCommitted)
    let recorded = start.recorded
    guard !settings.isReadOnly, !health.isDown, !(changed.isEmpty && recorded.isEmpty) else {
      return
    }
    let stored = await StartHint.read(from: store)
    var hint = stored.merged(with: recorded)
    for group in changed { hint = await group.renewed(hint) }
    guard hint != stored else { return }
    do {
      let bytes = try StartHintCodec.encode(hint)
      _ = try await store.put(
        ObjectKeys.startHint, IOBuffer(bytes), condition: .none, priority: .background)
    } catch {
      log(.debug, "what was read first could not be kept: \(error)")
    }
  }
}

extension Group {
  /// Whether this mount has committed something.
  var hasCommitted: Bool { state.withLock { $0.hasCommitted } }

  /// The hint with this group's places as they are now; where nothing is any more, or nothing was, the
  /// begin of its one file.
  func renewed(_ hint: StartHint) async -> StartHint {
    var entries = await located(hint.places(of: id))
    if entries.isEmpty { entries = await located([begin].compactMap { $0 }) }
    return hint.with(entries, of: [id])
  }

  private func located(_ places: [StartHint.Place]) async -> [StartHint.Entry] {
    var entries: [StartHint.Entry] = []
    for place in places {
      // What cannot be found is left out.
      guard let extents = try? await map.extents(place.file, place.chunk, priority: .background)
      else { continue }
      entries += FetchPlan([(place.chunk, extents)]).hints(place)
    }
    return entries
  }

  private var begin: StartHint.Place? {
    state.withLock { state in
      guard let top = state.namespace[Namespace.top], top.kind == .file else { return nil }
      return StartHint.Place(group: id, file: top.id, chunk: 0)
    }
  }
}
