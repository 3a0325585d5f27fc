import ArgumentParser
import RegionControl

/// `regionfs takeover PATH`.
struct TakeoverCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "takeover",
    abstract: "Become the writer of a group that another mount claims.",
    discussion: """
      PATH is a file or directory under a mount; its group is the entry at the mount's top that holds \
      it. Use this where the other daemon is gone for good or cannot be reached: if it lives, it loses \
      the claim with its next commit, answers ESTALE to changes, and keeps what it had not committed \
      for regionfs recover. Nothing is ever taken over because time has passed.

      Examples:
        regionfs takeover /mnt/regions/db
        regionfs takeover --timeout 10 /mnt/regions/model.bin

      Exit codes:
        0   this mount is the writer
        1   wrong usage
        32  failed or timed out
      """)

  @Argument(help: "A path on a regionfs mount, not its top.", completion: .file())
  var path: String

  @Option(name: .long, help: ArgumentHelp("Give up after this time.", valueName: "seconds"))
  var timeout: UInt32?

  @Flag(name: .long, help: "Print what was done as JSON.")
  var json = false

  private struct Answer: Encodable {
    var version = 1
    var path: String
    var done: String
  }

  func run() throws {
    let done = try takeOver()
    if json { try CommandOutput.printJSON(Answer(path: path, done: done)) }
    ProgressDisplay.write("regionfs: \(HumanText.printable(done))\n")
  }

  private func takeOver() throws(ExitCode) -> String {
    do throws(ControlError) {
      let place = try LocatedPath(path, environment: ProcessEnvironment.variables)
      guard !place.inside.isEmpty else {
        throw ControlError(
          .malformed,
          "\(HumanText.printable(path)) holds many groups; name a file or directory in it")
      }
      var client = try ControlClient(socketPath: place.daemon.socketPath)
      return try client.takeOver(
        path: place.inside, timeout: timeout.map { .seconds(Int64($0)) })
    } catch {
      throw fail(HumanText.printable(error.message), code: ExitStatus.failure)
    }
  }
}
