import CFuse
import Glibc

// Between the public value types and those of libfuse.

extension FileTime {
  init(_ time: timespec) {
    self.init(seconds: Int64(time.tv_sec), nanoseconds: Int64(time.tv_nsec))
  }
  var timespec: timespec {
    Glibc.timespec(tv_sec: Int(seconds), tv_nsec: Int(nanoseconds))
  }
}

extension FileAttributes {
  var status: stat {
    var status = stat()
    status.st_ino = .init(inode)
    status.st_mode = .init(mode)
    status.st_nlink = .init(linkCount)
    status.st_uid = uid
    status.st_gid = gid
    status.st_size = .init(truncatingIfNeeded: size)
    status.st_blocks = .init(truncatingIfNeeded: blocks)
    status.st_blksize = .init(blockSize)
    status.st_atim = accessed.timespec
    status.st_mtim = modified.timespec
    status.st_ctim = changed.timespec
    return status
  }

  /// `mode` without the bits that a write, a truncation or a change of owner by an unprivileged
  /// process takes away: set-user-ID, and set-group-ID where the group may execute (otherwise that
  /// bit once meant mandatory locking, and stays). chown(2), "S_ISUID and S_ISGID".
  ///
  /// The kernel leaves this to the filesystem (HANDLE_KILLPRIV_V2): on each change of owner or
  /// group, and where a request's `clearsPrivileges` says so.
  public var modeWithoutPrivileges: UInt32 {
    let (setUser, setGroup, groupExecute): (UInt32, UInt32, UInt32) = (0o4000, 0o2000, 0o010)
    return mode & ~setUser & ~(mode & groupExecute != 0 ? setGroup : 0)
  }
}

extension Entry {
  var parameter: fuse_entry_param {
    var parameter = fuse_entry_param()
    parameter.ino = node
    parameter.attr = attributes.status
    parameter.attr_timeout = attributeTimeout
    parameter.entry_timeout = entryTimeout
    return parameter
  }
}

extension OpenFlags {
  var information: fuse_file_info {
    var information = fuse_file_info()
    information.fh = handle
    information.keep_cache = keepCache ? 1 : 0
    information.direct_io = directIO ? 1 : 0
    return information
  }
}

extension FilesystemStatistics {
  var status: statvfs {
    var status = statvfs()
    status.f_bsize = .init(blockSize)
    status.f_frsize = .init(blockSize)
    status.f_blocks = .init(blocks)
    status.f_bfree = .init(freeBlocks)
    status.f_bavail = .init(freeBlocks)
    status.f_files = .init(files)
    status.f_ffree = .init(freeFiles)
    status.f_favail = .init(freeFiles)
    status.f_namemax = .init(nameLength)
    return status
  }
}

extension AttributeChanges {
  /// From setattr's `to_set` (FUSE_SET_ATTR_*) and the values.
  init(_ status: stat, valid: Int32) {
    func has(_ flag: Int32) -> Bool { valid & flag != 0 }
    func time(_ set: Int32, _ now: Int32, _ value: timespec) -> Time? {
      has(now) ? .now : has(set) ? .at(FileTime(value)) : nil
    }
    self.init(
      mode: has(FUSE_SET_ATTR_MODE) ? UInt32(status.st_mode) : nil,
      uid: has(FUSE_SET_ATTR_UID) ? status.st_uid : nil,
      gid: has(FUSE_SET_ATTR_GID) ? status.st_gid : nil,
      size: has(FUSE_SET_ATTR_SIZE) ? UInt64(bitPattern: Int64(status.st_size)) : nil,
      accessed: time(FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW, status.st_atim),
      modified: time(FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW, status.st_mtim),
      changed: has(FUSE_SET_ATTR_CTIME) ? FileTime(status.st_ctim) : nil,
      clearsPrivileges: has(FATTR_KILL_SUIDGID))
  }
}

/// The bytes of a C string, without its NUL.
@unsafe
func bytes(of text: UnsafePointer<CChar>?) -> [UInt8] {
  guard let text = unsafe text else { return [] }
  return unsafe [UInt8](UnsafeRawBufferPointer(start: text, count: strlen(text)))
}

/// Calls `body` with `bytes` and a NUL behind them; `bytes` themselves hold none.
func withCString<Result>(of bytes: [UInt8], _ body: (UnsafePointer<CChar>) -> Result) -> Result {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: bytes.count + 1) { buffer in
    for (index, byte) in bytes.enumerated() {
      unsafe buffer.initializeElement(at: index, to: CChar(bitPattern: byte))
    }
    unsafe buffer.initializeElement(at: bytes.count, to: 0)
    // SAFETY: the buffer has at least one element, so it has an address.
    return unsafe body(UnsafePointer(buffer.baseAddress.unsafelyUnwrapped))
  }
}
