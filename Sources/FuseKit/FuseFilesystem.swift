/// The kernel's name for an inode: 1 is the root of the mount.
public typealias NodeID = UInt64

/// What a filesystem has to answer. FuseKit calls these on its own threads; none may wait for a
/// network or for another request. Every reply is answered exactly once, now or later and from any
/// thread; a reply that is dropped answers EIO.
///
/// Names are raw bytes as the kernel sends them (no NUL, no `/`).
public protocol FuseFilesystem: AnyObject, Sendable {
  /// The session is over (unmounted); nothing can be answered any more: replies still parked may be
  /// answered or dropped, nobody hears them. Called once, after the last other call. A filesystem
  /// that holds its ``FuseSession`` lets it go here.
  func destroy()
  /// A process that waits for the reply armed with `key` got a signal; answer it with EINTR if it
  /// is still parked, at once: until then the process cannot die. Called on a FUSE thread; may come
  /// late (for a reply that was answered). See ``ReadReply/armInterrupt(key:)`` for what to observe.
  func interrupted(_ key: UInt64)

  /// libfuse `lookup`. An entry in the answer is one reference of the kernel on its node.
  func lookup(_ parent: NodeID, name: [UInt8], reply: consuming EntryReply)
  /// The kernel dropped `count` references to the node. libfuse `forget`, `forget_multi`.
  func forget(_ node: NodeID, count: UInt64)
  /// stat(2) and its kin. `handle` is the file that the caller has open, if the kernel knows it.
  func getattr(_ node: NodeID, handle: UInt64?, reply: consuming AttributeReply)
  /// chmod, chown, truncate, utimensat and their kin; several at once. Where the owner or group is
  /// changed, or `changes.clearsPrivileges`, the filesystem clears set-user-ID and set-group-ID
  /// (``FileAttributes/modeWithoutPrivileges``).
  func setattr(
    _ node: NodeID, changes: AttributeChanges, handle: UInt64?, caller: Caller,
    reply: consuming AttributeReply)
  /// readlink(2).
  func readlink(_ node: NodeID, reply: consuming BytesReply)
  /// mkdir(2). `mode` is without the umask's bits.
  func mkdir(
    _ parent: NodeID, name: [UInt8], mode: UInt32, caller: Caller, reply: consuming EntryReply)
  /// symlink(2).
  func symlink(
    _ parent: NodeID, name: [UInt8], target: [UInt8], caller: Caller, reply: consuming EntryReply)
  /// mknod of a regular file; anything else is refused by FuseKit with EPERM.
  func mknod(
    _ parent: NodeID, name: [UInt8], mode: UInt32, caller: Caller, reply: consuming EntryReply)
  /// link(2).
  func link(
    _ node: NodeID, newParent: NodeID, newName: [UInt8], reply: consuming EntryReply)
  /// unlink(2). The node lives on until it is forgotten.
  func unlink(_ parent: NodeID, name: [UInt8], reply: consuming EmptyReply)
  /// rmdir(2).
  func rmdir(_ parent: NodeID, name: [UInt8], reply: consuming EmptyReply)
  /// `flags` are renameat2's (RENAME_NOREPLACE 1, RENAME_EXCHANGE 2).
  func rename(
    _ parent: NodeID, name: [UInt8], newParent: NodeID, newName: [UInt8], flags: UInt32,
    reply: consuming EmptyReply)

  /// open(2) with O_CREAT of a name that the kernel believes absent; `flags` are open(2)'s. `mode` is
  /// without the umask's bits. The handle in the answer is the filesystem's own number.
  func create(
    _ parent: NodeID, name: [UInt8], mode: UInt32, flags: Int32, caller: Caller,
    reply: consuming CreateReply)
  /// open(2); `flags` may hold O_TRUNC, which the filesystem carries out (atomic O_TRUNC).
  func open(_ node: NodeID, flags: Int32, reply: consuming OpenReply)
  /// Up to `size` bytes from `offset`; fewer mean the end of the file.
  func read(_ node: NodeID, handle: UInt64, offset: UInt64, size: Int, reply: consuming ReadReply)
  /// `data` is valid until this returns. `isWriteBack` says that the kernel writes back a mapping
  /// or its cache (FUSE_WRITE_CACHE) rather than passing on a write(2).
  func write(
    _ node: NodeID, handle: UInt64, offset: UInt64, data: UnsafeRawBufferPointer,
    isWriteBack: Bool, reply: consuming WriteReply)
  /// One close(2) of possibly many.
  func flush(_ node: NodeID, handle: UInt64, reply: consuming EmptyReply)
  /// The last reference (descriptors and mappings) is gone.
  func release(_ node: NodeID, handle: UInt64, flags: Int32, reply: consuming EmptyReply)
  /// fsync(2); fdatasync(2) and msync(2) with `dataOnly`. After the kernel's write-back.
  func fsync(_ node: NodeID, handle: UInt64, dataOnly: Bool, reply: consuming EmptyReply)
  /// `mode` is fallocate(2)'s.
  func fallocate(
    _ node: NodeID, handle: UInt64, mode: Int32, offset: Int64, length: Int64,
    reply: consuming EmptyReply)
  /// `whence` is SEEK_DATA or SEEK_HOLE.
  func lseek(
    _ node: NodeID, handle: UInt64, offset: Int64, whence: Int32, reply: consuming SeekReply)

