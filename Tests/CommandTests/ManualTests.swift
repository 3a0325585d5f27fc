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
  return Set(words.map(String.init)).subtracting(["-h", "--help"])
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

  @Test(arguments: ["mount", "umount", "sync"])
  func flagsOfCommandsAreInTheManual(command: String) throws {
    let text = try manual("regionfs.1")
    for option in try optionsInHelp([Products.path("regionfs"), command]) {
      // mdoc writes `--name` as `Fl -name` and `-x` as `Fl x`.
      #expect(text.contains("Fl \(option.dropFirst())"), "\(option)")
    }
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
