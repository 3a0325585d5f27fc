import Glibc
import Locks
import RegionCore

/// The files of a directory store, with calls that block.
final class ObjectFiles: Sendable {
  /// The store's directory, without a trailing slash.
  let root: String
  /// Directories whose names are known to be durable, because this process synced their parents.
  private let durable = Lock<Set<String>>([])

  private static let temporary = ".tmp"
  private static let locks = ".locks"
  private static let lockCount: UInt32 = 256
  private static let temporaryLifetime = 86_400

  init(root path: String) throws(StoreError) {
    var path = path
    while path.count > 1, path.hasSuffix("/") { path.removeLast() }
    root = path
    guard path.hasPrefix("/"), path != "/" else {
      throw StoreError(
        .badRequest, operation: "OPEN", object: "file://\(path)",
        detail: "the directory's path must be absolute and not /")
    }
    try perform("OPEN", "") { () throws(CallFailure) in
      try self.makeDirectory(path)
      do throws(CallFailure) {
        try self.makeDirectory("\(path)/\(Self.temporary)")
        try self.makeDirectory("\(path)/\(Self.locks)")
        try self.removeLeftovers()
      } catch  where error.code == EACCES || error.code == EROFS {
        // A store that may only be read is opened all the same; PUTs will say what is wrong.
        _ = try entries(of: path)
      }
    }
  }

  /// Names an object in errors.
  func describe(_ key: String) -> String { "file://\(root)/\(key)" }

  /// Whether the store's directory is there: it may be on a disk that was unmounted.
  var isPresent: Bool { exists("\(root)/\(Self.locks)") }

  func get(_ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer) throws(StoreError)
    -> ObjectInfo
  {
    try perform("GET", key.text) { () throws(CallFailure) -> Result<ObjectInfo, StoreError> in
      let file = try File(self.path(of: key), O_RDONLY)
      guard let trailer = try self.trailer(of: file) else {
        return .failure(
          self.error(.damagedAnswer, "GET", key.text, "the file is cut short or not ours"))
      }
      let range = range ?? 0..<trailer.length
      guard range.upperBound <= trailer.length else {
        return .failure(
          self.error(.damagedAnswer, "GET", key.text, "the object ends at \(trailer.length)"))
      }
      let count = range.upperBound - range.lowerBound
      guard count <= UInt64(buffer.capacity) else {
        return .failure(
          self.error(.tooLarge, "GET", key.text, "\(count) bytes, room for \(buffer.capacity)"))
      }
      // SAFETY: `count` bytes fit the buffer's memory, which is lent to this call.
      let target = unsafe UnsafeMutableRawBufferPointer(start: buffer.base, count: Int(count))
      let received = unsafe try file.read(into: target, at: range.lowerBound)
      guard received == Int(count) else {
        return .failure(self.error(.damagedAnswer, "GET", key.text, "the file was cut short"))
      }
      buffer.count = received
      return .success(ObjectInfo(etag: trailer.etag, totalLength: trailer.length))
    }.get()
  }

  func put(_ key: ObjectKey, _ body: IOBuffer, condition: PutCondition) throws(StoreError) -> ETag {
    guard !key.text.hasPrefix(".") else {
      throw error(.badRequest, "PUT", key.text, "names with a leading dot are the store's own")
    }
    let trailer = Trailer(length: UInt64(body.count), version: .random())
    let temporary = "\(root)/\(Self.temporary)/\(trailer.version)"
    // Fails where it was renamed: then there is nothing to remove. If it fails otherwise, a later
    // start removes it.
    defer { try? removeFile(temporary) }
    try perform("PUT", key.text) { () throws(CallFailure) in
      let file = try File(temporary, O_WRONLY | O_CREAT | O_EXCL)
      // SAFETY: the body is lent to this call, which nobody changes meanwhile.
      unsafe try file.write(body.bytes)
      try file.write(trailer.bytes)
      try file.sync()
    }
    let path = path(of: key)
    let lock = try lock(key, "PUT")
    defer { withExtendedLifetime(lock) {} }
    let mayProceed = try perform("PUT", key.text) { () throws(CallFailure) -> Bool in
      guard try self.holds(condition, at: path) else { return false }
      return try self.place(temporary, at: path, isNew: condition == .absent)
    }
    guard mayProceed else {
      throw error(.preconditionFailed, "PUT", key.text, "the condition does not hold")
    }
    try syncParent(of: path, "PUT", key)
    return trailer.etag
  }

  func delete(_ key: ObjectKey) throws(StoreError) {
    let path = path(of: key)
    let lock = try lock(key, "DELETE")
    defer { withExtendedLifetime(lock) {} }
    let isRemoved = try perform("DELETE", key.text) { () throws(CallFailure) in
      do throws(CallFailure) {
        try removeFile(path)
        return true
      } catch  where [ENOENT, ENOTDIR, EISDIR].contains(error.code) && self.isPresent {
        return false  // Nothing of that name: that is what was asked for.
      }
    }
    if isRemoved { try syncParent(of: path, "DELETE", key) }
  }

  private func path(of key: ObjectKey) -> String { "\(root)/\(key.text)" }

  /// The trailer of an open object; nil if it has none that is whole.
  private func trailer(of file: borrowing File) throws(CallFailure) -> Trailer? {
    let (size, isFile) = try file.status()
    guard isFile else { throw CallFailure(call: "open", code: ENOENT) }
    guard size >= UInt64(Trailer.size) else { return nil }
    let bytes = try file.read(Trailer.size, at: size - UInt64(Trailer.size))
    return Trailer(bytes, fileSize: size)
  }

