import ArgumentParser
import RegionControl
import RegionCore

/// `regionfs info STORE/NAME|PATH`.
struct InfoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "info",
    abstract: "Tell everything about one group or one file.",
    discussion: """
      STORE/NAME is a group as the store has it, STORE//NAME/PATH a file in it; for a store of the \
      configuration STORENAME:NAME/PATH. A PATH on a mount is shown as its daemon sees it, with what \
      is not committed yet.

      Examples:
        regionfs info s3://bucket/prefix/model.bin -o region=eu-west-1
        regionfs info file:///srv/store//db/journal
        regionfs info /mnt/regions/model.bin
        regionfs info --json models:model.bin | jq .commit

      Exit codes:
        0   success
        1   wrong usage
        32  not found or not readable
      """)

  @Argument(help: "A group, a path in one, or a path on a mount.", completion: .file())
  var place: String

  @OptionGroup var common: StoreArguments

  struct Answer: Codable, Sendable {
    var version = 1
    var store: String
    var name: String
    var groupID: String
    var kind: String
    var sizeBytes: UInt64
    var mode: String
    var modifiedUnixSeconds: Double
    var inodes: Int
    var files: Int
    var chunkBytes: UInt64
    var commit: UInt64
    var committedUnixSeconds: Double
    var epoch: UInt64
    var held: Bool
    var holder: String?
    var segmentsSinceCheckpoint: Int
    var checkpointCommit: UInt64?
    var objectsPendingDeletion: Int
    /// Names of a directory.
    var entries: [String]?
  }

  func run() throws {
    guard StorePath.isStore(place) else { return try showMounted() }
    let path = try StorePath(place)
    let session = try common.open(path.store, readOnly: true, purpose: "regionfs info")
    let answer = try session.run { session in
      await outcome { () async throws(CommandError) in try await Self.answer(session, path) }
    }
    if common.json {
      try CommandOutput.printJSON(answer)
    } else {
      CommandOutput.print(Self.text(answer))
    }
  }

  private static func answer(
    _ session: StoreSession, _ path: StorePath
  ) async throws(CommandError) -> Answer {
    let (record, group) = try await session.group(path.name)
    guard let inode = group.inode(at: path.inside) else {
      throw CommandError("\(session.configuration.store)//\(path.path): no such file in the group")
    }
    let root = group.root
    let claim = ClaimText(root)
    let isTop = path.inside.isEmpty
    return Answer(
      store: session.configuration.store.description, name: path.path,
      groupID: "\(record.group)", kind: inode.kind.word, sizeBytes: isTop ? group.size : inode.size,
      mode: String(inode.mode, radix: 8), modifiedUnixSeconds: inode.modified.unixSeconds,
      inodes: group.namespace.count, files: group.namespace.all.count { $0.kind == .file },
      chunkBytes: root.geometry.chunkSize, commit: root.commit.number,
      committedUnixSeconds: root.committedAt.unixSeconds, epoch: root.epoch, held: claim.held,
      holder: claim.holder, segmentsSinceCheckpoint: root.tail.count,
      checkpointCommit: root.checkpoint?.commit.number,
      objectsPendingDeletion: root.pendingDeletion.count,
      entries: inode.kind == .directory
        ? group.namespace.entries(of: inode.id).map(\.name.description) : nil)
  }

  private static func text(_ answer: Answer) -> String {
    let now = HumanText.nowUnixSeconds
    func ago(_ time: Double) -> String {
      "\(HumanText.timestamp(unixSeconds: time)), \(HumanText.seconds(max(0, now - time))) ago"
    }
    var rows = [
      ["store", answer.store], ["name", answer.name], ["group", answer.groupID],
      ["kind", answer.kind],
      ["size", "\(HumanText.bytes(answer.sizeBytes)) (\(answer.sizeBytes) bytes)"],
      ["mode", answer.mode], ["modified", ago(answer.modifiedUnixSeconds)],
      ["chunk", HumanText.bytes(answer.chunkBytes)],
      ["inodes", "\(answer.inodes), of which \(answer.files) files"],
      ["commit", "\(answer.commit), \(ago(answer.committedUnixSeconds))"],
      ["epoch", "\(answer.epoch)"],
      ["writer", answer.held ? answer.holder ?? "" : "nobody"],
      [
        "map",
        (answer.checkpointCommit.map { "checkpoint of commit \($0)" } ?? "no checkpoint")
          + ", \(answer.segmentsSinceCheckpoint) segments since",
      ],
      ["to delete", "\(answer.objectsPendingDeletion) objects"],
    ]
    if let entries = answer.entries { rows.append(["entries", "\(entries.count)"]) }
    return CommandOutput.table(rows.map { $0.map(HumanText.printable) }, right: [])
  }

  // MARK: On a mount

  private func showMounted() throws {
    do throws(ControlError) {
      let place = try LocatedPath(place, environment: ProcessEnvironment.variables)
      var client = try ControlClient(socketPath: place.daemon.socketPath)
      let report = try client.status(path: place.inside.isEmpty ? nil : place.inside)
      do throws(ExitCode) {
        try show(report, place)
      } catch {
        throw ControlError(.failed, "\(error)")
      }
    } catch {
      throw fail(
        HumanText.printable(error.message)
          + "; for a group in a store write STORE/NAME, such as file:///srv/store/model.bin",
        code: ExitStatus.failure)
    }
  }

  private func show(_ report: StatusReport, _ place: LocatedPath) throws(ExitCode) {
    if common.json { return try CommandOutput.printJSON(report) }
    var rows = [
      ["store", report.mount.storeAddress], ["mountpoint", report.mount.mountpoint],
      ["daemon", "pid \(report.mount.pid), \(report.mount.state.rawValue)"],
      ["cache", report.mount.cacheDirectory],
    ]
    for region in report.regions {
      let present = "\(region.chunksPresent) of \(region.chunksTotal) chunks here"
      let commit = region.lastCommitNumber.map(String.init) ?? HumanText.none
      rows.append([
        region.name,
        "\(HumanText.bytes(region.sizeBytes)), \(present), "
          + "\(HumanText.bytes(region.dirtyBytes)) not committed, commit \(commit), "
          + region.role.rawValue,
      ])
    }
    if report.regions.isEmpty { rows.append(["regions", "none open; see regionfs-stat(1)"]) }
    CommandOutput.print(CommandOutput.table(rows.map { $0.map(HumanText.printable) }, right: []))
  }
}
