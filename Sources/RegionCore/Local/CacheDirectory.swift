import Glibc

/// The cache directory of one mount: its identity, and the lock that keeps a second daemon out.
///
/// `<cache_dir>/id` holds 128 random bits that name this directory as a writer, with the inode
/// number of the file itself: a copied directory has another, and gets an identity of its own, so
/// that two hosts never write with the same one.
public final class CacheDirectory: Sendable {
  /// Why the directory cannot be used.
  public enum Failure: Error, Sendable, CustomStringConvertible {
    /// The disk or the permissions.
    case local(LocalError)
    /// Another daemon has it; `holder` is what it says of itself.
    case inUse(path: String, holder: String)

    /// One line with the remedy.
    public var description: String {
      switch self {
      case .local(let error) where error.isOutOfSpace:
        "cache directory: \(error). Make room there or choose another with -o cache_dir="
      case .local(let error): "cache directory: \(error). Choose another with -o cache_dir="
      case .inUse(let path, let holder):
        "cache directory \(path) is in use (\(holder)). Unmount that first, or give this mount its own with -o cache_dir="
      }
    }
  }

  /// Where it is.
  public let path: String
  /// Its identity as a writer.
  public let writer: WriterID
  /// This boot of the host.
  public let bootID: Random128
  private let lock: LocalFile

  /// Makes the directory if it is missing, and locks it. `waiting` is called, and the call waits,
  /// while a daemon that was unmounted still drains there.
  public init(path: String, waiting: (String) -> Void) throws(Failure) {
    self.path = path
    do throws(LocalError) {
      // Durably: what is acknowledged in it would go with its name.
      try HostDisk().createDirectory(path)
      lock = try LocalFile(path: path + "/lock", flags: O_RDWR | O_CREAT)
      bootID = try Self.readBootID()
    } catch {
      throw .local(error)
    }
    try Self.acquire(lock, path, waiting)
    do throws(LocalError) {
      writer = try Self.identity(path)
    } catch {
      throw .local(error)
    }
  }

  /// The word in the lock file of a daemon that only drains.
  private static let draining = "draining"

  private static func acquire(_ lock: LocalFile, _ path: String, _ waiting: (String) -> Void)
    throws(Failure)
  {
    var told = false
    while flock(lock.descriptor, LOCK_EX | LOCK_NB) != 0 {
      let code = errno
      guard code == EWOULDBLOCK || code == EINTR else {
        throw .local(LocalError("flock", path: lock.path, code: code))
      }
      let holder = note(lock)
      guard holder.hasPrefix(draining) else { throw .inUse(path: path, holder: holder) }
      if !told { waiting(holder) }
      told = true
      usleep(100_000)
    }
  }

  private static func note(_ lock: LocalFile) -> String {
    let buffer = IOBuffer(capacity: 4096)
    let count = (try? unsafe lock.read(into: buffer.memory, at: 0)) ?? 0
    buffer.count = count
    let text = String(decoding: buffer.array, as: UTF8.self).split(separator: "\n").first
    return text.map(String.init) ?? "by a daemon that just starts"
  }

  /// Tells who has the directory, in words for others' messages.
  public func note(isDraining: Bool, _ words: String) throws(LocalError) {
    try lock.truncate(to: 0)
    try lock.write(Array("\(isDraining ? Self.draining + ", " : "")\(words)\n".utf8), at: 0)
  }

  private static func identity(_ path: String) throws(LocalError) -> WriterID {
    let file = path + "/id"
    if let bytes = try LocalDirectory.contents(of: file, limit: 4096) {
      let words = String(decoding: bytes, as: UTF8.self)
        .split(whereSeparator: { $0 == " " || $0 == "\n" })
      if words.count == 4, words[0] == "regionfs-cache", words[1] == "1",
        let id = WriterID(words[2]), let inode = UInt64(words[3]), inode == inodeNumber(file)
      {
        return id
      }
    }
    let id = WriterID.random()
    // The inode number is known once the file is there, and stays: it is rewritten in place.
    let new = try LocalFile(path: file, flags: O_RDWR | O_CREAT)
    try new.truncate(to: 0)
    try new.write(Array("regionfs-cache 1 \(id) \(inodeNumber(file))\n".utf8), at: 0)
    try new.sync()
    try LocalDirectory.sync(path)
    return id
  }

  private static func inodeNumber(_ path: String) -> UInt64 {
    var status = stat()
    return unsafe stat(path, &status) == 0 ? UInt64(status.st_ino) : 0
  }

  private static func readBootID() throws(LocalError) -> Random128 {
    let path = "/proc/sys/kernel/random/boot_id"
    let file = try LocalFile(path: path, flags: O_RDONLY)
    let buffer = IOBuffer(capacity: 64)
    buffer.count = try unsafe file.read(into: buffer.memory, at: 0)
    let text = String(decoding: buffer.array, as: UTF8.self)
      .filter { $0.isHexDigit }
    guard let id = Random128(text) else { throw LocalError("read", path: path, code: EINVAL) }
    return id
  }

  /// Groups whose logs hold records, so that they must be opened to be pushed.
  public func groupsWithLogs() throws(LocalError) -> [GroupID] { try Self.groupsWithLogs(in: path) }

  /// The same for a cache directory that this process does not hold.
  public static func groupsWithLogs(in path: String) throws(LocalError) -> [GroupID] {
    try LocalDirectory.names(in: path).compactMap { name -> GroupID? in
      guard let group = GroupID(name) else { return nil }
      do throws(LocalError) {
        return try LocalDirectory.names(in: path + "/\(name)/log").isEmpty ? nil : group
      } catch {
        // A log that cannot be looked at may hold records.
        return error.code == ENOENT ? nil : group
      }
    }
  }
}
