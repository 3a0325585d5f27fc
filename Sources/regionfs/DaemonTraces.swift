import RegionControl
import RegionCore

/// `regionfs trace` at the daemon.
extension DaemonControl {
  func trace(path: String, action: TraceAction) throws(ControlError) -> TraceStatus {
    guard let name = path.split(separator: "/").first.flatMap({ FileName(String($0)) }) else {
      throw ControlError(.notFound, "\(path) is not under the mount")
    }
    let daemon = self.daemon
    let result = daemon.wait { () async -> Result<TraceStatus, ControlError> in
      do throws(ControlError) {
        return .success(try await Self.trace(name, action, daemon))
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private static func trace(
    _ name: FileName, _ action: TraceAction, _ daemon: Daemon
  ) async throws(ControlError) -> TraceStatus {
    let group: Group
    do throws(RegionError) {
      group = try await daemon.filesystem.group(at: name)
    } catch {
      throw ControlError(.notFound, "\(name) is not known here: \(error)")
    }
    if action != .show, daemon.engine.settings.isReadOnly {
      throw ControlError(.failed, "this mount is read-only and writes no trace")
    }
    do throws(RemoteError) {
      return try await answer(group, name, action)
    } catch {
      throw ControlError(.failed, "\(error)")
    }
  }

  private static func answer(
    _ group: Group, _ name: FileName, _ action: TraceAction
  ) async throws(RemoteError) -> TraceStatus {
    var status = TraceStatus()
    switch action {
    case .show:
      let reading = try await group.traceReading()
      status.parts = reading.parts.map(TracePart.init)
      status.recordedChunks = reading.recordedChunks
    case .record:
      status.recordedChunks = group.recordedTraceChunks
      let isKept = try await group.recordTrace()
      status.message =
        isKept
        ? "the trace of \(name) is in the store, with \(status.recordedChunks) chunks of this start"
        : status.recordedChunks == 0
          ? "no first read of \(name) was seen since the recording began; its trace stays as it is"
          : "the trace of \(name) in the store says the same already"
    case .begin:
      group.beginTrace()
      status.message = "recording of \(name) begins"
    case .clear:
      try await group.clearTrace()
      status.message = "\(name) has no trace any more"
    }
    return status
  }
}

extension TracePart {
  /// The engine's part as it goes over the socket.
  init(_ part: Group.TraceReading.Part) {
    self.init(
      path: part.path.map { $0.map(\.description).joined(separator: "/") }, file: part.file,
      startBytes: part.bytes.lowerBound, endBytes: part.bytes.upperBound,
      unreadStarts: part.unreadStarts)
  }
}
