import ArgumentParser
import RegionControl

/// `regionfs log-level PATH LEVEL`.
struct LogLevelCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "log-level",
    abstract: "Change how much a mount's daemon logs, while it runs.",
    discussion: """
      LEVEL is the least important one that is logged: trace, debug, info, notice, warning, error or \
      critical. It holds until it is changed again or the mount ends; -o log_level= says it for good.

      Examples:
        regionfs log-level /mnt/regions debug
        regionfs log-level /mnt/regions info

      Exit codes:
        0   changed
        1   wrong usage
        32  failed
      """)

  @Argument(help: "A path on a regionfs mount.", completion: .directory)
  var path: String

  @Argument(
    help: "The least important level that is logged.",
    completion: .list(["trace", "debug", "info", "notice", "warning", "error", "critical"]))
  var level: String

  @Flag(name: .long, help: "Print what was set as JSON.")
  var json = false

  private struct Answer: Encodable {
    var version = 1
    var mountpoint: String
    var level: String
  }

  func run() throws {
    let mountpoint = try setLevel()
    if json { try CommandOutput.printJSON(Answer(mountpoint: mountpoint, level: level)) }
  }

  /// Returns the mountpoint.
  private func setLevel() throws(ExitCode) -> String {
    do throws(ControlError) {
      let place = try LocatedPath(path, environment: ProcessEnvironment.variables)
      var client = try ControlClient(socketPath: place.daemon.socketPath)
      try client.setLogLevel(level)
      return place.entry.mountpoint
    } catch {
      throw fail(HumanText.printable(error.message), code: ExitStatus.failure)
    }
  }
}
