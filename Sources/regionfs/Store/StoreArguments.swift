import ArgumentParser
import RegionConfig
import RegionControl
import RegionCore
import RegionOptions

/// What all commands that open a store without mounting it take.
struct StoreArguments: ParsableArguments {
  @Option(
    name: .customShort("o", allowingJoined: true), parsing: .unconditionalSingleValue,
    help: ArgumentHelp(
      "Mount options that concern the store: endpoint=, region=, profile=, …",
      valueName: "options"),
    completion: WordCompletion.options)
  var options: [String] = []

  @Flag(name: .long, help: "Print JSON.")
  var json = false

  /// The store that a text names.
  ///
  /// - Parameter patience: how long a store that does not answer is asked again.
  /// - Throws: `ExitCode` after one line on stderr.
  func open(
    _ store: String, readOnly: Bool, patience: String = "10s", purpose: String
  ) throws(ExitCode) -> StoreSession {
    let (configuration, _) = try resolve(store, first: ["fault_timeout=\(patience)"])
    return try StoreSession(configuration, readOnly: readOnly, purpose: purpose)
  }

  /// Address and options without opening anything.
  func resolve(
    _ store: String, first: [String] = []
  ) throws(ExitCode) -> (configuration: MountConfiguration, name: String?) {
    let context = OptionContext.current
    let resolution = try Configuration.resolved(store, context)
    do throws(OptionError) {
      let configuration = try MountConfiguration(
        store: resolution.url, mountpoint: "/", options: first + resolution.options + options,
        context: context)
      return (configuration, resolution.name)
    } catch {
      throw fail(HumanText.printable(error.description), code: ExitStatus.usage)
    }
  }
}

/// A place in a store: a group, or a path in one.
struct StorePath {
  /// The store as it was written.
  var store: String
  /// The group.
  var name: FileName
  /// The path below the group's top.
  var inside: [FileName] = []

  /// `name` and `inside` as one path.
  var path: String { ([name] + inside).map(\.description).joined(separator: "/") }

  /// Whether a text means a store rather than a local path: `s3:…`, `file:…`, `memory:`, `NAME:…`.
  static func isStore(_ text: String) -> Bool {
    let word = text.prefix { $0 != ":" && $0 != "/" }
    return text.dropFirst(word.count).hasPrefix(":") && StoreNames.isName(word)
  }

  /// `STORE/NAME`, `STORE//NAME/PATH` or `STORENAME:NAME/PATH`.
  ///
  /// - Throws: `ExitCode` after one line on stderr.
  init(_ text: String) throws(ExitCode) {
    let form =
      "write STORE/NAME, STORE//NAME/PATH for a path in a group, or STORENAME:NAME/PATH for a store "
      + "of the configuration"
    func wrong(_ why: String) -> ExitCode {
      fail("\(HumanText.printable(text)): \(why); \(form)", code: ExitStatus.usage)
    }
    guard Self.isStore(text) else { throw wrong("no group of a store") }
    let scheme = text.prefix { $0 != ":" }
    let parts: [Substring]
    if scheme == "s3" || scheme == "file" || scheme == "memory" {
      let start = text.index(text.startIndex, offsetBy: scheme.count + 1)
      let address = text[start...].drop { $0 == "/" }
      if let mark = Self.doubleSlash(in: address) {
        store = String(text[..<mark])
        parts = text[mark...].split(separator: "/")
      } else {
        guard let slash = address.lastIndex(of: "/") else { throw wrong("no name of a group") }
        store = String(text[..<slash])
        parts = [address[address.index(after: slash)...]]
      }
      if store == "file://" { store = "file:///" }
    } else {
      store = String(scheme)
      parts = text.dropFirst(scheme.count + 1).split(separator: "/")
    }
    let names = parts.compactMap { FileName(String($0)) }
    guard let first = names.first, names.count == parts.count else {
      throw wrong("no name of a group")
    }
    name = first
    inside = Array(names.dropFirst())
  }

  private static func doubleSlash(in text: Substring) -> String.Index? {
    var last: Character?
    for index in text.indices {
      if text[index] == "/", last == "/" { return text.index(before: index) }
      last = text[index]
    }
    return nil
  }
}

extension Configuration {
  /// The files of this system and user.
  static func current(_ context: OptionContext) throws(ConfigProblem) -> Configuration {
    var files: [ConfigFile] = []
    for path in searchPaths(environment: context.environment) {
      if let file = try read(path, context) { files.append(file) }
    }
    if let named = context.environment["REGIONFS_CONFIG"], !named.isEmpty, files.isEmpty {
      throw ConfigProblem(
        path: named, cause: "REGIONFS_CONFIG names a file that is not there")
    }
    return Configuration(files: files)
  }

  /// One file; nil if it is not there.
  static func read(_ path: String, _ context: OptionContext) throws(ConfigProblem) -> ConfigFile? {
    do throws(LocalError) {
      guard let bytes = try LocalDirectory.contents(of: path, limit: fileLimit) else { return nil }
      return ConfigFile(
        path: path, text: String(decoding: bytes, as: UTF8.self), context: context)
    } catch {
      throw ConfigProblem(path: path, cause: "cannot be read: \(error)")
    }
  }
}

extension Configuration {
  /// What a store's name or address stands for, by the user's configuration files.
  ///
  /// - Throws: `ExitCode` after one line on stderr.
  static func resolved(_ store: String, _ context: OptionContext) throws(ExitCode) -> Resolution {
    do throws(ConfigProblem) {
      return try current(context).resolve(store)
    } catch {
      throw fail(HumanText.printable(error.description), code: ExitStatus.usage)
    }
  }
}
