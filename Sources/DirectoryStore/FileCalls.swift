import Glibc
import RegionCore

/// A failed system call: which, and its errno.
struct CallFailure: Error {
  let call: String
  let code: CInt

  /// The failure that `errno` tells of just now.
  static func last(_ call: String) -> Self { Self(call: call, code: errno) }
}

/// `strerror` of `code`.
func errnoText(_ code: CInt) -> String {
  // SAFETY: the text lives until the thread's next `strerror`; it is copied at once.
  unsafe String(cString: strerror(code))
}

/// An open file that closes itself.
struct File: ~Copyable {
  let descriptor: CInt

  /// `open(2)`, close-on-exec.
  init(_ path: String, _ flags: CInt) throws(CallFailure) {
    // SAFETY: the path's text lives for the call, as in the other calls with paths below.
    descriptor = try retrying("open") { unsafe open(path, flags | O_CLOEXEC, 0o666) }
  }

  deinit { close(descriptor) }

  /// `fsync(2)`.
  func sync() throws(CallFailure) { try retrying("fsync") { fsync(descriptor) } }

  /// `flock(2)`, exclusive; ends when the file is closed, which the kernel does for a dead process.
  func lock() throws(CallFailure) { try retrying("flock") { flock(descriptor, LOCK_EX) } }

  /// `fstat(2)`: the size in bytes, and whether it is a plain file.
  func status() throws(CallFailure) -> (size: UInt64, isFile: Bool) {
    var status = stat()
    // SAFETY: a local that outlives the call.
    try retrying("fstat") { unsafe fstat(descriptor, &status) }
    return (UInt64(max(status.st_size, 0)), status.st_mode & S_IFMT == S_IFREG)
  }

  /// `pread(2)` until `target` is full; how many bytes came before the file's end.
  func read(into target: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(CallFailure)
    -> Int
  {
    var done = 0
    while done < target.count, let start = target.baseAddress {
      // SAFETY: at most the rest of `target` is filled.
      let count = try retrying("pread") {
        unsafe pread(descriptor, start + done, target.count - done, off_t(offset) + off_t(done))
      }
      if count == 0 { break }
      done += count
    }
    return done
  }

  /// `write(2)` until all of `source` is written.
  func write(_ source: UnsafeRawBufferPointer) throws(CallFailure) {
    var done = 0
    while done < source.count, let start = source.baseAddress {
      // SAFETY: at most the rest of `source` is read.
      done += try retrying("write") {
        unsafe Glibc.write(descriptor, start + done, source.count - done)
      }
    }
  }
}

extension File {
  /// Writes all of `bytes`.
  func write(_ bytes: [UInt8]) throws(CallFailure) {
    let buffer = IOBuffer(bytes)
    // SAFETY: the buffer lives until the end of the scope and is not shared.
    try withExtendedLifetime(buffer) { () throws(CallFailure) in unsafe try write(buffer.bytes) }
  }

  /// Reads up to `count` bytes at `offset`: fewer only at the file's end.
  func read(_ count: Int, at offset: UInt64) throws(CallFailure) -> [UInt8] {
    let buffer = IOBuffer(capacity: count)
    // SAFETY: the buffer outlives the call and is not shared.
    buffer.count = unsafe try read(into: buffer.memory, at: offset)
    return buffer.array
  }
}

/// `unlink(2)`.
func removeFile(_ path: String) throws(CallFailure) {
  try retrying("unlink") { unsafe unlink(path) }
}

/// `rename(2)`: replaces what has the name `new`.
func rename(_ old: String, to new: String) throws(CallFailure) {
  try retrying("rename") { unsafe Glibc.rename(old, new) }
}

/// `link(2)`: fails with EEXIST if the name `new` exists.
func link(_ old: String, to new: String) throws(CallFailure) {
  try retrying("link") { unsafe Glibc.link(old, new) }
}

/// `mkdir(2)`, with all permissions that the umask leaves.
func createDirectory(_ path: String) throws(CallFailure) {
  try retrying("mkdir") { unsafe mkdir(path, 0o777) }
}

/// Whether there is anything at `path`: `access(2)`.
func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

/// Calls again after EINTR; throws when the result is negative. The one place for both.
@discardableResult
func retrying<Result: SignedInteger>(_ name: String, _ call: () -> Result) throws(CallFailure)
  -> Result
{
  while true {
    let result = call()
    if result >= 0 { return result }
    if errno != EINTR { throw .last(name) }
  }
}

/// Opens the directory at `path` and syncs it: what was made, renamed or removed in it is durable.
func syncDirectory(_ path: String) throws(CallFailure) {
  try File(path, O_RDONLY | O_DIRECTORY).sync()
}

/// One name in a directory.
struct DirectoryEntry {
  var name: String
  var isDirectory: Bool
  /// Last change of the content, in seconds since 1970; nil if not asked for.
  var modified: Int?
}

/// The names in the directory at `path` (`opendir`, `readdir`), without `.` and `..`, in no order.
/// Names that are not UTF-8 and what is neither file nor directory are left out: they are no keys.
func entries(of path: String, withTimes: Bool = false) throws(CallFailure) -> [DirectoryEntry] {
  // SAFETY: the stream is closed on every way out and used by nobody else; an entry is valid until
  // the next `readdir`, and its name is copied before.
  guard let stream = unsafe opendir(path) else { throw .last("opendir") }
  defer { unsafe closedir(stream) }
  var found: [DirectoryEntry] = []
  while true {
    errno = 0
    guard let entry = unsafe readdir(stream) else {
      if errno != 0 { throw .last("readdir") }
      return found
    }
    let bytes = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { raw in
      unsafe [UInt8](raw.prefix { $0 != 0 })
    }
    guard let name = String(validating: bytes, as: UTF8.self), name != ".", name != ".." else {
      continue
    }
    let type = unsafe entry.pointee.d_type
    if !withTimes, type == DT_REG || type == DT_DIR {
      found.append(DirectoryEntry(name: name, isDirectory: type == DT_DIR))
    } else if let entry = status(of: name, in: path) {
      found.append(entry)
    }
  }
}

/// `stat(2)`; nil for what vanished meanwhile or is neither file nor directory.
private func status(of name: String, in directory: String) -> DirectoryEntry? {
  var status = stat()
  // SAFETY: a local that outlives the call.
  guard unsafe stat("\(directory)/\(name)", &status) == 0 else { return nil }
  let type = status.st_mode & S_IFMT
  guard type == S_IFREG || type == S_IFDIR else { return nil }
  return DirectoryEntry(
    name: name, isDirectory: type == S_IFDIR, modified: status.st_mtim.tv_sec)
}
