import CToml

/// What a TOML text says, flat: each value with the keys that lead to it and its line.
struct TomlDocument {
  enum Kind { case string, integer, boolean, table, other }

  struct Item {
    var keys: [String]
    var kind: Kind
    /// The value as text; empty for tables and other kinds.
    var value: String
    /// From 1.
    var line: Int
  }

  var items: [Item] = []

  /// Why a text is no TOML.
  struct SyntaxError: Error {
    var cause: String
    var line: Int
  }

  /// Longest line, in bytes. It bounds how deep a key can lead, which the parser does not.
  private static let lineLimit = 4096

  init(parsing text: String) throws(SyntaxError) {
    let lines = text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    if let long = lines.firstIndex(where: { $0.count > Self.lineLimit }) {
      throw SyntaxError(cause: "the line is longer than \(Self.lineLimit) bytes", line: long + 1)
    }
    var text = text
    // SAFETY: the parser copies what it needs before it returns.
    let parsed = text.withUTF8 { bytes in
      unsafe bytes.withMemoryRebound(to: CChar.self) { characters in
        unsafe characters.baseAddress.flatMap { unsafe ctoml_parse($0, characters.count) }
      }
    }
    // An empty text has no address, and says nothing.
    guard let document = unsafe parsed else { return }
    // SAFETY: freed once, here; every string is copied before.
    defer { unsafe ctoml_free(document) }
    if let error = unsafe ctoml_error(document) {
      throw SyntaxError(
        cause: unsafe String(cString: error), line: unsafe Int(ctoml_error_line(document)))
    }
    items = unsafe (0..<ctoml_count(document)).map { at in
      let keys = unsafe (0..<ctoml_depth(document, at)).map { level in
        unsafe String(cString: ctoml_key(document, at, level))
      }
      return Item(
        keys: keys, kind: unsafe Kind(ctoml_kind_of(document, at)),
        value: unsafe String(cString: ctoml_value(document, at)),
        line: unsafe Int(ctoml_line(document, at)))
    }
  }
}

extension TomlDocument.Kind {
  fileprivate init(_ kind: ctoml_kind) {
    switch kind {
    case CTOML_STRING: self = .string
    case CTOML_INTEGER: self = .integer
    case CTOML_BOOLEAN: self = .boolean
    case CTOML_TABLE: self = .table
    default: self = .other
    }
  }
}
