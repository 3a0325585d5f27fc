import RegionOptions
import RegionTesting
import Testing

/// The repository.
let root = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()

func manual(_ name: String) throws -> String {
  try ChildProcess.check(["cat", "\(root)/docs/man/\(name)"]).output
}

/// Pages come from the programs' help and the table of options, so their flags need no test of their own.
@Suite struct ManualTests {
  @Test(arguments: ["regionfs", "regionfs-stat"])
  func thePageIsWhatTheHelpSays(program: String) throws {
    let help = try ChildProcess.check([Products.path(program), "--experimental-dump-help"]).output
    let page = try ChildProcess.check(
      [Products.path("regionfs-manual"), "\(root)/docs/man/\(program).1.in"], input: help)
    // Not inside #expect, which would print them.
    let isTheSame = try page.output == manual("\(program).1")
    #expect(isTheSame, "scripts/manual was not run after a change of help, options or template")
  }

  @Test func pagesAreWellFormed() throws {
    let pages = try ChildProcess.check(["sh", "-c", "ls \(root)/docs/man/*.[18]"]).output
    let result = try ChildProcess.run(
      ["mandoc", "-T", "lint", "-W", "style"] + pages.split(separator: "\n").map(String.init))
    // Which other pages this host has says nothing about ours.
    let complaints = (result.output + result.errors).split(separator: "\n").filter {
      !$0.contains("referenced manual not found") && !$0.contains("outdated mandoc.db")
    }
    #expect(complaints.isEmpty)
  }

  @Test func aPageShowsCommandsFlagsOptionsAndDefaults() throws {
    let page = try ChildProcess.check(["mandoc", "-T", "ascii", "\(root)/docs/man/regionfs.1"])
    // Bold is a letter struck twice.
    let text = try ChildProcess.check(["col", "-bx"], input: page.output).output
    for line in [
      "regionfs umount [--no-wait] [-l] [-f] [--store-timeout seconds] [--json]",
      "-o options", "--no-wait", "endpoint=URL", "pull=auto | lazy | background | full",
      "64      Unmounted but not everything is committed.",
      "regionfs cp -r ./db file:///srv/store/db",
    ] { #expect(text.contains(line), "\(line)") }
    for option in OptionTable.all { #expect(text.contains("\n     \(option.name)")) }
  }

  @Test func mountHelpListsEveryOption() throws {
    let help = try ChildProcess.check([Products.path("regionfs"), "mount", "--help"]).output
    for option in OptionTable.all { #expect(help.contains("  \(option.name)")) }
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

  @Test(arguments: commands)
  func helpHasExamplesAndExitCodesAndJSON(command: String) throws {
    let words = command.split(separator: " ").map(String.init)
    let help = try ChildProcess.check([Products.path("regionfs")] + words + ["--help"]).output
    let blocks = help.split(separator: "\n\n")
    let examples = try #require(blocks.first { $0.hasPrefix("Examples:\n") })
    for line in examples.split(separator: "\n").dropFirst() {
      // A wrapped example would not be one.
      #expect(line.hasPrefix("  regionfs \(command)"), "\(line)")
    }
    let exits = try #require(blocks.first { $0.hasPrefix("Exit codes") })
    #expect(exits.split(separator: "\n").count > 2)
    #expect(help.contains("\n  --json "), "\(command)")
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
