import RegionOptions

/// What is wrong at one place of a configuration file.
public struct ConfigProblem: Error, Equatable, Sendable, CustomStringConvertible {
  /// The file.
  public var path: String
  /// The line, from 1; 0 for the whole file.
  public var line: Int
  /// The table it concerns: `defaults`, `stores.NAME`; nil: the whole file.
  public var table: String?
  /// What is wrong and what would be right.
  public var cause: String

  /// A problem.
  public init(path: String, line: Int = 0, table: String? = nil, cause: String) {
    self.path = path
    self.line = line
    self.table = table
    self.cause = cause
  }

  /// `FILE:LINE: cause`.
  public var description: String {
    line > 0 ? "\(path):\(line): \(cause)" : "\(path): \(cause)"
  }
}

/// A store that has a name.
public struct NamedStore: Equatable, Sendable {
  /// Its name.
  public var name: String
  /// Its address; nil where the file does not say.
  public var url: String?
  /// Its options as words for `-o`.
  public var options: [String] = []
  /// The file that says so.
  public var path: String
}

/// One configuration file: options of all mounts, and named stores.
///
///     [defaults]
///     push_interval = "2s"
///
///     [stores.models]
///     url = "s3://bucket/models"
///     region = "eu-west-1"
///     ro = true
public struct ConfigFile: Equatable, Sendable {
  /// Where it is.
  public var path: String
  /// Words for `-o` of every mount.
  public var defaults: [String] = []
  /// Stores by name.
  public var stores: [String: NamedStore] = [:]
  /// What is wrong with it; the rest is as if these lines were not there.
  public var problems: [ConfigProblem] = []

  /// Options whose value is a path: a file has no working directory.
  static let pathOptions: Set<String> = ["cache_dir", "ca", "log"]

  /// Parses the text of a file.
  public init(path: String, text: String, context: OptionContext) {
    self.path = path
    let document: TomlDocument
    do throws(TomlDocument.SyntaxError) {
      document = try TomlDocument(parsing: text)
    } catch {
      problems.append(
        ConfigProblem(path: path, line: error.line, table: nil, cause: "not TOML: \(error.cause)"))
      return
    }
    for item in document.items { take(item, context) }
    for store in stores.values.sorted(by: { $0.name < $1.name }) where store.url == nil {
      let table = "stores.\(store.name)"
      let line = document.items.first { $0.keys == ["stores", store.name] }?.line ?? 0
      // Where url is there and wrong, that has been said.
      if !problems.contains(where: { $0.table == table }) {
        problems.append(
          ConfigProblem(
            path: path, line: line, table: table,
            cause: "[\(table)] has no url; add url = \"s3://bucket/prefix\""))
      }
    }
  }

  private mutating func take(_ item: TomlDocument.Item, _ context: OptionContext) {
    switch (item.keys.first, item.keys.count) {
    case ("defaults", 1), ("stores", 1):
      if item.kind != .table { fault(item, nil, "'\(item.keys[0])' is a table: [\(item.keys[0])]") }
    case ("defaults", 2):
      if let word = option(item, table: "defaults", context) { defaults.append(word) }
    case ("stores", 2): takeStore(item)
    case ("stores", 3): takeStoreKey(item, context)
    case (_, 1):
      fault(
        item, nil,
        "unknown \(item.kind == .table ? "table" : "key") '\(item.keys[0])'; known are [defaults] "
          + "and [stores.NAME]")
    case ("defaults", _), ("stores", _):
      fault(item, item.keys.prefix(2).joined(separator: "."), "no table is expected in there")
    default: break  // It is in an unknown table, which has been said.
    }
  }

  private mutating func takeStore(_ item: TomlDocument.Item) {
    let name = item.keys[1]
    guard item.kind == .table else {
      return fault(item, "stores.\(name)", "a store is a table: [stores.\(name)]")
    }
    guard StoreNames.isName(name) else {
      return fault(
        item, "stores.\(name)",
        "store name '\(name)' must be A-Z a-z 0-9 . _ - and begin with a "
          + "letter or digit")
    }
    stores[name] = NamedStore(name: name, path: path)
  }

  private mutating func takeStoreKey(_ item: TomlDocument.Item, _ context: OptionContext) {
    let name = item.keys[1]
    let table = "stores.\(name)"
    guard stores[name] != nil else { return }  // Its name has been refused.
    guard item.keys[2] == "url" else {
      if let word = option(item, table: table, context) { stores[name]?.options.append(word) }
      return
    }
    guard item.kind == .string else { return fault(item, table, "url is a text: url = \"s3://…\"") }
    do throws(OptionError) {
      _ = try StoreAddress(parsing: item.value)
      stores[name]?.url = item.value
    } catch {
      fault(item, table, error.description)
    }
  }

  /// An option as a word for `-o`; nil: it says nothing (`= false`), or is wrong.
  private mutating func option(
    _ item: TomlDocument.Item, table: String, _ context: OptionContext
  ) -> String? {
    let name = item.keys[item.keys.count - 1]
    let word: String
    switch item.kind {
    case .boolean:
      // Also what is switched off has to exist.
      guard checked(name, item, table, context), item.value == "true" else { return nil }
      word = name
    case .string, .integer: word = name + "=" + Self.escaped(item.value)
    case .table, .other:
      fault(item, table, "'\(name)' must be a text, a number, true or false")
      return nil
    }
    if Self.pathOptions.contains(name), !item.value.hasPrefix("/") {
      fault(item, table, "'\(name)' must be an absolute path, not '\(item.value)'")
      return nil
    }
    return checked(word, item, table, context) ? word : nil
  }

  private mutating func checked(
    _ word: String, _ item: TomlDocument.Item, _ table: String, _ context: OptionContext
  ) -> Bool {
    do throws(OptionError) {
      _ = try MountOptions(parsing: [word], context: context)
      return true
    } catch {
      fault(item, table, error.description)
      return false
    }
  }

  private mutating func fault(_ item: TomlDocument.Item, _ table: String?, _ cause: String) {
    problems.append(ConfigProblem(path: path, line: item.line, table: table, cause: cause))
  }

  /// What separates and quotes in `-o` loses its meaning behind a backslash.
  static func escaped(_ value: String) -> String {
    value.map { ",\\\"".contains($0) ? "\\\($0)" : String($0) }.joined()
  }
}

/// Names of stores.
public enum StoreNames {
  /// Whether a text may name a store: such a text is no address and no path.
  public static func isName(_ text: some StringProtocol) -> Bool {
    guard let first = text.utf8.first, text.utf8.count <= 64 else { return false }
    return isPlain(first, inside: false) && text.utf8.allSatisfy { isPlain($0, inside: true) }
  }

  private static func isPlain(_ byte: UInt8, inside: Bool) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"): inside
    default: false
    }
  }
}
