/// The shared `config` and `credentials` files of the AWS tools.
/// Source: AWS SDKs and Tools Reference Guide, "Shared config and credentials files".
struct ProfileFile: Equatable, Sendable {
  /// Which of the two files: in `config`, sections are called `[profile name]` but for `default`.
  enum Kind: Sendable {
    case config
    case credentials
  }

  /// Properties by profile; a nested property is called `parent.name`.
  private(set) var profiles: [String: [String: String]] = [:]

  /// Reads a file's text. Lines that are none of comment, section or property are passed over, as
  /// the AWS tools do; a repeated section adds to the first.
  init(_ text: String, kind: Kind) {
    var profile: String?
    var parent: String?
    for line in text.split(omittingEmptySubsequences: true, whereSeparator: \.isNewline) {
      let isIndented = line.first?.isWhitespace ?? false
      let content = Self.uncommented(line)
      guard !content.isEmpty else { continue }
      if !isIndented, let section = Self.section(content) {
        profile = Self.profileName(section, kind: kind)
        parent = nil
      } else if let profile, let (name, value) = Self.property(content) {
        let path = isIndented ? parent.map { "\($0).\(name)" } ?? name : name
        profiles[profile, default: [:]][path] = value
        if !isIndented { parent = value.isEmpty ? name : nil }
      }
    }
  }

  /// The line without surrounding blanks and comment. A comment inside a line needs a blank before.
  private static func uncommented(_ line: Substring) -> Substring {
    var end = line.endIndex
    var previous: Character = " "
    for index in line.indices {
      if "#;".contains(line[index]), previous.isWhitespace {
        end = index
        break
      }
      previous = line[index]
    }
    return trimmed(line[..<end])
  }

  private static func trimmed(_ text: Substring) -> Substring {
    let rest = text.drop(while: \.isWhitespace)
    guard let last = rest.lastIndex(where: { !$0.isWhitespace }) else { return "" }
    return rest[...last]
  }

  private static func section(_ line: Substring) -> Substring? {
    guard line.first == "[", let end = line.firstIndex(of: "]") else { return nil }
    return trimmed(line[line.index(after: line.startIndex)..<end])
  }

  /// The profile that a section describes; nil for other sections (`[sso-session x]` and so on).
  private static func profileName(_ section: Substring, kind: Kind) -> String? {
    guard kind == .config, section != "default" else { return unquoted(section) }
    let words = section.split(maxSplits: 1, whereSeparator: \.isWhitespace)
    guard words.count == 2, words[0] == "profile" else { return nil }
    return unquoted(trimmed(words[1]))
  }

  private static func unquoted(_ name: Substring) -> String {
    guard let quote = name.first, "\"'".contains(quote), name.count >= 2, name.last == quote else {
      return String(name)
    }
    return String(name.dropFirst().dropLast())
  }

  private static func property(_ line: Substring) -> (String, String)? {
    guard let equals = line.firstIndex(of: "=") else { return nil }
    let name = trimmed(line[..<equals]).lowercased()
    guard !name.isEmpty else { return nil }
    return (name, String(trimmed(line[line.index(after: equals)...])))
  }
}
