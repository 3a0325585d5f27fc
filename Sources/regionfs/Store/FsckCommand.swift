import ArgumentParser
import Locks
import RegionControl
import RegionCore

/// `regionfs fsck STORE [NAME …]`.
struct FsckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fsck",
    abstract: "Check a store, or some of its groups, and repair what can be repaired.",
    discussion: """
      Reads name records, roots, checkpoints, pages of names and map, traces, and the header, table \
      and footer of each segment; compares checksums and lengths; checks that the names make a tree and \
      that each extent lies in the payload of an object that is there; lists what nothing refers to. \
      With --data all payload is read and compared too. Changes nothing unless told to. May run \
      beside mounts. Orphans and warnings are no errors.

      Examples:
        regionfs fsck file:///srv/store
        regionfs fsck s3://bucket/prefix db --data -o region=eu-west-1
        regionfs fsck s3://bucket/prefix db --repair
        regionfs fsck models --json | jq '.findings[] | select(.severity == "error")'

      Exit codes, as of fsck(8):
        0   no errors
        1   all errors were repaired
        4   errors are left
        8   the store could not be read
        16  wrong usage
      """)

  /// Exit codes of fsck(8).
  enum Status {
    static let corrected: Int32 = 1
    static let uncorrected: Int32 = 4
    static let operational: Int32 = 8
    static let usage: Int32 = 16
  }

  @Argument(
    help: "The store: an address or a name of the configuration.", completion: WordCompletion.stores
  )
  var store: String

  @Argument(help: ArgumentHelp("Groups to check; all if none is named.", valueName: "name"))
  var names: [String] = []

  @Flag(name: .long, help: "Also read all payload and compare it with its checksums.")
  var data = false

  @Flag(
    name: .long,
    help: ArgumentHelp(
      "Rebuild groups from their segments, and damaged name records, where that helps.",
      discussion: """
        Groups whose root, checkpoint or pages are damaged or missing get new ones, made from the \
        tables of their segments, which are only read. Where segments of later commits are lost the \
        group stays as it is. A damaged name record is written again where it is the only one and \
        one group is without a name; meanwhile no mount may make groups. Damaged payload cannot be \
        repaired.
        """))
  var repair = false

  @Flag(
    name: .long,
    help: "With --repair: be content with the last commit before a segment that is lost.")
  var allowRollback = false

  @Flag(
    name: .long,
    help: ArgumentHelp(
      "With --repair: also a group that somebody writes, who loses the claim.",
      discussion: """
        What that writer has not committed is kept aside in its cache, for regionfs recover.
        """))
  var takeover = false

  @OptionGroup var common: StoreArguments

  func validate() throws {
    guard repair || !(allowRollback || takeover) else {
      throw ValidationError("--allow-rollback and --takeover go with --repair")
    }
  }

  /// What was repaired, or why it was not.
  struct Repair: Codable, Sendable {
    var group: String
    /// The group that its name record says again.
    var names: String?
    var commit: UInt64?
    var segments = 0
    var inodes = 0
    var notes: [String] = []
    var failure: String?
  }

  struct Finding: Codable, Sendable {
    var severity: String
    var group: String?
    var object: String
    var cause: String
    var remedy: String
  }

  struct Answer: Codable, Sendable {
    var version = 1
    var store: String
    var groups = 0
    var objects = 0
    var inodes = 0
    var extents = 0
    var payloadBytesRead: UInt64 = 0
    var errors = 0
    var warnings = 0
    var orphans = 0
    var findings: [Finding] = []
    var repairs: [Repair] = []

    mutating func add(_ found: [AuditFinding], group: String?) {
      for finding in found {
        switch finding.severity {
        case .error: errors += 1
        case .warning: warnings += 1
        case .orphan: orphans += 1
        }
        findings.append(
          Finding(
            severity: finding.severity.rawValue, group: group, object: finding.object,
            cause: finding.cause, remedy: finding.remedy))
      }
    }

    mutating func add(_ report: GroupAuditReport) {
      groups += 1
      objects += report.objects
      inodes += report.inodes
      extents += report.extents
      payloadBytesRead += report.payloadBytesRead
      add(report.findings, group: report.name?.description)
    }
  }

  func run() throws {
    let answer: Answer
    do throws(ExitCode) {
      answer = try check()
    } catch {
      throw ExitCode(error.rawValue == ExitStatus.usage ? Status.usage : Status.operational)
    }
    if common.json {
      try CommandOutput.printJSON(answer)
    } else {
      CommandOutput.print(Self.text(answer))
    }
    if answer.errors > 0 { throw ExitCode(Status.uncorrected) }
    if !answer.repairs.isEmpty { throw ExitCode(Status.corrected) }
  }

  private func check() throws(ExitCode) -> Answer {
    var wanted = Set<FileName>()
    for name in names {
      guard let name = FileName(name) else {
        throw fail("'\(HumanText.printable(name))' is no name", code: ExitStatus.usage)
      }
      wanted.insert(name)
    }
    let session = try common.open(
      store, readOnly: !repair, patience: "30s", purpose: "regionfs fsck")
    let (chosen, command) = (wanted, self)
    return try session.run(showsTraffic: false) { session in
      await outcome { () async throws(CommandError) in
        if command.repair { try await session.checkConditionalWrites() }
        return try await command.check(session, chosen)
      }
    }
  }

  private func check(
    _ session: StoreSession, _ wanted: Set<FileName>
  ) async throws(CommandError) -> Answer {
    let display = Lock((display: ProgressDisplay(), bytes: UInt64(0)))
    defer { display.withLock { $0.display.finish() } }
    var answer = Answer(store: session.configuration.store.description)
    do throws(RemoteError) {
      let audit = StoreAudit(engine: session.engine)
      var names = try await audit.names()
      if repair {
        for name in names.damaged where wanted.isEmpty || wanted.contains(name) {
          answer.repairs.append(try await repairName(name, names, session))
        }
        if !answer.repairs.isEmpty { names = try await audit.names() }
      }
      let known = Set(names.entries.map(\.name)).union(names.damaged)
      if let missing = wanted.subtracting(known).first {
        throw .store(
          StoreError(
            .notFound, operation: "fsck", object: "\(session.configuration.store)/\(missing)",
            detail:
              "no such group; regionfs list \(session.configuration.store) shows what is there"
          ))
      }
      answer.add(names.findings, group: nil)
      let progress: @Sendable (FileName, UInt64) -> Void = { name, bytes in
        display.withLock { state in
          state.bytes += bytes
          let read = HumanText.bytes(state.bytes)
          state.display.update("regionfs: \(name): \(read) of payload read")
        }
      }
      for entry in names.entries where wanted.isEmpty || wanted.contains(entry.name) {
        var report = try await report(entry, session, progress)
        if repair, report.isStructureDamaged {
          let outcome = try await rebuild(entry, session)
          answer.repairs.append(outcome)
          if outcome.failure == nil { report = try await self.report(entry, session, progress) }
        }
        answer.add(report)
      }
      if wanted.isEmpty {
        answer.add(try await audit.unnamedGroups(names.entries), group: nil)
      }
      return answer
    } catch {
      throw CommandError(error)
    }
  }

  private func report(
    _ entry: StoreAudit.Entry, _ session: StoreSession,
    _ progress: @escaping @Sendable (FileName, UInt64) -> Void
  ) async throws(RemoteError) -> GroupAuditReport {
    let audit = GroupAudit(
      entry.record.group, name: entry.name, engine: session.engine, readsData: data
    ) { progress(entry.name, $0) }
    return try await audit.run(kind: entry.record.kind)
  }

  private func repairName(
    _ name: FileName, _ names: StoreAudit.Names, _ session: StoreSession
  ) async throws(RemoteError) -> Repair {
    var repair = Repair(group: name.description)
    do throws(NameRepairError) {
      let record = try await NameRepair(engine: session.engine).run(name, of: names)
      repair.names = "\(record.group)"
    } catch {
      if case .remote(.store(let cause)) = error, cause.kind != .notFound { throw .store(cause) }
      repair.failure = error.description
    }
    return repair
  }

  private func rebuild(
    _ entry: StoreAudit.Entry, _ session: StoreSession
  ) async throws(RemoteError) -> Repair {
    var repair = Repair(group: entry.name.description)
    let rebuild = GroupRebuild(
      entry.record.group, kind: entry.record.kind, engine: session.engine,
      allowRollback: allowRollback, takeover: takeover)
    do throws(RebuildError) {
      let outcome = try await rebuild.run()
      repair.commit = outcome.commit
      repair.segments = outcome.segments
      repair.inodes = outcome.inodes
      repair.notes = outcome.notes
    } catch {
      // A store that does not answer is no verdict on the group.
      if case .remote(.store(let cause)) = error, cause.kind != .notFound { throw .store(cause) }
      repair.failure = error.description
    }
    return repair
  }

  private static func text(_ answer: Answer) -> String {
    var text = ""
    for repair in answer.repairs {
      if let failure = repair.failure {
        text += HumanText.printable("not repaired: \(repair.group): \(failure)") + "\n"
        continue
      }
      if let group = repair.names {
        text += HumanText.printable("repaired: \(repair.group): names group \(group) again") + "\n"
        continue
      }
      let commit = repair.commit.map { "commit \($0)" } ?? "its state"
      text +=
        HumanText.printable(
          "repaired: \(repair.group): \(commit) rebuilt from \(repair.segments) segments, "
            + "\(repair.inodes) inodes") + "\n"
      for note in repair.notes { text += "    " + HumanText.printable(note) + "\n" }
    }
    for finding in answer.findings {
      let group = finding.group.map { "\($0): " } ?? ""
      text +=
        HumanText.printable(
          "\(finding.severity): \(group)\(finding.object): \(finding.cause)") + "\n"
      text += "    " + HumanText.printable(finding.remedy) + ".\n"
    }
    text += "\(answer.groups) groups, \(answer.inodes) inodes, \(answer.objects) objects, "
    text += "\(answer.extents) extents"
    if answer.payloadBytesRead > 0 {
      text += ", \(HumanText.bytes(answer.payloadBytesRead)) of payload read"
    }
    text += ": \(answer.errors) errors, \(answer.warnings) warnings, \(answer.orphans) orphans\n"
    return text
  }
}
