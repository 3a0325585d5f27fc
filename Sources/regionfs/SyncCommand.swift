import ArgumentParser
import RegionControl

/// `regionfs sync PATH`.
struct SyncCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sync",
    abstract: "Wait until everything written so far is committed.",
    discussion: """
      PATH is a mountpoint (all its groups) or a file or directory under it (its group).

      Examples:
        regionfs sync /mnt/regions
        regionfs sync --timeout 60 /mnt/regions/db
        regionfs sync --json /mnt/regions | jq .seconds

      Exit codes:
        0   committed
        1   wrong usage
        32  failed or timed out
      """)

  @Argument(help: "A path on a regionfs mount.", completion: .file())
  var path: String

  @Option(name: .long, help: ArgumentHelp("Give up after this time.", valueName: "seconds"))
  var timeout: UInt32?

  @Flag(name: .long, help: "Print how long that took as JSON.")
  var json = false

  private struct Answer: Encodable {
    var version = 1
    var path: String
    var seconds: Double
  }

  func run() throws {
    var display = ProgressDisplay()
    do throws(ControlError) {
      let place = try LocatedPath(path, environment: ProcessEnvironment.variables)
      var client = try ControlClient(socketPath: place.daemon.socketPath)
      try client.sync(
        path: place.inside.isEmpty ? nil : place.inside,
        timeout: timeout.map { .seconds(Int64($0)) }
      ) { progress in
        display.update("regionfs: " + progress.text)
        return true
      }
      display.finish()
    } catch {
      display.finish()
      throw fail(HumanText.printable(error.message), code: ExitStatus.failure)
    }
    if json {
      let seconds = display.elapsed / .seconds(1)
      try CommandOutput.printJSON(Answer(path: path, seconds: seconds))
    }
  }
}
