import FuseKit
import Glibc
import Locks
import Testing

/// A mounted `MemoryFilesystem` under a temporary directory. `close` unmounts and removes it.
final class MountFixture: Sendable {
  let filesystem: MemoryFilesystem
  let session: FuseSession
  let directory: String
  let logged: LogLines

  final class LogLines: Sendable {
    private let lines = Lock<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }

  init(
    _ filesystem: MemoryFilesystem = MemoryFilesystem(), options: SessionOptions = SessionOptions(),
    mountpointName: String = "mnt", source: String = "memory"
  ) throws {
    directory = try makeTemporaryDirectory()
    let mountpoint = "\(directory)/\(mountpointName)"
    let made = unsafe mkdir(mountpoint, 0o755)
    #expect(made == 0)
    let logged = LogLines()
    var options = options
    options.log = { logged.add($0) }
    self.logged = logged
    self.filesystem = filesystem
    session = try FuseSession(
      filesystem: filesystem, source: source, mountpoint: mountpoint, options: options)
    try session.run()
  }

  func path(_ name: String) -> String { "\(session.mountpoint)/\(name)" }

  /// Unmounts, waits for the end, and removes the directories.
  func close(expectingLog: Bool = false) throws {
    try session.unmount()
    session.waitUntilUnmounted()
    let removed = unsafe [rmdir(session.mountpoint), rmdir(directory)]
    #expect(removed == [0, 0])
    if !expectingLog { #expect(logged.all == []) }
  }

  /// Runs `body` on a mount and closes it, also after an error.
  static func with(
    _ filesystem: MemoryFilesystem = MemoryFilesystem(), options: SessionOptions = SessionOptions(),
    _ body: (MountFixture) throws -> Void
  ) throws {
    let fixture = try MountFixture(filesystem, options: options)
    do { try body(fixture) } catch {
      // Whoever still waits for a reply would keep the mount for ever.
      try fixture.session.abort()
      try fixture.close(expectingLog: true)
      throw error
    }
    try fixture.close()
  }
}

func makeTemporaryDirectory() throws -> String {
  var template = Array("/tmp/fusekit-XXXXXX".utf8CString)
  let made = unsafe template.withUnsafeMutableBufferPointer {
    unsafe $0.baseAddress.map { unsafe mkdtemp($0) } != nil
  }
  try #require(made)
  return String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// An open file; closed with the value.
struct File: ~Copyable {
  let descriptor: Int32
  init(_ path: String, _ flags: Int32 = O_RDONLY, mode: mode_t = 0o644) throws {
    descriptor = unsafe open(path, flags | O_CLOEXEC, mode)
    try #require(descriptor >= 0, "open \(path): errno \(errno)")
  }
  deinit { close(descriptor) }

  func read(_ count: Int, at offset: Int = 0) -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: count)
    let got = unsafe buffer.withUnsafeMutableBytes {
      unsafe pread(descriptor, $0.baseAddress, $0.count, offset)
    }
    return got < 0 ? nil : Array(buffer[..<got])
  }
  func write(_ bytes: [UInt8], at offset: Int = 0) -> Int {
    unsafe bytes.withUnsafeBytes { unsafe pwrite(descriptor, $0.baseAddress, $0.count, offset) }
  }
}

/// lseek(2)'s, which Glibc's module does not show.
let seekData: Int32 = 3
let seekHole: Int32 = 4

/// Bytes that differ from place to place.
func pattern(_ count: Int, seed: Int = 1) -> [UInt8] {
  var value = UInt32(truncatingIfNeeded: seed) | 1
  return (0..<count).map { _ in
    value = value &* 1_664_525 &+ 1_013_904_223
    return UInt8(truncatingIfNeeded: value >> 24)
  }
}

/// O_DIRECT, which Glibc's module does not show (and differs by architecture).
#if arch(arm64)
  let directFlag: Int32 = 0o200000
#else
  let directFlag: Int32 = 0o40000
#endif

extension File {
  /// A read into aligned memory, as O_DIRECT wants it. nil on an error, with errno.
  func readAligned(_ count: Int, at offset: Int = 0) -> [UInt8]? {
    guard let memory = unsafe aligned_alloc(4096, (count + 4095) / 4096 * 4096) else { return nil }
    defer { unsafe free(memory) }
    let got = unsafe pread(descriptor, memory, count, offset)
    return got < 0 ? nil : unsafe Array(UnsafeRawBufferPointer(start: memory, count: got))
  }
}

func status(of path: String) throws -> stat {
  var status = stat()
  let result = unsafe stat(path, &status)
  if result != 0 { throw FuseError(operation: "stat", errno: errno, detail: path) }
  return status
}

func linkTarget(_ path: String) throws -> String {
  var target = [UInt8](repeating: 0, count: 8192)
  let count = unsafe target.withUnsafeMutableBytes { buffer in
    unsafe buffer.baseAddress.map {
      unsafe readlink(path, $0.assumingMemoryBound(to: CChar.self), buffer.count)
    } ?? -1
  }
  if count < 0 { throw FuseError(operation: "readlink", errno: errno, detail: path) }
  return String(decoding: target[..<count], as: UTF8.self)
}

/// The names in a directory, in its order.
func list(_ path: String) throws -> [String] {
  guard let directory = unsafe opendir(path) else {
    throw FuseError(operation: "opendir", errno: errno, detail: path)
  }
  defer { unsafe closedir(directory) }
  var names: [String] = []
  while let entry = unsafe readdir(directory) {
    unsafe withUnsafeBytes(of: &entry.pointee.d_name) { name in
      unsafe names.append(String(decoding: name.prefix { $0 != 0 }, as: UTF8.self))
    }
  }
  return names
}
