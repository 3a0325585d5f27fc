import Locks
import Synchronization

/// The trace of one group at this mount: what the store has of former starts, and what this start
/// reads. A hint: whatever goes wrong with it costs time only.
final class GroupTrace: Sendable {
  /// How long after the first read a start is over.
  private static let window = Duration.seconds(120)
  /// Without a first read for this long, it is a good moment to write.
  private static let quiet = Duration.seconds(5)
  /// Chunks that make a trace worth a request.
  static let leastChunks = 4

  private struct State {
    var recording: TraceRecording
    var began: MonotonicTime?
    var lastRead: MonotonicTime?
    /// Chunks of the recording that were written already.
    var written = 0
    /// What the store had before this start; nil: it was not asked.
    var stored: AccessTrace?
    var isReplayed = false
  }

  private let objects: GroupObjects
  private let geometry: Geometry
  private let state: Lock<State>
  /// The start is not over. Looked at before the lock.
  private let isRecording = Atomic(true)

  private var engine: EngineContext { objects.engine }
  private var key: ObjectKey { ObjectKeys.trace(of: objects.group) }

  init(objects: GroupObjects, geometry: Geometry) {
    self.objects = objects
    self.geometry = geometry
    state = Lock(State(recording: TraceRecording(geometry: geometry)))
  }

  // MARK: Recording

  /// A read of a chunk was seen. Called with the region's lock held.
  func note(_ file: FileID, _ chunk: ChunkIndex, isStream: Bool) {
    guard isRecording.load(ordering: .relaxed) else { return }
    let now = engine.clock.now
    state.withLock { state in
      let began = state.began ?? now
      guard now.since(began) < Self.window else {
        return isRecording.store(false, ordering: .relaxed)
      }
      let before = state.recording.order.count
      state.recording.note(file, chunk, isStream: isStream)
      state.began = began
      if state.recording.order.count > before { state.lastRead = now }
      if state.recording.isFull { isRecording.store(false, ordering: .relaxed) }
    }
  }

  /// Chunks are pulled because the trace has them.
  func offer(_ file: FileID, _ chunks: RangeSet<ChunkIndex>) {
    state.withLock { $0.recording.offer(file, chunks) }
  }

  /// Forgets what was recorded and begins anew.
  func begin() {
    state.withLock { state in
      state.recording = TraceRecording(geometry: geometry)
      (state.began, state.lastRead, state.written) = (nil, nil, 0)
      state.stored = nil
    }
    isRecording.store(true, ordering: .relaxed)
  }

  /// Whether nothing new is read just now, or nothing more is recorded.
  var isPaused: Bool {
    guard isRecording.load(ordering: .relaxed) else { return true }
    let now = engine.clock.now
    return state.withLock { state in
      guard let last = state.lastRead else { return true }
      return now.since(last) >= Self.quiet
    }
  }

  /// Chunks recorded so far.
  var recordedChunks: Int { state.withLock { $0.recording.order.count } }

  /// Whether nobody has replayed it yet; then it counts as replayed.
  func takeReplay() -> Bool {
    state.withLock { state in
      defer { state.isReplayed = true }
      return !state.isReplayed
    }
  }

  // MARK: The store

  /// The trace that the store had before this start; an empty one where there was none, or none that
  /// can be used.
  private func load() async throws(RemoteError) -> AccessTrace {
    if let stored = state.withLock({ $0.stored }) { return stored }
    let none = AccessTrace(group: objects.group, geometry: geometry)
    let stored: AccessTrace
    do throws(RemoteError) {
      stored = try await objects.trace(geometry) ?? none
    } catch {
      guard case .damaged = error else { throw error }
      engine.log(.warning, "the recorded trace is ignored: \(error)")
      stored = none
    }
    state.withLock { $0.stored = stored }
    return stored
  }

  /// What to replay; nil where the store cannot tell.
  func replayed() async -> AccessTrace? {
    do throws(RemoteError) {
      return try await load()
    } catch {
      engine.log(.debug, "no recorded trace: \(error)")
      return nil
    }
  }

  /// Writes what was recorded, if this is a moment for it: a quiet one, or the end.
  func save(atEnd: Bool) async {
    guard let recording = due(atEnd: atEnd) else { return }
    do throws(RemoteError) {
      _ = try await put(recording)
    } catch {
      engine.log(.debug, "the recorded trace could not be kept: \(error)")
    }
  }

  /// Ends the recording and writes what it has. Returns false if the store has the same.
  func end() async throws(RemoteError) -> Bool {
    isRecording.store(false, ordering: .relaxed)
    let recording = state.withLock { state in
      state.written = state.recording.order.count
      return state.recording
    }
    return try await put(recording)
  }

  /// Merges with what the store had before this start, for a recording may be written several times.
  private func put(_ recording: TraceRecording) async throws(RemoteError) -> Bool {
    let stored = try await load()
    let merged = stored.merged(with: recording)
    guard merged != stored else { return false }
    try await objects.putTrace(merged)
    return true
  }

  private func due(atEnd: Bool) -> TraceRecording? {
    guard !engine.settings.isReadOnly, !engine.health.isDown else { return nil }
    let now = engine.clock.now
    return state.withLock { state in
      let count = state.recording.order.count
      guard count >= Self.leastChunks, count > state.written, let last = state.lastRead else {
        return nil
      }
      guard atEnd || now.since(last) >= Self.quiet else { return nil }
      state.written = count
      return state.recording
    }
  }

  /// Removes the trace from the store, and forgets what was recorded.
  func clear() async throws(RemoteError) {
    begin()
    try await objects.removeTrace()
    state.withLock { $0.stored = AccessTrace(group: objects.group, geometry: geometry) }
  }
}

extension GroupObjects {
  /// The group's trace; nil if there is none.
  func trace(_ geometry: Geometry) async throws(RemoteError) -> AccessTrace? {
    let key = ObjectKeys.trace(of: group)
    let buffer = IOBuffer(capacity: Limits.traceLength)
    do throws(RemoteError) {
      _ = try await get(key, range: nil, into: buffer, priority: .demand)
    } catch {
      guard error.isNotFound else { throw error }
      return nil
    }
    return try parsing(key) { () throws(FormatError) in
      let trace = try AccessTraceCodec.decode(buffer.array)
      guard trace.group == group, trace.geometry == geometry else {
        throw FormatError(.invalid("another group's trace"), what: "access trace")
      }
      return trace
    }
  }

  /// Replaces the trace. Of two hosts that write one at the same time one is lost, which is no harm.
  func putTrace(_ trace: AccessTrace) async throws(RemoteError) {
    let key = ObjectKeys.trace(of: group)
    let bytes = try parsing(key) { () throws(FormatError) in try AccessTraceCodec.encode(trace) }
    do {
      _ = try await engine.store.put(key, IOBuffer(bytes), condition: .none, priority: .background)
    } catch {
      throw .store(error)
    }
  }

  func removeTrace() async throws(RemoteError) {
    do {
      try await engine.store.delete(ObjectKeys.trace(of: group))
    } catch {
      throw .store(error)
    }
  }
}
