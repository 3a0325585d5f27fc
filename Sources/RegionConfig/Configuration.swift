import RegionOptions

/// All configuration files together: the system's, then the user's, which has the last word.
public struct Configuration: Sendable {
  /// The files that are there, in order.
  public var files: [ConfigFile]

  /// Files to look for, in order: `$REGIONFS_CONFIG` alone where it is set; else
  /// `/etc/regionfs.toml` and `$XDG_CONFIG_HOME/regionfs.toml` (`~/.config/regionfs.toml`).
  public static func searchPaths(environment: [String: String]) -> [String] {
    if let path = environment["REGIONFS_CONFIG"], !path.isEmpty { return [path] }
    var paths = ["/etc/regionfs.toml"]
    if let home = environment["XDG_CONFIG_HOME"], home.hasPrefix("/") {
      paths.append(home + "/regionfs.toml")
    } else if let home = environment["HOME"], home.hasPrefix("/") {
      paths.append(home + "/.config/regionfs.toml")
    }
    return paths
  }

  /// Longest file that is read, in bytes.
  public static let fileLimit = 1 << 20

  /// Puts files together.
  public init(files: [ConfigFile]) { self.files = files }

  /// A store as it was meant: the address to open and the options that come before the command's.
  public struct Resolution: Equatable, Sendable {
    /// The address.
    public var url: String
    /// Words for `-o`: the defaults, then the store's.
    public var options: [String]
    /// The name it was called by; nil: by its address.
    public var name: String?
  }

  /// What `text`, an address or a name, stands for.
  ///
  /// - Throws: the first problem that concerns it. Problems of other stores do no harm.
  public func resolve(_ text: String) throws(ConfigProblem) -> Resolution {
    for file in files {
      if let problem = file.problems.first(where: { $0.table == nil || $0.table == "defaults" }) {
        throw problem
      }
    }
    let defaults = files.flatMap(\.defaults)
    guard StoreNames.isName(text) else {
      return Resolution(url: text, options: defaults, name: nil)
    }
    for file in files.reversed() {
      if let problem = file.problems.first(where: { $0.table == "stores.\(text)" }) {
        throw problem
      }
      if let store = file.stores[text], let url = store.url {
        return Resolution(url: url, options: defaults + store.options, name: text)
      }
    }
    throw unknown(text)
  }

  /// Names of all stores, in order.
  public var names: [String] { Set(files.flatMap(\.stores.keys)).sorted() }

  private func unknown(_ name: String) -> ConfigProblem {
    let known = names
    let remedy =
      known.isEmpty
      ? "no store has a name yet: add [stores.\(name)] with url = \"s3://bucket/prefix\" to "
        + "/etc/regionfs.toml, or write the address itself (s3://bucket/prefix, file:///directory)"
      : "known are \(known.joined(separator: ", "))"
    return ConfigProblem(
      path: files.last?.path ?? "/etc/regionfs.toml", line: 0, table: nil,
      cause: "no store named '\(name)'; \(remedy)")
  }
}
