import ArgumentParser
import RegionControl
import RegionCore

/// `regionfs list STORE`.
struct ListCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "List the groups of a store without mounting it.",
    discussion: """
      STORE is an address (s3://bucket/prefix, file:///directory) or a name of the configuration. \
      Shows of each group its size (the bytes of all its files, holes included), the number of files, \
      the newest commit, the epoch of the claim and who holds it.

      Examples:
        regionfs list file:///srv/store
        regionfs list s3://bucket/prefix -o region=eu-west-1
        regionfs list models --json | jq -r '.groups[] | select(.held) | .name'

      Exit codes:
        0   success
        1   wrong usage
        32  the store or one of its groups cannot be read
      """,
    aliases: ["ls"])

  @Argument(
    help: "The store.", completion: WordCompletion.stores)
  var store: String

  @Flag(name: .long, help: "Only the names, which takes one request for a thousand of them.")
  var namesOnly = false

  @OptionGroup var common: StoreArguments

  /// One line of the answer.
  struct Entry: Codable, Sendable {
    var name: String
    var kind: String?
    var groupID: String?
    var sizeBytes: UInt64?
    var files: Int?
    var commit: UInt64?
    var committedUnixSeconds: Double?
    var epoch: UInt64?
    var held: Bool?
    var holder: String?
    /// Why there is nothing else; nil where all is well.
    var error: String?
  }

  struct Answer: Codable {
    var version = 1
    var store: String
    var groups: [Entry]
  }

  func run() throws {
    let session = try common.open(store, readOnly: true, purpose: "regionfs list")
    let namesOnly = namesOnly
    let entries = try session.run { session in
      await outcome { () async throws(CommandError) in
        try await Self.entries(session, namesOnly: namesOnly)
      }
    }
    if common.json {
      try CommandOutput.printJSON(
        Answer(store: session.configuration.store.description, groups: entries))
    } else if namesOnly {
      CommandOutput.print(entries.map { HumanText.printable($0.name) + "\n" }.joined())
    } else {
      CommandOutput.print(Self.text(entries))
    }
    let failed = entries.filter { $0.error != nil }
    for entry in failed {
      ProgressDisplay.write(
        "regionfs: \(HumanText.printable(entry.name)): \(HumanText.printable(entry.error ?? ""))\n")
    }
    if !failed.isEmpty { throw ExitCode(ExitStatus.failure) }
  }

  private static func entries(
    _ session: StoreSession, namesOnly: Bool
  ) async throws(CommandError) -> [Entry] {
    let names: [FileName]
    do throws(RemoteError) {
      names = try await session.catalogue.names()
    } catch {
      throw CommandError(error)
    }
    if namesOnly { return names.map { Entry(name: $0.description) } }
    let entries = await mapConcurrently(names, width: 16) { name in
      await entry(name, session)
    }
    return entries.compactMap { $0 }
  }

  /// Nil for a name that was removed in between.
  private static func entry(_ name: FileName, _ session: StoreSession) async -> Entry? {
    var entry = Entry(name: name.description)
    do throws(RemoteError) {
      guard let record = try await session.catalogue.record(name)?.record else { return nil }
      entry.kind = record.kind.word
      entry.groupID = "\(record.group)"
      let group = try await StoredGroup.open(
        record.group, kind: record.kind, engine: session.engine)
      let claim = ClaimText(group.root)
      entry.sizeBytes = group.size
      entry.files = group.namespace.all.count { $0.kind == .file }
      entry.commit = group.root.commit.number
      entry.committedUnixSeconds = group.root.committedAt.unixSeconds
      entry.epoch = group.root.epoch
      entry.held = claim.held
      entry.holder = claim.holder
    } catch {
      entry.error = CommandError(error).text
    }
    return entry
  }

  private static func text(_ entries: [Entry]) -> String {
    let now = HumanText.nowUnixSeconds
    let titles = ["NAME", "KIND", "SIZE", "FILES", "COMMIT", "AGE", "EPOCH", "WRITER"]
    let rows = entries.map { entry in
      [
        HumanText.printable(entry.name), entry.kind ?? HumanText.none,
        entry.sizeBytes.map(HumanText.bytes) ?? HumanText.none,
        entry.files.map(String.init) ?? HumanText.none,
        entry.commit.map(String.init) ?? HumanText.none,
        HumanText.seconds(entry.committedUnixSeconds.map { max(0, now - $0) }),
        entry.epoch.map(String.init) ?? HumanText.none,
        entry.error != nil
          ? "cannot be read" : HumanText.printable(entry.holder ?? HumanText.none),
      ]
    }
    return CommandOutput.table([titles] + rows, right: [2, 3, 4, 5, 6])
  }
}