  /// opendir(3).
  func opendir(_ node: NodeID, flags: Int32, reply: consuming OpenReply)
  /// getdents(2): entries from `offset`, which is 0 or an entry's `nextOffset`, in at most `size` bytes.
  func readdir(
    _ node: NodeID, handle: UInt64, offset: Int64, size: Int, reply: consuming DirectoryReply)
  /// The last reference on an open directory is gone.
  func releasedir(_ node: NodeID, handle: UInt64, reply: consuming EmptyReply)
  /// fsync(2) of a directory.
  func fsyncdir(_ node: NodeID, handle: UInt64, dataOnly: Bool, reply: consuming EmptyReply)

  /// statfs(2).
  func statfs(_ node: NodeID, reply: consuming StatfsReply)
  /// `flags` are setxattr(2)'s (XATTR_CREATE 1, XATTR_REPLACE 2).
  func setxattr(
    _ node: NodeID, name: [UInt8], value: [UInt8], flags: Int32, reply: consuming EmptyReply)
  /// `size` 0 asks for the length only; the reply does the rest (ERANGE).
  func getxattr(_ node: NodeID, name: [UInt8], size: Int, reply: consuming XattrReply)
  /// listxattr(2): names, each with a NUL behind it. `size` as in `getxattr`.
  func listxattr(_ node: NodeID, size: Int, reply: consuming XattrReply)
  /// removexattr(2).
  func removexattr(_ node: NodeID, name: [UInt8], reply: consuming EmptyReply)
  /// access(2), where the mount was made without `defaultPermissions`.
  func access(_ node: NodeID, mask: Int32, reply: consuming EmptyReply)
}

/// Who made a request.
public struct Caller: Sendable {
  /// The filesystem user.
  public var uid: UInt32
  /// The filesystem group.
  public var gid: UInt32
  /// The thread, as the daemon's pid namespace numbers it; 0 if it is not in there.
  public var pid: Int32
  /// The process's umask, for create, mkdir, mknod.
  public var umask: UInt32
  /// Makes a caller.
  public init(uid: UInt32, gid: UInt32, pid: Int32, umask: UInt32) {
    self.uid = uid
    self.gid = gid
    self.pid = pid
    self.umask = umask
  }
}

/// Seconds and nanoseconds since 1970.
public struct FileTime: Hashable, Sendable {
  /// Whole seconds; negative before 1970.
  public var seconds: Int64
  /// 0 to 999,999,999, forward from `seconds`.
  public var nanoseconds: Int64
  /// Makes a time.
  public init(seconds: Int64, nanoseconds: Int64) {
    self.seconds = seconds
    self.nanoseconds = nanoseconds
  }
}

/// What stat shows.
public struct FileAttributes: Sendable {
  /// `st_ino`.
  public var inode: UInt64
  /// `st_mode` with the file type.
  public var mode: UInt32
  /// `st_nlink`.
  public var linkCount: UInt32
  /// `st_uid`.
  public var uid: UInt32
  /// `st_gid`.
  public var gid: UInt32
  /// `st_size` in bytes; below 2^63.
  public var size: UInt64
  /// `st_blocks`, units of 512 bytes.
  public var blocks: UInt64
  /// `st_blksize`.
  public var blockSize: UInt32
  /// `st_atim`.
  public var accessed: FileTime
  /// `st_mtim`.
  public var modified: FileTime
  /// `st_ctim`.
  public var changed: FileTime
  /// Makes attributes.
  public init(
    inode: UInt64, mode: UInt32, linkCount: UInt32, uid: UInt32, gid: UInt32, size: UInt64,
    blocks: UInt64, blockSize: UInt32, accessed: FileTime, modified: FileTime, changed: FileTime
  ) {
    self.inode = inode
    self.mode = mode
    self.linkCount = linkCount
    self.uid = uid
    self.gid = gid
    self.size = size
    self.blocks = blocks
    self.blockSize = blockSize
    self.accessed = accessed
    self.modified = modified
    self.changed = changed
  }
}

