import Foundation

/// What `--experimental-dump-help` of a program says, as far as a manual needs it.
struct HelpDump: Decodable {
  var command: Command

  struct Command: Decodable {
    var commandName: String
    var aliases: [String]?
    var abstract: String?
    var discussion: String?
    var arguments: [Argument]?
    var subcommands: [Command]?
  }

  struct Argument: Decodable {
    enum Kind: String, Decodable {
      case positional, option, flag
    }

    struct Name: Decodable {
      enum Kind: String, Decodable {
        case long, short, longWithSingleDash
      }

      var kind: Kind
      var name: String

      /// As mdoc's `Fl` takes it, which writes one dash itself.
      var flag: String { kind == .long ? "-\(name)" : name }
    }

    var kind: Kind
    var shouldDisplay: Bool
    var isOptional: Bool
    var isRepeating: Bool
    var names: [Name]?
    var valueName: String?
    var defaultValue: String?
    var allValues: [String]?
    var abstract: String?
    var discussion: String?
  }

  init(_ data: Data) throws {
    self = try JSONDecoder().decode(Self.self, from: data)
  }
}

extension HelpDump.Command {
  /// What this command itself takes, without the `--help` and `--version` that all have.
  var ownArguments: [HelpDump.Argument] {
    (arguments ?? []).filter { argument in
      let names = (argument.names ?? []).map(\.name)
      return argument.shouldDisplay && !names.contains("help") && !names.contains("version")
    }
  }

  /// The commands that do something, each with the words that call it: `config check`.
  var leaves: [(words: String, command: Self)] {
    (subcommands ?? []).filter { $0.commandName != "help" }.flatMap { command in
      let below = command.leaves.map { ("\(command.commandName) \($0.words)", $0.command) }
      return below.isEmpty ? [(command.commandName, command)] : below
    }
  }
}

/// The parts of a command's discussion: paragraphs, examples, exit codes.
///
/// A paragraph is one line. A block is a line that ends in a colon and indented ones below it; those that
/// are headed `Examples` and `Exit codes` are told apart, others are left to the template.
struct HelpText {
  var paragraphs: [String] = []
  var examples: [String] = []
  var exitCodes: [(code: String, meaning: String)] = []

  init(_ discussion: String?) {
    for block in (discussion ?? "").split(separator: "\n\n") {
      let lines = block.split(separator: "\n")
      guard let head = lines.first else { continue }
      let body = lines.dropFirst().map { $0.trimmingCharacters(in: .whitespaces) }
      if body.isEmpty {
        paragraphs.append(String(head))
      } else if head == "Examples:" {
        examples += body
      } else if head.hasPrefix("Exit codes") {
        exitCodes += body.map { line in
          let code = line.prefix(while: \.isNumber)
          return (
            String(code), line.dropFirst(code.count).trimmingCharacters(in: .whitespaces)
          )
        }
      }
    }
  }
}
