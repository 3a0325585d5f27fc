import FuseKit
import Glibc
import Synchronization
import Testing

/// A mounted `MemoryFilesystem` under a temporary directory. `close` unmounts and removes it.
final class MountFixture: Sendable {
  let filesystem: MemoryFilesystem
  let session: FuseSession
  let directory: String
  let logged: LogLines

  final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    var all: [String] { lines.withLock { $0 } }
  }

  init(
    _ filesystem: MemoryFilesystem = MemoryFilesystem(), options: SessionOptions = SessionOptions(),
    mountpointName: String = "mnt", source: String = "memory"
  ) throws {
    directory = try makeTemporaryDirectory()
    let mountpoint = "\(directory)/\(mountpointName)"
    let made = mkdir(mountpoint, 0o755)
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
  func close() throws {
    try session.unmount()
    session.waitUntilUnmounted()
    let removed = [rmdir(session.mountpoint), rmdir(directory)]
    #expect(removed == [0, 0])
    #expect(logged.all == [])
  }

  /// Runs `body` on a mount and closes it, also after an error.
  static func with(
    _ filesystem: MemoryFilesystem = MemoryFilesystem(), options: SessionOptions = SessionOptions(),
    _ body: (MountFixture) throws -> Void
  ) throws {
    let fixture = try MountFixture(filesystem, options: options)
    do { try body(fixture) } catch {
      try fixture.close()
      throw error
    }
    try fixture.close()
  }
}

func makeTemporaryDirectory() throws -> String {
  var template = Array("/tmp/fusekit-XXXXXX".utf8CString)
  let made = unsafe template.withUnsafeMutableBufferPointer {
    $0.baseAddress.map { unsafe mkdtemp($0) } != nil
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
