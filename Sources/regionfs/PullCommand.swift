import ArgumentParser
import Glibc
import RegionControl
import RegionCore
import RegionOptions

/// `regionfs pull FILE…`.
struct PullCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pull",
    abstract: "Bring files from the store into the cache and wait until they are here.",
    discussion: """
      Faults go first, and other files' pulls go on beside it. Standard error shows how far it is. \
      While a file is open, getfattr -n user.regionfs.pull says how much of it is here, and setting \
      that attribute to START:END, in bytes, asks for a pull without waiting for it.

      Examples:
        regionfs pull /mnt/regions/model.bin
        regionfs pull --range 0:64m --priority 9 /mnt/regions/db/main.sqlite

      Exit codes:
        0   all of it is here
        1   wrong usage
        32  failed or timed out
      """)

  @Argument(help: "Files on a regionfs mount.", completion: .file())
  var file: [String]

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Only these bytes, such as 1m:2m or :64k; either end may be left out.", valueName: "start:end"
    ))
  var range: String?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "From 0 to 9.",
      discussion: """
        From 5 on these bytes come before what the mount itself finds most valuable, else after it.
        """, valueName: "number"))
  var priority = 5

  @Flag(
    name: .long,
    help: "Print for each file how many bytes had to come and how long that took, as JSON.")
  var json = false

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Give up after this time.",
      discussion: "What was asked for goes on for as long as the file is open somewhere.",
      valueName: "seconds"))
  var timeout: UInt32?

  func validate() throws {
    guard !file.isEmpty else { throw ValidationError("name a file") }
    guard (0...9).contains(priority) else { throw ValidationError("--priority is 0 to 9") }
    _ = try bounds()
  }

  /// The two numbers of `--range`.
  private func bounds() throws -> (start: UInt64?, end: UInt64?) {
    guard let range else { return (nil, nil) }
    guard let bounds = Quantities.bounds(range), bounds.first ?? 0 <= bounds.end ?? .max else {
      throw ValidationError("--range takes START:END, e.g. 0:64m, not '\(range)'")
    }
    return (bounds.first, bounds.end)
  }

  func run() throws {
    let (start, end) = try bounds()
    let deadline = timeout.map { ContinuousClock.now + .seconds(Int64($0)) }
    var reports: [Report] = []
    for path in file {
      var display = ProgressDisplay()
      do throws(ControlError) {
        let bytes = try pull(path, start, end, until: deadline, &display)
        display.finish()
        reports.append(
          Report(file: path, pulledBytes: bytes, seconds: display.elapsed.secondsValue))
      } catch {
        display.finish()
        throw fail(HumanText.printable(error.message), code: ExitStatus.failure)
      }
    }
    if json { try CommandOutput.printJSON(Answer(files: reports)) }
  }

  /// What `--json` prints.
  private struct Answer: Encodable {
    var version = 1
    var files: [Report]
  }

  private struct Report: Encodable {
    var file: String
    /// What had to come; the rest was here.
    var pulledBytes: UInt64
    var seconds: Double
  }

  /// Returns how many bytes had to come.
  private func pull(
    _ path: String, _ start: UInt64?, _ end: UInt64?, until deadline: ContinuousClock.Instant?,
    _ display: inout ProgressDisplay
  ) throws(ControlError) -> UInt64 {
    let place = try LocatedPath(path, environment: ProcessEnvironment.variables)
    guard !place.inside.isEmpty else {
      throw ControlError(.malformed, "\(HumanText.printable(path)) is a mount; name a file in it")
    }
    // The region lives while somebody has the file open.
    // SAFETY: the path is read only during the call.
    let descriptor = unsafe Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      throw ControlError(.system, "cannot open \(HumanText.printable(path)): \(errnoText(errno))")
    }
    defer { Glibc.close(descriptor) }
    var client = try ControlClient(socketPath: place.daemon.socketPath)
    var most: UInt64 = 0
    try client.pull(
      path: place.inside, start: start, end: end, priority: priority,
      timeout: deadline.map { ContinuousClock.now.duration(to: $0) }
    ) { progress in
      most = max(most, progress.remainingBytes)
      display.update("regionfs: \(HumanText.printable(path)): " + progress.text)
      return true
    }
    return most
  }
}
