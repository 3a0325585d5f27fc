import Foundation

/// `regionfs-manual TEMPLATE < HELP`: a manual page from a template and what a program's
/// `--experimental-dump-help` prints. Lines `@NAME` of the template are replaced by what the help and the
/// table of mount options say; all others stay.
@main
struct Manual {
  enum Failure: Error {
    case usage
    case unknown(directive: String)
  }

  static func main() throws {
    guard CommandLine.arguments.count == 2 else { throw Failure.usage }
    let template = try String(contentsOfFile: CommandLine.arguments[1], encoding: .utf8)
    let help = try HelpDump(FileHandle.standardInput.readDataToEndOfFile())
    print(try page(template, help.command).joined(separator: "\n"))
  }

  static func page(_ template: String, _ root: HelpDump.Command) throws -> [String] {
    let text = HelpText(root.discussion)
    var lines = template.split(separator: "\n", omittingEmptySubsequences: false)
    if lines.last == "" { lines.removeLast() }
    return try lines.flatMap { line in
      switch line {
      case "@synopsis": Sections.synopsis(root)
      case "@commands": Sections.commands(root)
      case "@arguments": Sections.arguments(root)
      case "@options": Sections.options()
      case "@text": prose(text)
      case "@exits": Sections.exits(text)
      case "@examples": Sections.examples(text)
      default: try plain(line)
      }
    }
  }

  /// The page has references of its own.
  private static func prose(_ text: HelpText) -> [String] {
    let paragraphs = text.paragraphs.filter { !$0.hasPrefix("See also ") }
    return Array(paragraphs.map { Mdoc.prose($0) }.joined(separator: [".Pp"]))
  }

  private static func plain(_ line: Substring) throws -> [String] {
    if line.hasPrefix("@") { throw Failure.unknown(directive: String(line)) }
    return [String(line)]
  }
}
