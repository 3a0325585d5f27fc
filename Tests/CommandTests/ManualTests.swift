import RegionOptions
import RegionTesting
import Testing

/// The repository.
let root = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()

func manual(_ name: String) throws -> String {
  try ChildProcess.check(["cat", "\(root)/docs/man/\(name)"]).output
}

/// Options (`--name`, `-x`) that a help text offers.
func optionsInHelp(_ command: [String]) throws -> Set<String> {
  let help = try ChildProcess.check(command + ["--help"]).output
  let offered = help.split(separator: "\n").drop { $0 != "OPTIONS:" }
    .filter { $0.hasPrefix("  -") }
  let words = offered.flatMap { line in
    line.split { " ,<>".contains($0) }.prefix { $0.hasPrefix("-") }
  }
  return Set(words.map(String.init)).subtracting(["-h", "--help", "--version"])
}

@Suite struct ManualTests {
  @Test func everyMountOptionIsInTheManualAndNoOther() throws {
    let section = try manual("regionfs.1").split(separator: ".Sh ENVIRONMENT")[0]
      .split(separator: ".Sh MOUNT OPTIONS\n")[1]
    let described = section.split(separator: "\n").filter { $0.hasPrefix(".It Cm ") }
      .map { $0.split(separator: " ")[2] }
    #expect(Set(described.map(String.init)) == Set(OptionTable.all.map(\.name)))
  }

  @Test func defaultsInTheManualAreThoseOfTheTable() throws {
    let text = try manual("regionfs.1")
    for option in OptionTable.all {
      guard let value = option.defaultText, !value.contains(" ") else { continue }
      let entry = try #require(text.split(separator: ".It Cm \(option.name) ").last)
      let end = entry.split(separator: ".It Cm ").first ?? entry
      #expect(end.contains("The default is \(value)."), "\(option.name)")
    }
  }

  @Test func mountHelpListsEveryOption() throws {
    let help = try ChildProcess.check([Products.path("regionfs"), "mount", "--help"]).output
    for option in OptionTable.all { #expect(help.contains("  \(option.name)")) }
    #expect(help.contains("Examples:"))
  }

  /// The commands that `regionfs --help` lists.
  static let commands: [String] = {
    let help = try? ChildProcess.check([Products.path("regionfs"), "--help"]).output
    let list = (help ?? "").split(separator: "\n").drop { $0 != "SUBCOMMANDS:" }
    return list.compactMap { line in
      line.hasPrefix("  ") && !line.hasPrefix("   ")
        ? line.split { " ,".contains($0) }.first.map(String.init) : nil
    }.filter { !["config", "trace", "help", "See"].contains($0) }
      + ["config check", "trace show", "trace record", "trace clear"]
  }()

  @Test func helpNamesTheCommands() {
    let expected = ["mount", "umount", "sync", "list", "create", "info", "cp", "fsck", "doctor"]
    #expect(Set(Self.commands).isSuperset(of: expected + ["config check"]))
  }

  /// The part of the manual about a command, and what all commands share.
  private static func section(_ command: String) throws -> Substring {
    let text = try manual("regionfs.1")
    let own = try #require(text.split(separator: ".Ss \(command)\n").last)
    let shared = try #require(text.split(separator: ".Ss Options of several commands\n").last)
    return (own.split(separator: "\n.S")[0] + "\n" + shared.split(separator: "\n.S")[0])[...]
  }

  @Test(arguments: commands)
  func flagsOfCommandsAreInTheManual(command: String) throws {
    let text = try Self.section(command)
    let words = command.split(separator: " ").map(String.init)
    for option in try optionsInHelp([Products.path("regionfs")] + words) {
      // mdoc writes `--name` as `Fl -name` and `-x` as `Fl x`.
      #expect(text.contains("Fl \(option.dropFirst())"), "\(command) \(option)")
    }
  }

  @Test(arguments: commands)
  func flagsOfTheManualExist(command: String) throws {
    let words = command.split(separator: " ").map(String.init)
    let offered = try optionsInHelp([Products.path("regionfs")] + words)
    let own = try #require(
      try manual("regionfs.1").split(separator: ".Ss \(command)\n").last?
        .split(separator: "\n.S").first)
    for line in own.split(separator: "\n") where line.hasPrefix(".It Fl ") {
      for flag in line.dropFirst(4).split(separator: " , ") {
        let name = flag.split(separator: " ").first { $0 != "Fl" } ?? ""
        #expect(offered.contains("-" + name), "\(command): -\(name)")
      }
    }
  }

  @Test(arguments: commands)
  func helpHasExamplesAndExitCodes(command: String) throws {
    let words = command.split(separator: " ").map(String.init)
    let help = try ChildProcess.check([Products.path("regionfs")] + words + ["--help"]).output
    #expect(help.contains("Examples:") && help.contains("regionfs \(command)"), "\(command)")
    #expect(help.contains("Exit codes"), "\(command)")
  }

  @Test func flagsOfStatAreInTheManual() throws {
    let text = try manual("regionfs-stat.1")
    let options = try optionsInHelp([Products.path("regionfs-stat")])
    #expect(options.isSuperset(of: ["--json", "--watch", "--wait", "--timeout"]))
    for option in options { #expect(text.contains("Fl \(option.dropFirst())"), "\(option)") }
  }

  @Test func readmeNamesNoOptionThatDoesNotExist() throws {
    let text = try ChildProcess.check(["cat", "\(root)/README.md"]).output
    let rows = text.split(separator: "\n").filter { $0.hasPrefix("| `") }
    #expect(rows.count > 5)
    for row in rows {
      for word in row.split(separator: "|")[0].split(separator: "`") where word != " " {
        let name = String(word.prefix { $0 != "=" })
        #expect(OptionTable.all.contains { $0.name == name }, "\(name)")
      }
    }
  }
}
