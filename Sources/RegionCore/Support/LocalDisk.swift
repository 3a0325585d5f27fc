import Glibc

/// The file system under the cache directory, as the engine uses it. In a daemon it is the host's
/// (`HostDisk`); tests put one of their own in its place, which can lose its power.
public protocol LocalDisk: Sendable {
  /// `open(2)` with `O_CLOEXEC`, mode 0600.
  func open(_ path: String, flags: Int32) throws(LocalError) -> LocalFile
  /// `mkdir(2)` with all missing parents, mode 0700, each durable. Present is success.
  func createDirectory(_ path: String) throws(LocalError)
  /// The same, but durable only once the parents are synced: for what a power loss may take.
  func makeDirectory(_ path: String) throws(LocalError)
  /// Names in the directory, without `.` and `..`, sorted. `readdir(3)`.
  func names(in path: String) throws(LocalError) -> [String]
  /// `unlink(2)`; absent is success.
  func removeFile(_ path: String) throws(LocalError)
  /// Removes a directory with all that is in it; absent is success.
  func removeTree(_ path: String) throws(LocalError)
  /// `rename(2)`.
  func rename(_ path: String, to other: String) throws(LocalError)
  /// Makes names in the directory durable. `fsync(2)` on the directory.
  func syncDirectory(_ path: String) throws(LocalError)
}

extension LocalDisk {
  /// Replaces `path` by `bytes` in one step: temporary file, fsync, rename, fsync of the directory. Not
  /// `durably` there is no fsync: after a power loss the file may be gone or torn.
  func replaceFile(
    _ path: String, with bytes: [UInt8], durably: Bool = true
  ) throws(LocalError) {
    let temporary = path + ".new"
    let file = try open(temporary, flags: O_RDWR | O_CREAT | O_TRUNC)
    try file.write(bytes, at: 0)
    if durably { try file.sync() }
    try rename(temporary, to: path)
    if durably { try syncDirectory(LocalDirectory.parent(of: path)) }
  }

  /// The whole of a small file; nil if it does not exist. Longer than `limit` is EFBIG.
  func contents(of path: String, limit: Int) throws(LocalError) -> [UInt8]? {
    let file: LocalFile
    do throws(LocalError) {
      file = try open(path, flags: O_RDONLY)
    } catch {
      if error.code == ENOENT { return nil }
      throw error
    }
    let size = try file.size()
    guard size <= UInt64(limit) else { throw LocalError("read", path: path, code: EFBIG) }
    let buffer = IOBuffer(capacity: Int(size))
    buffer.count = try unsafe file.read(into: buffer.memory.prefixBytes(Int(size)), at: 0)
    return buffer.array
  }

  /// Removes all files of a directory, which has no others, so that none comes back.
  func removeFiles(in directory: String) throws(LocalError) {
    let names = try names(in: directory)
    guard !names.isEmpty else { return }
    for name in names { try removeFile(directory + "/" + name) }
    try syncDirectory(directory)
  }
}

/// The host's own file system.
public struct HostDisk: LocalDisk {
  /// The host's own file system.
  public init() {}

  /// `open(2)`.
  public func open(_ path: String, flags: Int32) throws(LocalError) -> LocalFile {
    try LocalFile(path: path, flags: flags)
  }

  /// `mkdir(2)` with all missing parents; the names are synced.
  public func createDirectory(_ path: String) throws(LocalError) {
    for made in try LocalDirectory.make(path) {
      try LocalDirectory.sync(LocalDirectory.parent(of: made))
    }
  }

  /// `mkdir(2)` with all missing parents.
  public func makeDirectory(_ path: String) throws(LocalError) {
    _ = try LocalDirectory.make(path)
  }

  /// `readdir(3)`.
  public func names(in path: String) throws(LocalError) -> [String] {
    try LocalDirectory.names(in: path)
  }

  /// `unlink(2)`.
  public func removeFile(_ path: String) throws(LocalError) { try LocalDirectory.removeFile(path) }

  /// `unlink(2)` and `rmdir(2)` of all below.
  public func removeTree(_ path: String) throws(LocalError) { try LocalDirectory.removeTree(path) }

  /// `rename(2)`.
  public func rename(_ path: String, to other: String) throws(LocalError) {
    try LocalDirectory.move(path, to: other)
  }

  /// `fsync(2)` on the directory.
  public func syncDirectory(_ path: String) throws(LocalError) { try LocalDirectory.sync(path) }
}

/// An open file of a disk that is not the host's. The operations are those of `LocalFile`.
public protocol VirtualFile: AnyObject, Sendable {
  /// Reads up to the buffer's or the file's end; returns the bytes read.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(LocalError) -> Int
  /// Writes all of `bytes`, in one system call.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(LocalError)
  /// Sets the length.
  func truncate(to size: UInt64) throws(LocalError)
  /// Makes the range zero; the length stays.
  func punchHole(_ range: Range<UInt64>) throws(LocalError)
  /// The length in bytes.
  func size() throws(LocalError) -> UInt64
  /// Bytes free on the disk.
  func freeSpace() throws(LocalError) -> UInt64
  /// The next byte from `offset` that is in no hole, or (`data` false) that is in one.
  func seek(_ offset: UInt64, data: Bool) -> UInt64?
  /// Makes content and length durable.
  func sync() throws(LocalError)
}