/// A node as lookup, create and their kin hand it to the kernel.
public struct Entry: Sendable {
  /// 0 is a negative entry: the kernel remembers for `entryTimeout` that there is no such name.
  public var node: NodeID
  /// What stat shows of the node.
  public var attributes: FileAttributes
  /// How long the kernel may trust the name, in seconds.
  public var entryTimeout: Double
  /// How long the kernel may trust the attributes, in seconds.
  public var attributeTimeout: Double
  /// Makes an entry.
  public init(
    node: NodeID, attributes: FileAttributes, entryTimeout: Double, attributeTimeout: Double
  ) {
    self.node = node
    self.attributes = attributes
    self.entryTimeout = entryTimeout
    self.attributeTimeout = attributeTimeout
  }
}

/// What setattr changes; nil is "leave it".
public struct AttributeChanges: Sendable {
  /// A time to set.
  public enum Time: Sendable {
    /// The filesystem's clock at the request.
    case now
    /// The given one.
    case at(FileTime)
  }
  /// The permission bits (and the file type, unchanged).
  public var mode: UInt32?
  /// The new owner.
  public var uid: UInt32?
  /// The new group.
  public var gid: UInt32?
  /// The new size in bytes.
  public var size: UInt64?
  /// The time of the last access.
  public var accessed: Time?
  /// The time of the last change of the content.
  public var modified: Time?
  /// FUSE_SET_ATTR_CTIME.
  public var changed: FileTime?
  /// The kernel asks to clear set-user-ID and set-group-ID along with a change of the size
  /// (FATTR_KILL_SUIDGID); see ``FileAttributes/modeWithoutPrivileges``.
  public var clearsPrivileges: Bool
  /// Makes changes; what is not named is left.
  public init(
    mode: UInt32? = nil, uid: UInt32? = nil, gid: UInt32? = nil, size: UInt64? = nil,
    accessed: Time? = nil, modified: Time? = nil, changed: FileTime? = nil,
    clearsPrivileges: Bool = false
  ) {
    self.mode = mode
    self.uid = uid
    self.gid = gid
    self.size = size
    self.accessed = accessed
    self.modified = modified
    self.changed = changed
    self.clearsPrivileges = clearsPrivileges
  }
}

/// How an open file behaves in the kernel.
public struct OpenFlags: Sendable {
  /// The filesystem's own number; comes back with each request on the open file.
  public var handle: UInt64
  /// Keep the pages that the kernel has of this node.
  public var keepCache: Bool
  /// Bypass the page cache.
  public var directIO: Bool
  /// Makes flags.
  public init(handle: UInt64, keepCache: Bool = false, directIO: Bool = false) {
    self.handle = handle
    self.keepCache = keepCache
    self.directIO = directIO
  }
}

/// One name in a directory.
public struct DirectoryEntry: Sendable {
  /// 1 to 255 bytes, no NUL, no `/`.
  public var name: [UInt8]
  /// `d_ino`.
  public var inode: UInt64
  /// `st_mode`'s type bits (S_IFREG, …); 0 if unknown.
  public var type: UInt32
  /// Where readdir goes on after this entry.
  public var nextOffset: Int64
  /// Makes an entry.
  public init(name: [UInt8], inode: UInt64, type: UInt32, nextOffset: Int64) {
    self.name = name
    self.inode = inode
    self.type = type
    self.nextOffset = nextOffset
  }
}

/// What statvfs shows, in units of `blockSize`.
public struct FilesystemStatistics: Sendable {
  /// In bytes.
  public var blockSize: UInt64
  /// All blocks.
  public var blocks: UInt64
  /// Blocks free to everyone.
  public var freeBlocks: UInt64
  /// All inodes.
  public var files: UInt64
  /// Inodes free.
  public var freeFiles: UInt64
  /// The longest name, in bytes.
  public var nameLength: UInt64
  /// Makes figures.
  public init(
    blockSize: UInt64, blocks: UInt64, freeBlocks: UInt64, files: UInt64, freeFiles: UInt64,
    nameLength: UInt64
  ) {
    self.blockSize = blockSize
    self.blocks = blocks
    self.freeBlocks = freeBlocks
    self.files = files
    self.freeFiles = freeFiles
    self.nameLength = nameLength
  }
}
