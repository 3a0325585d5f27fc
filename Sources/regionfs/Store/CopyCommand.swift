import ArgumentParser
import Glibc
import Locks
import RegionControl
import RegionCore

/// `regionfs cp SOURCE TARGET`.
struct CopyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cp",
    abstract: "Copy a file or a tree into or out of a store without mounting it.",
    discussion: """
      One of the two is a group of a store: STORE/NAME, STORE//NAME/PATH for a path in a group, or \
      STORENAME:NAME/PATH for a store of the configuration; the other is a local path. Without a \
      terminal the progress is a line every five seconds.

      Into a store: the copy becomes a new group of the name, with a history of commits of about \
      64 MiB each. Nobody sees it before it is whole. Pages that are zero take no space. Only whole \
      groups can be copied in; to change a part of one, mount the store.

      Out of a store: the newest commit is copied; ranges are fetched in parallel and verified. Holes \
      stay holes.

      Interrupted, the copy of one file goes on where it was when the same command is given again, \
      within half an hour for copies into a store, after which mounts of the store remove what was \
      left.

      Examples:
        regionfs cp model.bin s3://bucket/prefix/model.bin -o region=eu-west-1
        regionfs cp -r ./db file:///srv/store/db
        regionfs cp file:///srv/store//db/journal ./journal
        regionfs cp --force weights.bin models:weights.bin

      Exit codes:
        0   copied
        1   wrong usage
        2   a local file cannot be read or written
        32  failed
      """)

  @Argument(help: "What to copy.", completion: .file())
  var source: String

  @Argument(help: "Where to.", completion: .file())
  var target: String

  @Flag(
    name: [.customShort("r"), .long],
    help: ArgumentHelp(
      "Copy a directory with all that is in it.",
      discussion:
        "Files, directories and symbolic links, with their modes and times of modification."))
  var recursive = false

  @Flag(
    name: [.customShort("f"), .long],
    help: "Replace what is there; in a store in one step, and not while a mount writes it.")
  var force = false

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Unit of pull of the new group: a power of two from 64k to 8m.", valueName: "size"))
  var chunkSize: String?

  @Flag(name: [.customShort("q"), .long], help: "Show no progress.")
  var quiet = false

  @OptionGroup var common: StoreArguments

  struct Answer: Codable {
    var version = 1
    var source: String
    var target: String
    var files: Int
    var copiedBytes: UInt64
    var resumedBytes: UInt64
    var seconds: Double
  }

  func run() throws {
    let intoStore = StorePath.isStore(target)
    guard intoStore != StorePath.isStore(source) else {
      throw fail(
        intoStore
          ? "both are in a store; copy through a local file, or through two mounts"
          : "neither is in a store; write STORE/NAME, such as file:///srv/store/model.bin",
        code: ExitStatus.usage)
    }
    var common = common
    if let chunkSize { common.options.append("chunk_size=\(chunkSize)") }
    let path = try StorePath(intoStore ? target : source)
    let (configuration, _) = try common.resolve(path.store, first: ["fault_timeout=60s"])
    let progress = CopyProgress(isQuiet: quiet)
    let started = SystemClock().now
    let result: CopyResult
    if intoStore {
      guard path.inside.isEmpty else {
        throw fail(
          "\(target): only whole groups can be copied into a store; mount it to change a part of "
            + "one (regionfs mount)", code: ExitStatus.usage)
      }
      let job = CopyIn(
        source: source, name: path.name, recursive: recursive, force: force,
        configuration: configuration)
      result = try job.run(progress)
    } else {
      let session = try StoreSession(configuration, readOnly: true, purpose: "regionfs cp")
      let job = CopyOut(path: path, target: target, recursive: recursive, force: force)
      result = try session.run(showsTraffic: false) { session in
        await outcome { () async throws(CommandError) in try await job.run(session, progress) }
      }
    }
    progress.finish()
    guard common.json else { return }
    try CommandOutput.printJSON(
      Answer(
        source: source, target: target, files: result.files, copiedBytes: result.bytes,
        resumedBytes: result.resumedBytes,
        seconds: SystemClock().now.since(started).secondsValue))
  }
}

/// What a copy has done.
struct CopyResult: Sendable {
  var files = 0
  /// Bytes of content that went over; holes are none.
  var bytes: UInt64 = 0
  /// Bytes that an earlier run had copied.
  var resumedBytes: UInt64 = 0
}

/// How far a copy is, shown on stderr.
final class CopyProgress: Sendable {
  private struct State {
    var display = ProgressDisplay()
    var total: UInt64 = 0
    var done: UInt64 = 0
    /// What was there before this run began: it says nothing about the speed.
    var resumed: UInt64 = 0
    var name = ""
  }

  private let state = Lock(State())
  private let isQuiet: Bool

  init(isQuiet: Bool) { self.isQuiet = isQuiet }

  func begin(_ name: String, total: UInt64, resumed: UInt64 = 0) {
    state.withLock { state in
      (state.name, state.total, state.done, state.resumed) = (name, total, resumed, resumed)
    }
  }

  /// So many bytes of the whole are dealt with.
  func advance(_ bytes: UInt64) {
    state.withLock { state in
      state.done += bytes
      guard !isQuiet else { return }
      let text = Self.text(state)
      state.display.update("regionfs: " + text)
    }
  }

  func finish() { state.withLock { $0.display.finish() } }

  private static func text(_ state: borrowing State) -> String {
    let percent = state.total > 0 ? Double(state.done) / Double(state.total) * 100 : 100
    let seconds = state.display.elapsed.secondsValue
    let rate = seconds > 0 ? Double(state.done - state.resumed) / seconds : 0
    var text = "\(HumanText.printable(state.name)): \(Int(percent)) % of "
    text += "\(HumanText.bytes(state.total)), \(HumanText.rate(bytesPerSecond: rate))"
    if rate > 0, state.total > state.done {
      text += ", \(HumanText.seconds(Double(state.total - state.done) / rate)) to go"
    }
    return text
  }
}
