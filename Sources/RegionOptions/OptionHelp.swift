extension OptionTable {
  /// The options for `regionfs mount --help`: 80 columns, without a newline at the end.
  public static let help = all.map(\.helpText).joined(separator: "\n")
}

extension OptionSpecification {
  /// The name with the form of its value.
  public var usage: String { name + (value.map { "=\($0)" } ?? "") }

  var helpText: String {
    let fallback = defaultText.map { " (default: \($0))" } ?? ""
    return "  \(usage)\n" + Self.wrapped(help + fallback, columns: 80, indent: "      ")
  }

  /// Text in lines of at most `columns` characters; what does not fit is longer.
  private static func wrapped(_ text: String, columns: Int, indent: String) -> String {
    var lines: [String] = []
    for word in text.split(separator: " ") {
      if let last = lines.last, last.count + 1 + word.count < columns {
        lines[lines.count - 1] = "\(last) \(word)"
      } else {
        lines.append(indent + word)
      }
    }
    return lines.joined(separator: "\n")
  }
}
