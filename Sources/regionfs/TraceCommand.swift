import ArgumentParser
import RegionControl
import RegionCore

/// `regionfs trace`.
struct TraceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "trace",
    abstract: "Show, keep or remove what a cold start of a program reads first.",
    discussion: """
      A mount records in which order the chunks of a group are first read, and pulls them in that order \
      before they are asked for where the group is opened next with an empty cache, on any host.

      Examples:
        regionfs trace show /mnt/regions/app
        regionfs trace record /mnt/regions/app
        regionfs trace clear s3://bucket/prefix/app

      Exit codes:
        0   success
        1   wrong usage
        32  failed
      """,
    subcommands: [TraceShowCommand.self, TraceRecordCommand.self, TraceClearCommand.self])

  /// Asks the daemon of the mount that holds `path`.
  static func ask(_ path: String, _ action: TraceAction) throws(ExitCode) -> TraceStatus {
    do throws(ControlError) {
      let place = try LocatedPath(path, environment: ProcessEnvironment.variables)
      guard !place.inside.isEmpty else {
        throw ControlError(
          .malformed,
          "\(HumanText.printable(path)) holds many groups; name a file or directory in it")
      }
      var client = try ControlClient(socketPath: place.daemon.socketPath)
      return try client.trace(path: place.inside, action: action)
    } catch {
      throw fail(HumanText.printable(error.message), code: ExitStatus.failure)
    }
  }

  /// Opens a group of a store that is not mounted.
  static func stored<Value: Sendable>(
    _ place: String, _ common: StoreArguments, readOnly: Bool,
    _ body: @escaping @Sendable (StoredGroup) async throws(RemoteError) -> Value
  ) throws(ExitCode) -> Value {
    let path = try StorePath(place)
    let session = try common.open(path.store, readOnly: readOnly, purpose: "regionfs trace")
    return try session.run { session in
      await outcome { () async throws(CommandError) in
        let group = try await session.group(path.name).group
        do throws(RemoteError) {
          return try await body(group)
        } catch {
          throw CommandError(error)
        }
      }
    }
  }
}

/// `regionfs trace show PLACE`.
struct TraceShowCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Print the trace that the store has of a group, in its order.",
    discussion: """
      PLACE is a path on a mount, or STORE/NAME. Each line is a file and a range of its bytes, in whole \
      chunks; a number behind it counts starts in a row that pulled it and did not read it. On a mount \
      the last line says how much was recorded since its start.

      Examples:
        regionfs trace show /mnt/regions/app
        regionfs trace show --json s3://bucket/prefix/app | jq .parts

      Exit codes:
        0   success
        1   wrong usage
        32  failed
      """)

  @Argument(help: "A path on a mount, or a group in a store.", completion: .file())
  var place: String

  @OptionGroup var common: StoreArguments

  private struct Answer: Encodable {
    var version = 1
    var parts: [TracePart]
    var bytes: UInt64
    /// Only of mounts.
    var recordedChunks: Int?
  }

  func run() throws {
    let parts: [TracePart]
    var recorded: Int?
    if StorePath.isStore(place) {
      parts = try TraceCommand.stored(place, common, readOnly: true) {
        group async throws(RemoteError) in
        try await group.traceParts().map(TracePart.init)
      }
    } else {
      let status = try TraceCommand.ask(place, .show)
      (parts, recorded) = (status.parts, status.recordedChunks)
    }
    let bytes = parts.reduce(0) { $0 &+ ($1.endBytes &- $1.startBytes) }
    if common.json {
      return try CommandOutput.printJSON(
        Answer(parts: parts, bytes: bytes, recordedChunks: recorded))
    }
    CommandOutput.print(
      CommandOutput.table(parts.map(Self.row), right: [1, 2])
        + "\(parts.count) ranges, \(HumanText.bytes(bytes))\n"
        + (recorded.map { "\($0) chunks recorded since the mount\n" } ?? ""))
  }

  private static func row(_ part: TracePart) -> [String] {
    let name = part.path.map { $0.isEmpty ? "." : $0 } ?? "(inode \(part.file), gone)"
    return [
      HumanText.printable(name), "\(part.startBytes)", "\(part.endBytes)",
      part.unreadStarts == 0 ? "" : "\(part.unreadStarts)",
    ]
  }
}

/// `regionfs trace record PATH`.
struct TraceRecordCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "record",
    abstract: "Keep what was recorded until now: the program has started.",
    discussion: """
      Each mount records in which order the chunks of a group are first read, for two minutes from the \
      first one that has to come from the store, and keeps that in the store when nothing new is read \
      for five seconds, and at its end. Where the group is opened next with an empty cache, on any host, \
      its chunks come in that order before they are asked for, as far as the cache has room; not with \
      pull=lazy. A mount with ro replays and writes nothing. Chunks that four starts in a row pulled and \
      did not read are dropped. Nothing but speed depends on a trace.

      PATH lies on the mount. This command ends the recording and keeps it at once. What is in the cache \
      already is not seen; so a trace is best recorded with an empty one.

      Examples:
        regionfs trace record /mnt/regions/app
        regionfs trace record --begin /mnt/regions/app

      Exit codes:
        0   success
        1   wrong usage
        32  failed
      """)

  @Argument(help: "A path on a mount, not its top.", completion: .file())
  var path: String

  @Flag(name: .long, help: "Forget what was recorded, and begin now.")
  var begin = false

  @Flag(name: .long, help: "Print JSON.")
  var json = false

  private struct Answer: Encodable {
    var version = 1
    var recordedChunks: Int
    var message: String
  }

  func run() throws {
    let status = try TraceCommand.ask(path, begin ? .begin : .record)
    let message = status.message ?? ""
    if json {
      return try CommandOutput.printJSON(
        Answer(recordedChunks: status.recordedChunks, message: message))
    }
    ProgressDisplay.write("regionfs: \(HumanText.printable(message))\n")
  }
}

/// `regionfs trace clear PLACE`.
struct TraceClearCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "clear",
    abstract: "Remove the trace of a group from the store.",
    discussion: """
      PLACE is a path on a mount, which then forgets what it has recorded and begins anew, or \
      STORE/NAME. A trace that a mount replays now goes on.

      Examples:
        regionfs trace clear /mnt/regions/app
        regionfs trace clear s3://bucket/prefix/app

      Exit codes:
        0   success
        1   wrong usage
        32  failed
      """)

  @Argument(help: "A path on a mount, or a group in a store.", completion: .file())
  var place: String

  @OptionGroup var common: StoreArguments

  private struct Answer: Encodable {
    var version = 1
    var message: String
  }

  func run() throws {
    var message = "\(place) has no trace any more"
    if StorePath.isStore(place) {
      try TraceCommand.stored(place, common, readOnly: false) {
        group async throws(RemoteError) in
        try await group.clearTrace()
      }
    } else {
      message = try TraceCommand.ask(place, .clear).message ?? message
    }
    if common.json { return try CommandOutput.printJSON(Answer(message: message)) }
    ProgressDisplay.write("regionfs: \(HumanText.printable(message))\n")
  }
}
