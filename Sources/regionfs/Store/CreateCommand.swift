import ArgumentParser
import Glibc
import RegionControl
import RegionCore
import RegionOptions

/// `regionfs create STORE NAME`.
struct CreateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "create",
    abstract: "Make a group in a store without mounting it.",
    discussion: """
      Makes an empty file, or one of --size bytes that are all zero and take no space, or an empty \
      directory. The chunk size is fixed for the group's life.

      Examples:
        regionfs create file:///srv/store disk.img --size 64g
        regionfs create s3://bucket/prefix weights.bin --size 40g --chunk-size 4m
        regionfs create models db --directory

      Exit codes:
        0   made
        1   wrong usage
        32  the name is taken or the store failed
      """)

  @Argument(
    help: "The store: an address or a name of the configuration.", completion: WordCompletion.stores
  )
  var store: String

  @Argument(help: "The name at the top of the store.")
  var name: String

  @Option(
    name: .long,
    help: ArgumentHelp("Size of the file, all of it a hole, up to 8t.", valueName: "size"))
  var size: String?

  @Option(
    name: .long,
    help: ArgumentHelp("Unit of pull: a power of two from 64k to 8m.", valueName: "size"))
  var chunkSize: String?

  @Flag(name: .long, help: "Make a directory instead.")
  var directory = false

  @Option(
    name: .long,
    help: ArgumentHelp("Permission bits, octal; 644, or 755 for a directory.", valueName: "mode"))
  var mode: String?

  @OptionGroup var common: StoreArguments

  struct Answer: Codable {
    var version = 1
    var store: String
    var name: String
    var groupID: String
    var kind: String
    var sizeBytes: UInt64
    var chunkBytes: UInt64
  }

  func run() throws {
    guard let name = FileName(name) else {
      throw fail(
        "'\(HumanText.printable(name))' is no file name: 1 to 255 bytes without '/', not '.' or '..'",
        code: ExitStatus.usage)
    }
    let bytes = try parsedSize()
    let mode = try parsedMode()
    var common = common
    if let chunkSize { common.options.append("chunk_size=\(chunkSize)") }
    let session = try common.open(store, readOnly: false, purpose: "regionfs create")
    let kind: InodeKind = directory ? .directory : .file
    let group = try session.run { session in
      await outcome { () async throws(CommandError) in
        try await Self.create(session, name, kind, mode: mode, size: bytes)
      }
    }
    guard common.json else { return }
    try CommandOutput.printJSON(
      Answer(
        store: session.configuration.store.description, name: name.description,
        groupID: "\(group)", kind: kind.word, sizeBytes: bytes,
        chunkBytes: session.engine.settings.geometry.chunkSize))
  }

  private func parsedSize() throws(ExitCode) -> UInt64 {
    guard let size else { return 0 }
    guard !directory else {
      throw fail("--size is for files; a directory has none", code: ExitStatus.usage)
    }
    guard let bytes = Quantities.bytes(size), bytes <= Limits.regionSize else {
      throw fail(
        "--size '\(HumanText.printable(size))' is not allowed; expected 0 to 8t, with suffix k, m, g "
          + "or t", code: ExitStatus.usage)
    }
    return bytes
  }

  private func parsedMode() throws(ExitCode) -> UInt16 {
    guard let mode else { return directory ? 0o755 : 0o644 }
    guard let bits = UInt16(mode, radix: 8), bits <= 0o7777 else {
      throw fail(
        "--mode '\(HumanText.printable(mode))' is not allowed; expected 0 to 7777, octal",
        code: ExitStatus.usage)
    }
    return bits
  }

  private static func create(
    _ session: StoreSession, _ name: FileName, _ kind: InodeKind, mode: UInt16, size: UInt64
  ) async throws(CommandError) -> GroupID {
    try await session.checkConditionalWrites()
    do throws(ImportError) {
      var new = try await GroupImport.begin(session.engine)
      let top = Inode(
        id: Namespace.top, parent: 0, name: nil, kind: kind, mode: mode, uid: getuid(),
        gid: getgid(), size: size, time: session.engine.clock.wall)
      try await new.commit([], names: [.set(top)])
      guard case .done = try await new.publish(name, kind: kind) else {
        try await new.discard()
        throw ImportError.remote(
          .store(
            StoreError(
              .preconditionFailed, operation: "create",
              object: "\(session.configuration.store)/\(name)",
              detail: "the name is taken; choose another one, or remove it through a mount")))
      }
      return new.group
    } catch {
      throw CommandError(error)
    }
  }
}
