import ArgumentParser
import FoundationEssentials
import Glibc
import RegionControl
import RegionView

/// Exit codes of `regionfs-stat`; scripts rely on them.
enum ExitStatus {
  /// The daemon answered with an error, or what was waited for cannot happen.
  static let failure: Int32 = 1
  /// Wrong usage.
  static let usage: Int32 = 2
  /// Not a regionfs mount, or no daemon.
  static let noDaemon: Int32 = 3
  /// `--timeout` has passed.
  static let timeout: Int32 = 4
}

/// What `--wait` waits for.
enum WaitGoal: String, CaseIterable, ExpressibleByArgument {
  /// No uncommitted change.
  case committed
  /// Every chunk is here.
  case pulled
}

/// `regionfs-stat [MOUNTPOINT|FILE]`.
@main
struct StatCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "regionfs-stat",
    abstract: "Show what regionfs mounts and regions are doing.",
    discussion: """
      Asks daemons over their control sockets and prints one table a mount. PATH is a mountpoint or a \
      file or directory under one, of which only the regions are shown; without it, all mounts of \
      this user are.

      Examples:
        regionfs-stat
        regionfs-stat /mnt/regions/model.bin
        regionfs-stat --watch /mnt/regions
        regionfs-stat --html status.html /mnt/regions
        regionfs-stat --wait=committed --timeout 60 /mnt/regions
        regionfs-stat --prometheus > /var/lib/node_exporter/regionfs.prom
        regionfs-stat --json | jq '.mounts[].regions[].dirtyBytes'

      Exit codes:
        0   success
        1   failure
        2   wrong usage
        3   not a regionfs mount or no daemon
        4   timeout
      """,
    version: "regionfs-stat \(RegionfsVersion.text)")

  @Argument(help: "A mountpoint, or a file under one to see only that.", completion: .file())
  var path: String?

  @Flag(
    name: .long,
    help: ArgumentHelp(
      "Print one JSON object, with --watch one a line.",
      discussion: """
        It has a version and an array of mounts. Names of quantities end in their unit, Bytes or \
        Seconds; what is not known is left out.
        """))
  var json = false

  @Flag(
    name: .long,
    help: "Print metrics in Prometheus's text format, as -o metrics= of regionfs(1) serves them.")
  var prometheus = false

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Show it again every so many seconds, 1 unless told.",
      discussion: "On a terminal as a live view, elsewhere one line a region.",
      valueName: "seconds"))
  var watch: Double?

  @Flag(name: .long, help: "Draw with plain ASCII characters, as in a locale that is not UTF-8.")
  var ascii = false

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Write a page for a browser instead; - is standard output.",
      discussion: """
        Everything is in it, the maps of the regions too. With --watch it is written anew each time, \
        and the browser loads it anew.
        """,
      valueName: "file"),
    completion: .file())
  var html: String?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "First wait until no change is uncommitted, or every chunk is here.",
      discussion: "If it takes longer than a second, standard error shows how it goes.",
      valueName: "goal"))
  var wait: WaitGoal?

  @Option(name: .long, help: ArgumentHelp("Give up waiting after this time.", valueName: "seconds"))
  var timeout: Double?

  func validate() throws {
    if let watch, !(0.1...86_400 ~= watch) {
      throw ValidationError("--watch takes 0.1 to 86400 seconds")
    }
    if let timeout, !(0...1e9 ~= timeout) {
      throw ValidationError("--timeout takes 0 to 1000000000 seconds")
    }
    if prometheus, json || watch != nil {
      throw ValidationError("--prometheus goes without --json and --watch")
    }
    if html != nil, json || prometheus {
      throw ValidationError("--html goes without --json and --prometheus")
    }
    if timeout != nil, wait == nil {
      throw ValidationError("--timeout goes with --wait")
    }
  }

  static func main() {
    // `regionfs-stat --watch | head` ends at the first line that nobody reads.
    _ = signal(SIGPIPE, SIG_DFL)
    do {
      let command = try parseAsRoot(withWatchValue(Array(CommandLine.arguments.dropFirst())))
      if var stat = command as? StatCommand {
        try stat.run()
      } else {
        var other = command
        try other.run()
      }
    } catch let error as ControlError {
      ProgressDisplay.write("regionfs-stat: \(HumanText.printable(error.message))\n")
      Glibc.exit(error.code == .noDaemon ? ExitStatus.noDaemon : ExitStatus.failure)
    } catch let code as ExitCode {
      Glibc.exit(code.rawValue)
    } catch {
      let code = exitCode(for: error)
      if code == .validationFailure {
        ProgressDisplay.write(fullMessage(for: error) + "\n")
        Glibc.exit(ExitStatus.usage)
      }
      exit(withError: error)
    }
  }

  /// `--watch` may stand alone, which the argument parser does not know.
  static func withWatchValue(_ arguments: [String]) -> [String] {
    let end = arguments.firstIndex(of: "--") ?? arguments.endIndex
    return arguments[..<end].map { $0 == "--watch" ? "--watch=1" : $0 } + arguments[end...]
  }

  mutating func run() throws {
    let source = try StatusSource(path: path)
    if let wait { try waitFor(wait, source: source) }
    guard let watch else {
      try show(try source.reports(mapCells: mapCells), source: source)
      return
    }
    let traits = TerminalTraits(environment: ProcessInfo.processInfo.environment, ascii: ascii)
    if !json, html == nil, isatty(STDOUT_FILENO) == 1, traits.isAddressable {
      return try LiveView(source: source, interval: watch, traits: traits).run()
    }
    while true {
      let reports = try source.reports(mapCells: mapCells)
      if json {
        try Output.printJSON(reports, pretty: false)
      } else if let html {
        try Output.write(page(reports), to: html)
      } else {
        Output.print(StatusText.lines(reports, now: HumanText.nowUnixSeconds))
      }
      usleep(UInt32(min(watch * 1e6, 4e9)))
    }
  }

  /// Cells of the maps to ask for; nil where nobody would see them.
  private var mapCells: Int? { json || html != nil ? ChunkMapStatus.cellLimit : nil }

  private func page(_ reports: [StatusReport]) -> String {
    StatusPage(reports, now: HumanText.nowUnixSeconds, refreshSeconds: watch).text
  }

  private func show(_ reports: [StatusReport], source: StatusSource) throws {
    if let html {
      try Output.write(page(reports), to: html)
    } else if prometheus {
      Output.print(PrometheusText.render(reports))
    } else if json {
      try Output.printJSON(reports, pretty: true)
    } else {
      Output.print(StatusText.full(reports, now: HumanText.nowUnixSeconds))
    }
    if reports.isEmpty {
      throw ControlError(.noDaemon, "no regionfs mounts of this user")
    }
    if !source.problems.isEmpty { throw ExitCode(ExitStatus.failure) }
  }

  private func waitFor(_ goal: WaitGoal, source: StatusSource) throws {
    var display = ProgressDisplay()
    defer { display.finish() }
    while true {
      let state = WaitState(goal: goal, reports: try source.reports())
      if state.isReached { return }
      if let obstacle = state.obstacle { throw ControlError(.failed, obstacle) }
      if let timeout, display.elapsed >= .seconds(timeout) {
        display.finish()
        ProgressDisplay.write("regionfs-stat: timeout: \(state.text)\n")
        throw ExitCode(ExitStatus.timeout)
      }
      display.update("regionfs-stat: " + state.text)
      usleep(100_000)
    }
  }
}
