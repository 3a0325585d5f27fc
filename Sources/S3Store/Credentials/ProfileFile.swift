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
    // By bytes: a combining mark behind a bracket or a blank hides neither.
    for line in text.utf8.split(whereSeparator: \.isEndOfLine) {
      let isIndented = line.first?.isBlank ?? false
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

  private typealias Bytes = Substring.UTF8View

  /// The line without surrounding blanks and comment. A comment inside a line needs a blank before.
  private static func uncommented(_ line: Bytes) -> Bytes {
    var isBehindBlank = true
    let comment = line.firstIndex { byte in
      defer { isBehindBlank = byte.isBlank }
      return isBehindBlank && (byte == UInt8(ascii: "#") || byte == UInt8(ascii: ";"))
    }
    return trimmed(line[..<(comment ?? line.endIndex)])
  }

  private static func trimmed(_ text: Bytes) -> Bytes {
    let rest = text.drop(while: \.isBlank)
    guard let last = rest.lastIndex(where: { !$0.isBlank }) else { return rest[..<rest.startIndex] }
    return rest[...last]
  }

  private static func section(_ line: Bytes) -> Bytes? {
    guard line.first == UInt8(ascii: "["), let end = line.firstIndex(of: UInt8(ascii: "]")) else {
      return nil
    }
    return trimmed(line[..<end].dropFirst())
  }

  /// The profile that a section describes; nil for other sections (`[sso-session x]` and so on).
  private static func profileName(_ section: Bytes, kind: Kind) -> String? {
    guard kind == .config, !section.elementsEqual("default".utf8) else { return unquoted(section) }
    let words = section.split(maxSplits: 1, whereSeparator: \.isBlank)
    guard words.count == 2, words[0].elementsEqual("profile".utf8) else { return nil }
    return unquoted(trimmed(words[1]))
  }

  private static func unquoted(_ name: Bytes) -> String {
    let isQuoted =
      name.count >= 2 && name.first == name.last
      && (name.first == UInt8(ascii: "\"") || name.first == UInt8(ascii: "'"))
    return String(Substring(isQuoted ? name.dropFirst().dropLast() : name))
  }

  private static func property(_ line: Bytes) -> (String, String)? {
    guard let equals = line.firstIndex(of: UInt8(ascii: "=")) else { return nil }
    let name = trimmed(line[..<equals])
    guard !name.isEmpty else { return nil }
    let value = trimmed(line[equals...].dropFirst())
    return (Substring(name).lowercased(), String(Substring(value)))
  }
}

extension UInt8 {
  fileprivate var isEndOfLine: Bool { self == UInt8(ascii: "\n") || self == UInt8(ascii: "\r") }

  fileprivate var isBlank: Bool { self == UInt8(ascii: " ") || (0x09...0x0D).contains(self) }
}
