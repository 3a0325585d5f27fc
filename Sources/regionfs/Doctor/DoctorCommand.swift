import ArgumentParser
import RegionControl
import RegionCore

/// What one check of `regionfs doctor` came to.
struct Diagnosis: Codable, Sendable {
  enum Verdict: String, Codable, Sendable {
    case good, warning, failure, skipped
  }

  /// A stable word for programs.
  var check: String
  var verdict: Verdict
  /// What was seen.
  var finding: String
  /// What to do; nil where nothing is to be done.
  var advice: String?

  static func good(_ check: String, _ finding: String) -> Self {
    Self(check: check, verdict: .good, finding: finding)
  }

  static func warning(_ check: String, _ finding: String, _ advice: String) -> Self {
    Self(check: check, verdict: .warning, finding: finding, advice: advice)
  }

  static func failure(_ check: String, _ finding: String, _ advice: String) -> Self {
    Self(check: check, verdict: .failure, finding: finding, advice: advice)
  }

  static func skipped(_ check: String, _ finding: String) -> Self {
    Self(check: check, verdict: .skipped, finding: finding)
  }
}

/// `regionfs doctor [STORE]`.
struct DoctorCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Check whether this host can mount, and whether a store can be used.",
    discussion: """
      Of the host: kernel, /dev/fuse, fusermount3, mount helper, configuration, cache directory. Of a \
      STORE: address, credentials (where they come from), reachability, clock, conditional writes (by \
      a race), latency and throughput. Says what to do about each thing that is wrong. To measure, it \
      writes objects below mounts/probe-… of the store and removes them; --read-only leaves that out.

      Examples:
        regionfs doctor
        regionfs doctor s3://bucket/prefix -o region=eu-west-1,profile=work
        regionfs doctor --json models | jq '.checks[] | select(.verdict != "good")'

      Exit codes:
        0   nothing is wrong (there may be warnings)
        1   wrong usage
        32  something is wrong
      """)

  @Argument(
    help: "A store to check: an address or a name of the configuration.",
    completion: WordCompletion.stores)
  var store: String?

  @Flag(name: .long, help: "Write nothing to the store.")
  var readOnly = false

  @OptionGroup var common: StoreArguments

  struct Answer: Codable {
    var version = 1
    var regionfs = RegionfsVersion.text
    var store: String?
    var checks: [Diagnosis]
  }

  func run() throws {
    var found: [Diagnosis] = []
    func take(_ diagnosis: Diagnosis) {
      found.append(diagnosis)
      if !common.json { CommandOutput.print(Self.text(diagnosis)) }
    }
    let host = HostChecks()
    for check in host.all { take(check()) }
    guard let store else {
      take(host.cacheDirectory(of: nil))
      return try finish(found, nil)
    }
    let (configuration, _) = try common.resolve(store, first: ["fault_timeout=10s"])
    take(host.cacheDirectory(of: configuration))
    let address = configuration.store.description
    let stack: StoreStack
    do throws(StackError) {
      stack = try StoreStack(configuration) { _ in }
    } catch {
      take(.failure("store", error.description, "Correct the address or its options"))
      return try finish(found, address)
    }
    take(.good("store", "\(address) can be opened"))
    let checks = StoreChecks(stack: stack, mayWrite: !readOnly, options: configuration.options)
    let executor = EngineExecutor(threads: 4)
    for step in StoreChecks.Step.allCases {
      let result = BlockingResult<Diagnosis>()
      executor.spawn { result.set(await checks.run(step)) }
      let diagnosis = result.wait()
      take(diagnosis)
      // Nothing else can be said of a store that does not answer.
      if step == .reachable, diagnosis.verdict == .failure { break }
    }
    try finish(found, address)
  }

  private func finish(_ found: [Diagnosis], _ store: String?) throws {
    if common.json {
      try CommandOutput.printJSON(Answer(store: store, checks: found))
    } else {
      let failures = found.count { $0.verdict == .failure }
      let warnings = found.count { $0.verdict == .warning }
      CommandOutput.print("\(failures) wrong, \(warnings) to look at\n")
    }
    if found.contains(where: { $0.verdict == .failure }) { throw ExitCode(ExitStatus.failure) }
  }

  private static func text(_ diagnosis: Diagnosis) -> String {
    let mark =
      switch diagnosis.verdict {
      case .good: "ok     "
      case .warning: "warning"
      case .failure: "WRONG  "
      case .skipped: "skipped"
      }
    let name = diagnosis.check + String(repeating: " ", count: max(0, 18 - diagnosis.check.count))
    var text = "\(mark) \(name) \(HumanText.printable(diagnosis.finding))\n"
    if let advice = diagnosis.advice {
      text += String(repeating: " ", count: 27) + HumanText.printable(advice) + ".\n"
    }
    return text
  }
}
