import Glibc
import RegionControl
import RegionCore

/// A local file, directory or symbolic link that is copied.
struct SourceInode: Sendable {
  var path: String
  var kind: InodeKind
  var size: UInt64
  var mode: UInt16
  var modified: Timestamp
  var target: [UInt8] = []

  /// - Parameter followLinks: what a link points to instead of the link.
  init(path: String, followLinks: Bool = true) throws(CommandError) {
    self.path = path
    var status = stat()
    let result = followLinks ? unsafe stat(path, &status) : unsafe lstat(path, &status)
    guard result == 0 else { throw CommandError(LocalError("stat", path: path, code: errno)) }
    switch status.st_mode & S_IFMT {
    case S_IFREG: kind = .file
    case S_IFDIR: kind = .directory
    case S_IFLNK: kind = .symlink
    default:
      throw CommandError(
        "\(path): only files, directories and symbolic links can be copied; leave it out",
        code: ExitStatus.system)
    }
    size = kind == .file ? UInt64(status.st_size) : 0
    mode = UInt16(status.st_mode & 0o7777)
    modified = Timestamp(
      nanoseconds: Int64(status.st_mtim.tv_sec) * 1_000_000_000 + Int64(status.st_mtim.tv_nsec))
    if kind == .symlink { target = try Self.target(of: path) }
    guard size <= Limits.regionSize else {
      throw CommandError("\(path): larger than 8 TiB, the most that a file can have")
    }
  }

  private static func target(of path: String) throws(CommandError) -> [UInt8] {
    var buffer = [CChar](repeating: 0, count: Limits.symlinkLength + 1)
    // SAFETY: readlink writes at most as many bytes as there are.
    let count = unsafe readlink(path, &buffer, buffer.count)
    guard count >= 0 else { throw CommandError(LocalError("readlink", path: path, code: errno)) }
    return buffer[..<count].map { UInt8(bitPattern: $0) }
  }

  /// The inode in the group; it belongs to whoever copies.
  func inode(id: FileID, parent: FileID, name: FileName?) -> Inode {
    var inode = Inode(
      id: id, parent: parent, name: name, kind: kind, mode: kind == .symlink ? 0o777 : mode,
      uid: geteuid(), gid: getegid(), size: size, time: modified, target: target)
    inode.changed = SystemClock().wall
    return inode
  }

  func open() throws(CommandError) -> LocalFile {
    do throws(LocalError) {
      return try LocalFile(path: path, flags: O_RDONLY)
    } catch {
      throw CommandError(error)
    }
  }

  /// Refuses a source that is not what it was: its copy would be of no one moment.
  func checkUnchanged() throws(CommandError) {
    let now = try SourceInode(path: path)
    guard now.size == size, now.modified == modified else {
      throw CommandError("\(path): it changed while it was copied; copy it again")
    }
  }
}

/// A directory with all that is in it.
struct SourceTree: Sendable {
  /// Directories before what is in them.
  var inodes: [(inode: Inode, source: SourceInode)] = []
  /// Bytes of all files.
  var bytes: UInt64 = 0

  init(_ top: SourceInode) throws(CommandError) {
    var next: FileID = Namespace.top
    var queue = [(source: top, parent: FileID(0), name: FileName?.none)]
    var at = 0
    while at < queue.count {
      let (source, parent, name) = queue[at]
      at += 1
      let inode = source.inode(id: next, parent: parent, name: name)
      next += 1
      inodes.append((inode, source))
      bytes += source.size
      guard UInt64(inodes.count) <= Limits.inodes else {
        throw CommandError(
          "\(top.path): more than \(Limits.inodes) files for one group; copy parts")
      }
      guard source.kind == .directory else { continue }
      for entry in try Self.names(in: source.path) {
        guard let name = FileName(entry) else { continue }
        let path = source.path + "/" + entry
        queue.append((try SourceInode(path: path, followLinks: false), inode.id, name))
      }
    }
  }

  private static func names(in path: String) throws(CommandError) -> [String] {
    do throws(LocalError) {
      return try LocalDirectory.names(in: path)
    } catch {
      throw CommandError(error)
    }
  }
}

extension Array {
  /// The elements in pieces of at most `size`.
  func chunked(by size: Int) -> [[Element]] {
    stride(from: 0, to: count, by: size).map { Array(self[$0..<Swift.min($0 + size, count)]) }
  }
}
