/// What a client wants of a group's recorded trace.
public enum TraceAction: String, Codable, Sendable {
  /// Tell what it is.
  case show
  /// End the recording and keep it in the store now.
  case record
  /// Forget what was recorded since the start and begin anew.
  case begin
  /// Remove it from the store.
  case clear
}

/// A part of a file in a recorded trace.
public struct TracePart: Codable, Equatable, Sendable {
  /// The file's path in the group, empty for the group's top; nil if it is there no more.
  public var path: String?
  /// The file's number in its group.
  public var file: UInt64
  /// Where the part begins, in bytes.
  public var startBytes: UInt64
  /// Where it ends.
  public var endBytes: UInt64
  /// Starts in a row that pulled it and did not read it.
  public var unreadStarts: Int

  /// A part.
  public init(
    path: String?, file: UInt64, startBytes: UInt64, endBytes: UInt64, unreadStarts: Int
  ) {
    self.path = path
    self.file = file
    self.startBytes = startBytes
    self.endBytes = endBytes
    self.unreadStarts = unreadStarts
  }
}

/// The answer to a `TraceAction`.
public struct TraceStatus: Codable, Equatable, Sendable {
  /// The trace in the store, in its order; for `show`.
  public var parts: [TracePart] = []
  /// Chunks that the mount has recorded since its start.
  public var recordedChunks: Int = 0
  /// What was done, in words.
  public var message: String?

  /// An empty answer.
  public init() {}
}
