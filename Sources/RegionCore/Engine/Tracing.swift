/// The trace of a group: replayed at its first opening, kept when the start is over.
extension Group {
  /// Files that are replayed at a time.
  private static let replayWidth = 32

  /// Replays the recorded trace when the first file that is not all here is opened, in the background.
  /// With `pull=lazy` nothing comes that nobody asked for.
  public func replayTrace(opening region: Region) {
    guard engine.settings.pull != .lazy, !region.isWhollyPresent, mayHaveTrace,
      trace.takeReplay()
    else { return }
    engine.executor.spawn {
      if let trace = await self.trace.replayed() { await self.replay(trace) }
    }
  }

  /// A group of one small file is read as soon as its trace.
  private var mayHaveTrace: Bool {
    state.withLock { state in
      guard state.namespace.count == 1, let top = state.namespace[Namespace.top] else {
        return true
      }
      return top.size >= UInt64(GroupTrace.leastChunks) << geometry.chunkShift
    }
  }

  private func replay(_ trace: AccessTrace) async {
    guard !trace.entries.isEmpty else { return }
    engine.log(.debug, "group \(id): replaying a trace of \(trace.chunkCount) chunks")
    _ = await mapConcurrently(trace.byFile, width: Self.replayWidth) { file, ranges in
      // A file that is gone, or cannot be opened, has nothing to replay.
      guard let region = try? self.hold(file) else { return }
      await region.replay(ranges)
      self.close(file, writable: false)
    }
  }

  /// Keeps the trace of this start in the store if there is something new and, unless this is the end,
  /// nothing is read just now. Never fails.
  public func saveTrace(atEnd: Bool) async {
    guard !state.withLock({ $0.isAbandoned }) else { return }
    if !atEnd, trace.isPaused {
      for region in state.withLock({ $0.regions.values.map(\.region) }) { region.endWatch() }
    }
    await trace.save(atEnd: atEnd)
  }

  /// What `regionfs trace` shows.
  public struct TraceReading: Sendable {
    /// A part of a file.
    public struct Part: Sendable {
      /// Its path in the group; nil if it is not there any more.
      public var path: [FileName]?
      /// The file's number.
      public var file: FileID
      /// The bytes, of whole chunks.
      public var bytes: Range<UInt64>
      /// Starts in a row that did not read them.
      public var unreadStarts: Int
    }

    /// The trace in the store.
    public var parts: [Part]
    /// Chunks that this mount has recorded since its start.
    public var recordedChunks: Int
  }

  /// The trace as the store has it now.
  public func traceReading() async throws(RemoteError) -> TraceReading {
    let stored = try await objects.trace(geometry)
    return state.withLock { state in
      TraceReading(
        parts: stored?.parts(state.namespace) ?? [], recordedChunks: trace.recordedChunks)
    }
  }

  /// Chunks recorded since the start, or since `beginTrace`.
  public var recordedTraceChunks: Int { trace.recordedChunks }

  /// Ends the recording and keeps it in the store now. Returns false if there was nothing to change.
  public func recordTrace() async throws(RemoteError) -> Bool { try await trace.end() }

  /// Begins the recording anew.
  public func beginTrace() { trace.begin() }

  /// Removes the trace, and forgets what was recorded.
  public func clearTrace() async throws(RemoteError) { try await trace.clear() }
}

extension AccessTrace {
  /// The entries with the paths that a tree has for their files.
  func parts(_ namespace: Namespace) -> [Group.TraceReading.Part] {
    entries.map { entry in
      Group.TraceReading.Part(
        path: namespace.path(of: entry.file), file: entry.file,
        bytes: entry.chunks.lowerBound << geometry.chunkShift..<entry.chunks.upperBound
          << geometry.chunkShift, unreadStarts: Int(entry.unreadStarts))
    }
  }
}

extension StoredGroup {
  /// The recorded trace.
  public func traceParts() async throws(RemoteError) -> [Group.TraceReading.Part] {
    try await objects.trace(root.geometry)?.parts(namespace) ?? []
  }

  /// Removes the recorded trace.
  public func clearTrace() async throws(RemoteError) { try await objects.removeTrace() }
}
