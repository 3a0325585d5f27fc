import CLinux
import Glibc

/// A failed operation on a local file: which, where and why.
public struct LocalError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The system call's name.
  public var operation: String
  /// The file.
  public var path: String
  /// The `errno` it failed with.
  public var code: Int32

  /// A failure of `operation` on `path`.
  public init(_ operation: String, path: String, code: Int32) {
    self.operation = operation
    self.path = path
    self.code = code
  }

  /// Whether the disk or quota is full.
  public var isOutOfSpace: Bool { code == ENOSPC || code == EDQUOT }

  /// One line with the call, the path and strerror's words.
  public var description: String { "\(operation) \(path): \(errnoText(code))" }
}

/// `strerror` as a String.
public func errnoText(_ code: Int32) -> String {
  // SAFETY: glibc's strerror is thread-safe and returns NUL-terminated text, copied at once.
  unsafe String(cString: strerror(code))
}

/// An open local file. Closed when the last reference goes.
public final class LocalFile: Sendable {
  /// The descriptor, valid for the object's life; -1 if the file is not the host's.
  public let descriptor: Int32
  /// Where it was opened, for messages.
  public let path: String
  /// What stands in for the host's file in tests. A field and not a subclass: the hit path's read
  /// stays a direct call with one branch that is never taken.
  private let substitute: (any VirtualFile)?

  /// `open(2)` with `O_CLOEXEC`.
  public init(path: String, flags: Int32, mode: mode_t = 0o600) throws(LocalError) {
    self.path = path
    substitute = nil
    descriptor = try retrying("open", path) { unsafe Glibc.open(path, flags | O_CLOEXEC, mode) }
  }

  /// A file of a disk that is not the host's.
  public init(path: String, substitute: any VirtualFile) {
    self.path = path
    self.substitute = substitute
    descriptor = -1
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// Reads until `buffer` is full or the file ends; returns the bytes read. `pread(2)`.
  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64)
    throws(LocalError) -> Int
  {
    if let substitute { return try unsafe substitute.read(into: buffer, at: offset) }
    guard let base = buffer.baseAddress else { return 0 }
    var done = 0
    while done < buffer.count {
      // SAFETY: the rest of `buffer` from `done` on.
      let count = try retrying("pread", path) {
        unsafe pread(descriptor, base + done, buffer.count - done, off_t(offset) + off_t(done))
      }
      if count == 0 { break }
      done += count
    }
    return done
  }

  /// Whether the page at `offset` can be read without the disk; false where the kernel cannot tell.
  /// `cachestat(2)`: preadv2(2) with RWF_NOWAIT begins a read that a write of the page then waits for.
  public func isCached(pageAt offset: UInt64) -> Bool {
    substitute != nil
      || linux_cached_pages(descriptor, off_t(offset), UInt(Geometry.pageSize)) == 1
  }

  /// Writes all of `bytes`; on an error some of them may have been written. `pwrite(2)`.
  public func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(LocalError) {
    if let substitute { return try unsafe substitute.write(bytes, at: offset) }
    guard let base = bytes.baseAddress else { return }
    var done = 0
    while done < bytes.count {
      // SAFETY: the rest of `bytes` from `done` on.
      done += try retrying("pwrite", path) {
        unsafe pwrite(descriptor, base + done, bytes.count - done, off_t(offset) + off_t(done))
      }
    }
  }

  /// Writes all of `bytes`.
  public func write(_ bytes: [UInt8], at offset: UInt64) throws(LocalError) {
    try unsafe bytes.span.bytes.withUnsafeBytes { (bytes) throws(LocalError) in
      try unsafe write(bytes, at: offset)
    }
  }

  /// Writes `head` and then `body` in one call. `pwritev(2)`.
  func write(head: [UInt8], body: UnsafeRawBufferPointer, at offset: UInt64) throws(LocalError) {
    if substitute != nil { return try unsafe write(head + Array(body), at: offset) }
    let total = head.count + body.count
    let written = try unsafe head.span.bytes.withUnsafeBytes { (head) throws(LocalError) in
      var parts = unsafe [
        iovec(iov_base: UnsafeMutableRawPointer(mutating: head.baseAddress), iov_len: head.count),
        iovec(iov_base: UnsafeMutableRawPointer(mutating: body.baseAddress), iov_len: body.count),
      ]
      // SAFETY: both parts outlive the call and are only read.
      return try retrying("pwritev", path) {
        unsafe pwritev(descriptor, &parts, body.isEmpty ? 1 : 2, off_t(offset))
      }
    }
    if written == total { return }
    // A short write, as on a nearly full disk: the rest one by one, to hear why.
    if written < head.count {
      try write(Array(head[written...]), at: offset + UInt64(written))
    }
    let done = max(0, written - head.count)
    try unsafe write(body.bytes(done..<body.count), at: offset + UInt64(head.count + done))
  }

