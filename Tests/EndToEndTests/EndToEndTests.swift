import RegionTesting
import Testing

/// Everything that runs the real programs. Serialized: the machine that runs it may be small, and
/// what is tested here are results, not what happens under overload.
@Suite(.serialized)
enum EndToEnd {}

/// The exercisers: small Python programs, each usable by hand.
enum Programs {
  /// The folder with the programs.
  static let directory =
    #filePath.split(separator: "/").dropLast().map { "/" + $0 }.joined()
    + "/Programs"

  /// The repository.
  static let root = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()

  /// A Python with the modules of `requirements.txt`: that of `scripts/prepare-tests`, or
  /// `REGIONFS_PYTHON`.
  static let python: String = {
    if let chosen = Environment.all["REGIONFS_PYTHON"] { return chosen }
    let prepared = root + "/.build/test-venv/bin/python3"
    return Files.exists(prepared) ? prepared : "python3"
  }()

  /// A command that `scripts/prepare-tests` installs beside Python, or else one on PATH.
  static func tool(_ name: String) -> String {
    let beside = python.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/" + name
    return python.hasPrefix("/") && Files.exists(beside) ? beside : name
  }

  /// The command line of a program.
  static func command(_ name: String, _ arguments: [String]) -> [String] {
    [python, directory + "/" + name] + arguments
  }

  /// Runs a program and demands that it succeeds; returns its standard output.
  @discardableResult
  static func run(
    _ name: String, _ arguments: [String], timeout: Duration = Patience.limit
  ) throws -> String {
    try ChildProcess.check(command(name, arguments), timeout: timeout).output
  }
}
