import ArgumentParser
import RegionConfig
import RegionControl
import RegionOptions

/// `regionfs config`.
struct ConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config",
    abstract: "Check the configuration files.",
    discussion: """
      Examples:
        regionfs config check
        regionfs config check ./regionfs.toml
      """,
    subcommands: [ConfigCheckCommand.self])
}

/// `regionfs config check [FILE …]`.
struct ConfigCheckCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "check",
    abstract: "Say what is wrong with the configuration, and which stores have names.",
    discussion: """
      Without a FILE: /etc/regionfs.toml and $XDG_CONFIG_HOME/regionfs.toml (~/.config/regionfs.toml), \
      or the file that $REGIONFS_CONFIG names alone.

      Examples:
        regionfs config check
        regionfs config check --json ./regionfs.toml

      Exit codes:
        0   nothing wrong
        1   wrong usage
        2   a file cannot be read
        32  something is wrong
      """)

  @Argument(
    help: ArgumentHelp("Files to check.", valueName: "file"),
    completion: .file(extensions: ["toml"]))
  var files: [String] = []

  @Flag(name: .long, help: "Print JSON.")
  var json = false

  struct Problem: Codable {
    var file: String
    var line: Int
    var cause: String
  }

  struct Store: Codable {
    var name: String
    var url: String?
    var options: [String]
    var file: String
  }

  struct Answer: Codable {
    var version = 1
    var files: [String]
    var defaults: [String]
    var stores: [Store]
    var problems: [Problem]
  }

  func run() throws {
    let found = try read()
    let stores = found.flatMap { file in
      file.stores.values.sorted { $0.name < $1.name }.map {
        Store(name: $0.name, url: $0.url, options: $0.options, file: file.path)
      }
    }
    let problems = found.flatMap(\.problems)
    if json {
      try CommandOutput.printJSON(
        Answer(
          files: found.map(\.path), defaults: found.flatMap(\.defaults), stores: stores,
          problems: problems.map { Problem(file: $0.path, line: $0.line, cause: $0.cause) }))
    } else {
      CommandOutput.print(Self.text(found, stores))
    }
    for problem in problems {
      ProgressDisplay.write("regionfs: \(HumanText.printable(problem.description))\n")
    }
    if !problems.isEmpty { throw ExitCode(ExitStatus.failure) }
  }

  private func read() throws(ExitCode) -> [ConfigFile] {
    let context = OptionContext.current
    do throws(ConfigProblem) {
      guard !files.isEmpty else { return try Configuration.current(context).files }
      var found: [ConfigFile] = []
      for path in files {
        guard let file = try Configuration.read(path, context) else {
          throw ConfigProblem(path: path, cause: "no such file")
        }
        found.append(file)
      }
      return found
    } catch {
      throw fail(HumanText.printable(error.description), code: ExitStatus.system)
    }
  }

  private static func text(_ files: [ConfigFile], _ stores: [Store]) -> String {
    guard !files.isEmpty else {
      let paths = Configuration.searchPaths(environment: ProcessEnvironment.variables)
      return "no configuration; looked for \(paths.joined(separator: " and "))\n"
    }
    var text = files.map { "\($0.path): \($0.problems.count) problems\n" }.joined()
    let defaults = files.flatMap(\.defaults)
    if !defaults.isEmpty { text += "every mount: \(defaults.joined(separator: ","))\n" }
    for store in stores {
      text += "\(store.name): \(store.url ?? "no url")"
      text += store.options.isEmpty ? "\n" : " \(store.options.joined(separator: ","))\n"
    }
    return text.split(separator: "\n").map { HumanText.printable(String($0)) + "\n" }.joined()
  }
}