  /// Whether the object at `path` is as `condition` demands. Only meaningful under the key's lock.
  private func holds(_ condition: PutCondition, at path: String) throws(CallFailure) -> Bool {
    guard case .matches(let etag) = condition else { return true }
    do throws(CallFailure) {
      return try trailer(of: File(path, O_RDONLY))?.etag == etag
    } catch  where error.code == ENOENT || error.code == ENOTDIR {
      return false
    }
  }

  /// Gives the file at `temporary` its name; false if it must be new and is not.
  private func place(_ temporary: String, at path: String, isNew: Bool) throws(CallFailure) -> Bool
  {
    try makeParents(of: path)
    do throws(CallFailure) {
      guard isNew else {
        try rename(temporary, to: path)
        return true
      }
      // Unlike `rename`, `link` never replaces.
      try link(temporary, to: path)
      return true
    } catch  where error.code == EEXIST {
      return false
    } catch  where isNew && [EPERM, ENOTSUP, ENOSYS].contains(error.code) {
      // No hard links here (FAT, some network file systems). The lock keeps other writers out.
      guard !exists(path) else { return false }
      try rename(temporary, to: path)
      return true
    }
  }

  /// Takes the lock that all changes of `key` happen under, until the returned file is closed.
  /// Keys share 256 locks. `flock` belongs to the open file, so that it also keeps the threads of
  /// one process apart, and the kernel drops it when the process dies.
  private func lock(_ key: ObjectKey, _ operation: String) throws(StoreError) -> LockedFile {
    let number = CRC32C.checksum([UInt8](key.text.utf8)) % Self.lockCount
    return try perform(operation, key.text) { () throws(CallFailure) in
      try LockedFile("\(self.root)/\(Self.locks)/\(number)")
    }
  }

  /// Makes the name at `path` durable. The change is visible already, so a failure leaves it open
  /// whether it happened: `.unavailable`.
  private func syncParent(of path: String, _ operation: String, _ key: ObjectKey) throws(StoreError)
  {
    do throws(CallFailure) {
      try syncDirectory(Self.parent(of: path))
    } catch {
      throw self.error(
        .unavailable, operation, key.text, "\(error.call): \(errnoText(error.code))")
    }
  }

  private static func parent(of path: String) -> String {
    String(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])
  }

  /// Makes the directories above `path` and makes their names durable.
  private func makeParents(of path: String) throws(CallFailure) {
    let parent = Self.parent(of: path)
    guard parent.utf8.count > root.utf8.count else { return }
    if durable.withLock({ $0.contains(parent) }), exists(parent) { return }
    try makeParents(of: parent)
    try makeDirectory(parent)
    durable.withLock { _ = $0.insert(parent) }
  }

  /// `mkdir(2)`, then syncs the parent, also where the directory was there already: its maker may
  /// not have come to that yet.
  private func makeDirectory(_ path: String) throws(CallFailure) {
    do throws(CallFailure) {
      try createDirectory(path)
    } catch  where error.code == EEXIST {
    }
    do throws(CallFailure) {
      try syncDirectory(Self.parent(of: path).isEmpty ? "/" : Self.parent(of: path))
    } catch  where path == root && error.code == EACCES {
      // The parent of the store itself may be another user's, who made the directory for us.
    }
  }

  /// Removes what processes that died while they wrote left behind a day ago or earlier.
  private func removeLeftovers() throws(CallFailure) {
    let now = time(nil)
    let directory = "\(root)/\(Self.temporary)"
    for entry in try entries(of: directory, withTimes: true) {
      guard let modified = entry.modified, now - modified > Self.temporaryLifetime else { continue }
      do throws(CallFailure) {
        try removeFile("\(directory)/\(entry.name)")
      } catch  where error.code == ENOENT {
        // Another process was faster.
      }
    }
  }

  /// Runs `body` and says what a failed call means for `operation`.
  func perform<Value>(
    _ operation: String, _ key: String, _ body: () throws(CallFailure) -> Value
  ) throws(StoreError) -> Value {
    do throws(CallFailure) {
      return try body()
    } catch {
      throw self.error(
        kind(of: error.code, operation), operation, key,
        "\(error.call): \(errnoText(error.code))")
    }
  }

  private func kind(of code: CInt, _ operation: String) -> StoreError.Kind {
    switch code {
    case ENOENT: operation == "GET" && isPresent ? .notFound : .noSuchContainer
    case ENOTDIR: operation == "GET" ? .notFound : .badRequest
    case EACCES, EPERM, EROFS: .accessDenied
    case ENOSPC, EDQUOT: .outOfSpace
    case EISDIR, EEXIST, ENOTEMPTY, ENAMETOOLONG: .badRequest
    case EMFILE, ENFILE, ENOMEM: .throttled
    default: .io
    }
  }

  func error(_ kind: StoreError.Kind, _ operation: String, _ key: String, _ detail: String)
    -> StoreError
  {
    StoreError(kind, operation: operation, object: describe(key), detail: detail)
  }
}

/// An open file that holds its lock until it is closed.
final class LockedFile {
  private let file: File

  init(_ path: String) throws(CallFailure) {
    file = try File(path, O_RDWR | O_CREAT)
    try file.lock()
  }
}