  /// `ftruncate(2)`.
  public func truncate(to size: UInt64) throws(LocalError) {
    if let substitute { return try substitute.truncate(to: size) }
    _ = try retrying("ftruncate", path) { ftruncate(descriptor, off_t(size)) }
  }

  /// Makes `range` a hole. `fallocate(2)` with PUNCH_HOLE and KEEP_SIZE.
  public func punchHole(_ range: Range<UInt64>) throws(LocalError) {
    guard !range.isEmpty else { return }
    if let substitute { return try substitute.punchHole(range) }
    // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
    _ = try retrying("fallocate", path) {
      linux_fallocate(descriptor, 0x01 | 0x02, off_t(range.lowerBound), off_t(range.count))
    }
  }

  /// Allocates the blocks of `range`, so that writing there cannot fail for lack of space.
  /// `fallocate(2)` with KEEP_SIZE; success where the file system cannot do it.
  public func reserve(_ range: Range<UInt64>) throws(LocalError) {
    guard !range.isEmpty, substitute == nil else { return }
    do throws(LocalError) {
      // FALLOC_FL_KEEP_SIZE
      _ = try retrying("fallocate", path) {
        linux_fallocate(descriptor, 0x01, off_t(range.lowerBound), off_t(range.count))
      }
    } catch {
      if error.code != EOPNOTSUPP { throw error }
    }
  }

  /// The file's length in bytes. `fstat(2)`.
  public func size() throws(LocalError) -> UInt64 {
    if let substitute { return try substitute.size() }
    var status = stat()
    _ = try retrying("fstat", path) { unsafe fstat(descriptor, &status) }
    return UInt64(status.st_size)
  }

  /// Bytes that the file occupies on disk; none once it has no name, for then they are about to be
  /// free. `fstat(2)`.
  public func allocatedBytes() throws(LocalError) -> UInt64 {
    if let substitute {
      var (bytes, position) = (UInt64(0), UInt64(0))
      while let data = substitute.seek(position, data: true) {
        position = substitute.seek(data, data: false) ?? data + 1
        bytes += position - data
      }
      return bytes
    }
    var status = stat()
    _ = try retrying("fstat", path) { unsafe fstat(descriptor, &status) }
    return status.st_nlink == 0 ? 0 : UInt64(status.st_blocks) * 512
  }

  /// Bytes free for unprivileged users on the file system that holds the file. `fstatvfs(3)`.
  public func freeSpace() throws(LocalError) -> UInt64 {
    if let substitute { return try substitute.freeSpace() }
    var status = statvfs()
    _ = try retrying("fstatvfs", path) { unsafe fstatvfs(descriptor, &status) }
    return UInt64(status.f_bavail) * UInt64(status.f_frsize)
  }

  /// The next byte from `offset` on that lies in no hole; nil if there is none. `lseek(2)`.
  public func nextData(from offset: UInt64) -> UInt64? { seek(offset, data: true) }

  /// The next byte from `offset` on that lies in a hole (the file's end counts as one); nil beyond
  /// the end. `lseek(2)`.
  public func nextHole(from offset: UInt64) -> UInt64? { seek(offset, data: false) }

  private func seek(_ offset: UInt64, data: Bool) -> UInt64? {
    if let substitute { return substitute.seek(offset, data: data) }
    // SEEK_DATA, SEEK_HOLE
    let found = lseek(descriptor, off_t(offset), data ? 3 : 4)
    return found < 0 ? nil : UInt64(found)
  }

  /// Has the disk begin to write a range, sync_file_range(2); waits for nothing and promises nothing.
  func startWriteback(_ range: Range<UInt64>) {
    guard substitute == nil else { return }
    let writeOnly: UInt32 = 2  // SYNC_FILE_RANGE_WRITE
    _ = linux_sync_file_range(
      descriptor, off_t(range.lowerBound), off_t(range.count), writeOnly)
  }

  /// Lets the kernel forget its pages of the range, once they are on the disk.
  /// `sync_file_range(2)`, `posix_fadvise(2)`. Errors only leave them where they are.
  public func dropCached(_ range: Range<UInt64>) {
    guard substitute == nil else { return }
    let waitWriteWait: UInt32 = 7
    _ = linux_sync_file_range(
      descriptor, off_t(range.lowerBound), off_t(range.count), waitWriteWait)
    _ = posix_fadvise(
      descriptor, off_t(range.lowerBound), off_t(range.count), POSIX_FADV_DONTNEED)
  }

