import ArgumentParser
import Glibc
import Locks
import RegionConfig
import RegionControl
import RegionCore
import RegionOptions

/// `regionfs recover [STORE]`.
struct RecoverCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "recover",
    abstract: "List, save or discard changes that lost their group to another writer.",
    discussion: """
      A mount whose claim was taken over keeps what it had not committed in its cache directory. This \
      lists it, saves it as a new group of the store (the content that mount had, copied), or \
      discards it. Without STORE all caches in the default directory are listed, or the one that \
      -o cache_dir= names. Saving needs STORE and the options of the mount. Saving and discarding \
      need the cache directory for themselves: unmount first. Logs that the next mount deals with \
      are listed, too.

      Examples:
        regionfs recover
        regionfs recover --json -o cache_dir=/var/cache/regionfs/x
        regionfs recover s3://bucket/p -o region=eu-west-1 --save db-of-old-host
        regionfs recover file:///srv/store --log 7d3f --discard --yes

      Exit codes:
        0   done (also where nothing is set aside)
        1   wrong usage
        2   system error
        32  failed
        33  the cache directory is in use
      """)

  @Argument(
    help: "The store as it was mounted: an address or a name of the configuration.",
    completion: WordCompletion.stores)
  var store: String?

  @Option(
    name: .customShort("o", allowingJoined: true), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Options of the mount.", valueName: "options"),
    completion: WordCompletion.options)
  var options: [String] = []

  @Option(
    name: .long, help: ArgumentHelp("Save as a new group of this name.", valueName: "name"))
  var save: String?

  @Flag(name: .long, help: "Discard; asks before it does.")
  var discard = false

  @Flag(name: .long, help: "Do not ask.")
  var yes = false

  @Option(
    name: .long,
    help: ArgumentHelp(
      "The log to save or discard, where several are listed: the start of its number.",
      valueName: "log"))
  var log: String?

  @Flag(name: .long, help: "Print what is listed or was done as JSON.")
  var json = false

  func validate() throws {
    if save != nil, discard { throw ValidationError("--save and --discard exclude each other") }
    if save != nil, store == nil { throw ValidationError("--save needs STORE") }
    if let save, FileName(save) == nil {
      throw ValidationError("'\(HumanText.printable(save))' cannot be a name")
    }
  }

  func run() throws {
    let configuration = try parsedConfiguration()
    let directories = try cacheDirectories(configuration)
    guard save != nil || discard else {
      let listing = try listing(of: directories)
      return ProgressDisplay.write(
        json ? try listing.json() : listing.text, to: STDOUT_FILENO)
    }
    // A daemon that lives may be about to set something aside: its directory is asked for first.
    let early = try directories.count == 1 ? lockedIfUsed(directories[0]) : nil
    let (directory, aside) = try chosen(in: directories)
    if discard, !yes { try ask(aside) }
    let cache = try early ?? locked(directory)
    defer { withExtendedLifetime(cache) {} }
    if let save, let name = FileName(save) {
      try self.save(aside, as: name, cache, configuration)
    } else {
      try drop(aside, cache, configuration)
    }
  }

  // MARK: What there is

  /// The mount that the command line describes; nil where no store is named.
  private func parsedConfiguration() throws -> MountConfiguration? {
    guard let store else { return nil }
    let context = OptionContext.current
    let resolution = try Configuration.resolved(store, context)
    do throws(OptionError) {
      return try MountConfiguration(
        store: resolution.url, mountpoint: "/", options: resolution.options + options,
        context: context)
    } catch {
      throw fail(error.description, code: ExitStatus.usage)
    }
  }

  private func cacheDirectories(_ configuration: MountConfiguration?) throws -> [String] {
    if let configuration { return [Daemon.cachePath(configuration)] }
    let given: MountOptions
    do throws(OptionError) {
      given = try MountOptions(parsing: options, context: .current)
    } catch {
      throw fail(error.description, code: ExitStatus.usage)
    }
    let top = given.cacheDirectory
    do throws(LocalError) {
      guard unsafe access(top, F_OK) == 0 else { return [] }
      // The default directory holds one for each store.
      let below = try LocalDirectory.names(in: top).map { top + "/" + $0 }
      var found: [String] = []
      for path in [top] + below where try SetAsideLog.isCacheDirectory(path) { found.append(path) }
      return found
    } catch {
      throw fail("\(error)", code: ExitStatus.system)
    }
  }

  private func listing(of directories: [String]) throws -> RecoveryListing {
    var listing = RecoveryListing()
    do throws(LocalError) {
      for directory in directories { try listing.add(directory) }
    } catch {
      throw fail(HumanText.printable("\(error)"), code: ExitStatus.system)
    }
    return listing
  }

  /// The one log that is meant.
  private func chosen(in directories: [String]) throws -> (String, SetAsideLog) {
    var found: [(String, SetAsideLog)] = []
    do throws(LocalError) {
      for directory in directories where unsafe access(directory, F_OK) == 0 {
        found += try SetAsideLog.all(in: directory).map { (directory, $0) }
      }
    } catch {
      throw fail(HumanText.printable("\(error)"), code: ExitStatus.system)
    }
    let meant = found.filter { log == nil || "\($0.1.log)".hasPrefix(log ?? "") }
    guard let one = meant.first else {
      throw fail(
        found.isEmpty ? "nothing is set aside there" : "no log that is set aside begins so",
        code: ExitStatus.failure)
    }
    guard meant.count == 1 else {
      throw fail(
        "\(meant.count) logs are set aside; name one with --log: "
          + meant.map { "\($0.1.log)" }.joined(separator: " "), code: ExitStatus.usage)
    }
    return one
  }

  /// The lock of a cache directory; nil where none is, and none shall be made.
  private func lockedIfUsed(_ directory: String) throws -> CacheDirectory? {
    do throws(LocalError) {
      guard try SetAsideLog.isCacheDirectory(directory) else { return nil }
    } catch {
      throw fail(HumanText.printable("\(error)"), code: ExitStatus.system)
    }
    return try locked(directory)
  }

  private func locked(_ directory: String) throws -> CacheDirectory {
    do throws(CacheDirectory.Failure) {
      return try CacheDirectory(path: directory) { holder in
        ProgressDisplay.write("regionfs: waiting for the cache directory: \(holder)\n")
      }
    } catch {
      switch error {
      case .local: throw fail(HumanText.printable("\(error)"), code: ExitStatus.system)
      case .inUse(let path, let holder):
        throw fail(
          HumanText.printable(
            "cache directory \(path) is in use (\(holder)). Unmount that first, then recover"),
          code: ExitStatus.busy)
      }
    }
  }

  // MARK: Deciding

  private func ask(_ aside: SetAsideLog) throws {
    guard isatty(STDIN_FILENO) == 1 else {
      throw fail("--discard needs --yes where nobody can be asked", code: ExitStatus.usage)
    }
    ProgressDisplay.write(
      "Discard \(aside.records) changes (\(HumanText.bytes(aside.bytes))) of "
        + "\(HumanText.printable(aside.title)) for good? [y/N] ")
    let answer = readLine() ?? ""
    guard ["y", "yes"].contains(answer.lowercased()) else {
      throw fail("nothing was discarded", code: ExitStatus.failure)
    }
  }

  private func save(
    _ aside: SetAsideLog, as name: FileName, _ cache: CacheDirectory,
    _ configuration: MountConfiguration?
  ) throws {
    guard let configuration else { return }
    let display = Lock(ProgressDisplay())
    let engine = try engine(configuration, cache)
    let saver = AsideSaver(engine: engine, cacheDirectory: cache.path, bootID: cache.bootID) {
      copied in
      display.withLock { $0.update("regionfs: \(HumanText.bytes(copied)) copied") }
    }
    let result = Self.wait(engine) { () async -> Result<GroupID, RecoveryError> in
      do throws(RecoveryError) {
        return .success(try await saver.save(aside, as: name))
      } catch {
        return .failure(error)
      }
    }
    display.withLock { $0.finish() }
    switch result {
    case .success:
      try tell("saved", aside, as: "\(name)")
    case .failure(let error):
      throw fail(
        HumanText.printable("\(error). What is set aside stays"), code: ExitStatus.failure)
    }
  }

  private func drop(
    _ aside: SetAsideLog, _ cache: CacheDirectory, _ configuration: MountConfiguration?
  ) throws {
    if let configuration {
      // The store keeps old checkpoints for these changes until somebody says that they may go.
      let engine = try engine(configuration, cache)
      let saver = AsideSaver(engine: engine, cacheDirectory: cache.path, bootID: cache.bootID)
      let failure = Self.wait(engine) { () async -> RecoveryError? in
        do throws(RecoveryError) {
          try await saver.discard(aside)
          return nil
        } catch {
          return error
        }
      }
      if let failure {
        throw fail(HumanText.printable("\(failure)"), code: ExitStatus.failure)
      }
    } else {
      do throws(LocalError) {
        try aside.discard()
      } catch {
        throw fail(HumanText.printable("\(error)"), code: ExitStatus.system)
      }
    }
    try tell("discarded", aside)
  }

  private struct Answer: Encodable {
    var version = 1
    var done: String
    var log: String
    var groupID: String
    var changes: Int
    var bytes: UInt64
    /// The new group's.
    var name: String?
  }

  private func tell(_ done: String, _ aside: SetAsideLog, as name: String? = nil) throws {
    let target = name.map { " as \($0)" } ?? ""
    ProgressDisplay.write(
      "regionfs: \(done) \(aside.records) changes of "
        + HumanText.printable(aside.title + target) + "\n")
    guard json else { return }
    try CommandOutput.printJSON(
      Answer(
        done: done, log: "\(aside.log)", groupID: "\(aside.group)", changes: aside.records,
        bytes: aside.bytes, name: name))
  }

  private func engine(_ configuration: MountConfiguration, _ cache: CacheDirectory) throws
    -> EngineContext
  {
    let stack: StoreStack
    do throws(StackError) {
      stack = try StoreStack(configuration) { _ in }
    } catch {
      throw fail(HumanText.printable(error.description), code: ExitStatus.failure)
    }
    var settings = Daemon.settings(configuration)
    settings.holder += " (recover)"
    settings.sync = .local
    settings.pull = .lazy
    return EngineContext(
      executor: EngineExecutor(threads: 4), clock: SystemClock(), store: stack.store,
      settings: settings, writer: cache.writer
    ) { level, message in
      guard level >= .warning else { return }
      ProgressDisplay.write("regionfs: \(HumanText.printable(message))\n")
    }
  }

  private static func wait<Value: Sendable>(
    _ engine: EngineContext, _ body: @escaping @Sendable () async -> Value
  ) -> Value {
    let result = BlockingResult<Value>()
    engine.executor.spawn { result.set(await body()) }
    return result.wait()
  }
}

extension SetAsideLog {
  /// How people know the group.
  var title: String { name.map { "\($0)" } ?? "group \(group)" }
}
