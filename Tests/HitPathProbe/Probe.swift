import FuseKit
import Glibc
import Locks
import RegionCore
import RegionFilesystem

/// A committed file in a store in memory, and readers with caches of their own, which change nothing
/// and so have no push under way that would blur the counts.
final class Probe: Sendable {
  /// Bytes of the file: 64 chunks of 256 KiB.
  private static let size = 16 << 20

  private let directory: String
  private let store = MemoryStore()
  private let executor = EngineExecutor(threads: 2)
  private let group: GroupID

  /// Writes and commits the file.
  init(directory: String) async throws {
    self.directory = directory
    let engine = Self.engine(store, executor, isReadOnly: false)
    let group = try await Group.create(
      engine, cacheDirectory: try Self.make(directory, "writer"), bootID: .random(), kind: .file,
      mode: 0o644, uid: getuid(), gid: getgid())
    self.group = group.id
    let region = try group.open(Namespace.top, writable: true).region
    let piece = IOBuffer((0..<1 << 20).map { UInt8(truncatingIfNeeded: $0 &* 2_654_435_761 >> 13) })
    for offset in stride(from: 0, to: UInt64(Self.size), by: 1 << 20) {
      let outcome = unsafe group.write(region, at: offset, piece.bytes, isWriteBack: false)
      guard case .done = outcome else { throw Failure("write: \(outcome)") }
    }
    guard let name = FileName("data") else { throw Failure("no name") }
    let record = GroupRecord(group: group.id, name: name, kind: .file, serial: 0)
    _ = try await GroupCatalogue(engine: engine).add(record)
    group.close(Namespace.top, writable: true)
    guard await group.drain() else { throw Failure("the file was not committed") }
  }

  /// What went wrong, in words.
  struct Failure: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
  }

  private static func engine(
    _ store: MemoryStore, _ executor: EngineExecutor, isReadOnly: Bool
  ) -> EngineContext {
    var settings = EngineSettings()
    settings.isReadOnly = isReadOnly
    settings.pull = .lazy
    return EngineContext(
      executor: executor, clock: SystemClock(), store: store, settings: settings, writer: .random()
    ) { level, line in
      if level >= .warning { say("hit-path-probe: \(line)", to: STDERR_FILENO) }
    }
  }

  private static func make(_ directory: String, _ name: String) throws -> String {
    let path = directory + "/" + name
    guard unsafe mkdir(path, 0o700) == 0 else { throw Failure("mkdir \(path): errno \(errno)") }
    return path
  }

  // MARK: The engine alone

  /// `Region.readPresent` on chunks that were pulled, at random places, within a chunk and across
  /// two.
  func readCachedRegion() async throws {
    let engine = Self.engine(store, executor, isReadOnly: true)
    let group = try await Group.load(
      self.group, engine, cacheDirectory: try Self.make(directory, "reader"), bootID: .random(),
      kind: .file)
    let region = try group.open(Namespace.top, writable: false).region
    await withCheckedContinuation { continuation in
      region.pullAll(reason: "the probe") { continuation.resume() }
    }
    // The last worker is still on its way out.
    usleep(200_000)
    let buffer = IOBuffer(capacity: 128 << 10)
    let counts = try Counts.ofQuietest { try read(region, buffer, count: 10_000) }
    say(counts.line("region"))
    let control = Counts.ofQuietest {
      for _ in 0..<10_000 { _ = group.snapshot() }
      return 10_000
    }
    say(control.line("control"))
    group.close(Namespace.top, writable: false)
    group.closeRegions()
  }

  private func read(_ region: Region, _ buffer: IOBuffer, count: Int) throws -> Int {
    var place: UInt64 = 1
    for index in 0..<count {
      place = place &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      let length = index & 1 == 0 ? 4096 : buffer.capacity
      let page = (place >> 33) % UInt64((Self.size - length) >> 12)
      // SAFETY: `length` is at most the buffer's capacity.
      let target = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer.memory[0..<length])
      switch unsafe region.readPresent(page << 12, into: target) {
      case .bytes(length): break
      case .lent(let loan): region.giveBack(loan)
      default: throw Failure("a chunk is not present")
      }
    }
    return count
  }

  // MARK: Through the kernel

  /// O_DIRECT, which Glibc's module hides.
  #if arch(arm64)
    private static let direct: Int32 = 0o200000
  #else
    private static let direct: Int32 = 0o40000
  #endif

  /// READs of the file in a mount, answered by the daemon's whole read path.
  func readMountedFile() async throws {
    let engine = Self.engine(store, executor, isReadOnly: true)
    var settings = FilesystemSettings()
    settings.cacheDirectory = try Self.make(directory, "mount")
    settings.bootID = .random()
    let filesystem = RegionFilesystem(engine: engine, settings: settings) {}
    var options = SessionOptions()
    options.readOnly = true
    options.log = { say("hit-path-probe: \($0)", to: STDERR_FILENO) }
    let mountpoint = try Self.make(directory, "mnt")
    let session = try FuseSession(
      filesystem: filesystem, source: "hit-path-probe", mountpoint: mountpoint, options: options)
    try session.run()
    await filesystem.pullEverything(Lock(WholePull())) { true }
    let result = Result { try readFile(mountpoint + "/data", filesystem) }
    try session.unmount(.detach)
    session.waitUntilUnmounted()
    say(try result.get().line("mount"))
  }

  private func readFile(_ path: String, _ filesystem: RegionFilesystem) throws -> Counts {
    // O_DIRECT makes each pread a READ.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | Self.direct)
    guard descriptor >= 0 else { throw Failure("open \(path): errno \(errno)") }
    defer { close(descriptor) }
    usleep(200_000)
    let buffer = IOBuffer(capacity: 128 << 10)
    let counts = try Counts.ofQuietest {
      for offset in stride(from: 0, to: Self.size, by: buffer.capacity) {
        // SAFETY: reads at most the buffer's capacity.
        let count = unsafe pread(descriptor, buffer.base, buffer.capacity, off_t(offset))
        guard count == buffer.capacity else { throw Failure("pread: \(count), errno \(errno)") }
      }
      return Self.size / buffer.capacity
    }
    let regions = filesystem.snapshots().flatMap(\.snapshot.regions)
    guard regions.allSatisfy({ $0.misses == 0 && $0.hits >= 3 * UInt64(counts.reads) }) else {
      throw Failure("some READs were no hits: \(regions)")
    }
    return counts
  }
}