  /// `fdatasync(2)`.
  public func syncData() throws(LocalError) {
    if let substitute { return try substitute.sync() }
    _ = try retrying("fdatasync", path) { fdatasync(descriptor) }
  }

  /// `fsync(2)`.
  public func sync() throws(LocalError) {
    if let substitute { return try substitute.sync() }
    _ = try retrying("fsync", path) { fsync(descriptor) }
  }
}

/// The one place for EINTR: repeats `call` until it is not interrupted; -1 throws.
func retrying<Value: SignedInteger>(
  _ operation: String, _ path: String, _ call: () -> Value
) throws(LocalError) -> Value {
  while true {
    let result = call()
    if result != -1 { return result }
    let code = errno
    if code != EINTR { throw LocalError(operation, path: path, code: code) }
  }
}

/// Operations on names rather than open files.
public enum LocalDirectory {
  /// `mkdir(2)` with all missing parents, mode 0700. Present is success.
  public static func create(_ path: String) throws(LocalError) { _ = try make(path) }

  /// The same; returns the directories that were missing.
  static func make(_ path: String) throws(LocalError) -> [String] {
    var missing: [String] = []
    var current = path
    while !current.isEmpty, current != "/", unsafe access(current, F_OK) != 0 {
      missing.append(current)
      current = parent(of: current)
    }
    for path in missing.reversed() {
      if unsafe mkdir(path, 0o700) != 0, errno != EEXIST {
        throw LocalError("mkdir", path: path, code: errno)
      }
    }
    var status = stat()
    guard unsafe stat(path, &status) == 0 else { throw LocalError("stat", path: path, code: errno) }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw LocalError("mkdir", path: path, code: ENOTDIR)
    }
    return missing.reversed()
  }

  /// Names in the directory, without `.` and `..`, sorted. `readdir(3)`.
  public static func names(in path: String) throws(LocalError) -> [String] {
    guard let stream = unsafe opendir(path) else {
      throw LocalError("opendir", path: path, code: errno)
    }
    defer { unsafe closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      // SAFETY: `d_name` is NUL-terminated and lives until the next readdir.
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted()
  }

  /// `unlink(2)`; absent is success.
  public static func removeFile(_ path: String) throws(LocalError) {
    if unsafe unlink(path) != 0, errno != ENOENT {
      throw LocalError("unlink", path: path, code: errno)
    }
  }

  /// `rename(2)`.
  static func move(_ path: String, to new: String) throws(LocalError) {
    if unsafe rename(path, new) != 0 { throw LocalError("rename", path: path, code: errno) }
  }

  /// Removes a directory with all that is in it; absent is success.
  public static func removeTree(_ path: String) throws(LocalError) {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else {
      if errno == ENOENT { return }
      throw LocalError("lstat", path: path, code: errno)
    }
    guard status.st_mode & S_IFMT == S_IFDIR else { return try removeFile(path) }
    for name in try names(in: path) { try removeTree(path + "/" + name) }
    if unsafe rmdir(path) != 0, errno != ENOENT {
      throw LocalError("rmdir", path: path, code: errno)
    }
  }

  /// Makes names in the directory durable. `fsync(2)` on the directory.
  public static func sync(_ path: String) throws(LocalError) {
    try LocalFile(path: path, flags: O_RDONLY | O_DIRECTORY).sync()
  }

  /// Replaces `path` by `bytes` in one durable step: temporary file, fsync, rename, fsync of the
  /// directory.
  public static func replaceFile(_ path: String, with bytes: [UInt8]) throws(LocalError) {
    try HostDisk().replaceFile(path, with: bytes)
  }

  /// The whole of a small file; nil if it does not exist. Longer than `limit` is EFBIG.
  public static func contents(of path: String, limit: Int) throws(LocalError) -> [UInt8]? {
    try HostDisk().contents(of: path, limit: limit)
  }

  /// The directory part of a path.
  static func parent(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }
}

extension UnsafeMutableRawBufferPointer {
  /// The first `count` bytes.
  func prefixBytes(_ count: Int) -> UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(rebasing: self[0..<count])
  }
}

extension UnsafeRawBufferPointer {
  /// Whether both hold the same bytes. `memcmp(3)`.
  func elementsEqualBytes(_ other: UnsafeRawBufferPointer) -> Bool {
    guard count == other.count, let a = baseAddress, let b = other.baseAddress else {
      return count == other.count
    }
    return unsafe memcmp(a, b, count) == 0
  }

  /// The bytes of `range`.
  func bytes(_ range: Range<Int>) -> UnsafeRawBufferPointer {
    unsafe UnsafeRawBufferPointer(rebasing: self[range])
  }
}
