/// Plain text as mdoc(7).
enum Mdoc {
  /// A paragraph, one sentence a line, with references (`fsck(8)`), flags (`--json`) and the words in
  /// `placeholders` marked.
  static func prose(_ text: String, placeholders: Set<String> = []) -> [String] {
    var lines: [String] = []
    var words: [String] = []
    func flush() {
      if !words.isEmpty { lines.append(line(words)) }
      words = []
    }
    for word in text.split(separator: " ").map(String.init) {
      if let macro = macro(word, placeholders) {
        flush()
        lines.append(macro)
        continue
      }
      if words.reduce(word.count, { $0 + $1.count + 1 }) > 72 { flush() }
      words.append(word)
      if endsSentence(word) { flush() }
    }
    flush()
    return lines
  }

  /// A line of text of a literal block.
  static func literal(_ text: String) -> String {
    shielded(escaped(text).replacing("-", with: #"\-"#))
  }

  /// An argument of a macro: one word whatever is in it.
  static func argument(_ text: String) -> String {
    let escaped = escaped(text).replacing("\"", with: #"\(dq"#)
    return escaped.contains(" ") || escaped.isEmpty ? "\"\(escaped)\"" : escaped
  }

  private static func line(_ words: [String]) -> String {
    shielded(
      words.map { word in
        // Elsewhere a hyphen may be shown as one, which nobody can paste into a shell.
        let isCode = word.hasPrefix("-") || word.contains { "/=_$".contains($0) }
        let text = escaped(word)
        return isCode ? text.replacing("-", with: #"\-"#) : text
      }.joined(separator: " "))
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for character in text {
      switch character {
      case "\\": result += #"\e"#
      case "…": result += #"\[u2026]"#
      case "–": result += #"\(en"#
      default: result.append(character)
      }
    }
    return result
  }

  /// A line that begins with a control character is text all the same.
  private static func shielded(_ line: String) -> String {
    line.hasPrefix(".") || line.hasPrefix("'") ? #"\&"# + line : line
  }

  private static func endsSentence(_ word: String) -> Bool {
    let text = word.reversed().drop { ")\"'".contains($0) }
    return text.first.map { ".?!".contains($0) } ?? false
  }

  private static func macro(_ word: String, _ placeholders: Set<String>) -> String? {
    if let match = word.wholeMatch(of: #/([a-z][a-z0-9._-]*)\(([1-8])\)([.,:;)]*)/#) {
      return ".Xr \(match.1) \(match.2)" + punctuation(match.3)
    }
    if let match = word.wholeMatch(of: #/-(-?[a-z][a-z-]*)([.,:;)]*)/#) {
      return ".Fl \(match.1)" + punctuation(match.2)
    }
    if let match = word.wholeMatch(of: #/([A-Z][A-Z]+)([.,:;)]*)/#),
      placeholders.contains(String(match.1))
    {
      return ".Ar \(match.1)" + punctuation(match.2)
    }
    return nil
  }

  private static func punctuation(_ text: Substring) -> String {
    text.map { " \($0)" }.joined()
  }
}
