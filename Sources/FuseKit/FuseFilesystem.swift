/// The kernel's name for an inode: 1 is the root of the mount.
public typealias NodeID = UInt64

/// What a filesystem has to answer. FuseKit calls these on its own threads; none may wait for a
/// network or for another request. Every reply is answered exactly once, now or later and from any
/// thread; a reply that is dropped answers EIO.
///
/// Names are raw bytes as the kernel sends them (no NUL, no `/`).
public protocol FuseFilesystem: AnyObject, Sendable {
  /// The session is over (unmounted); nothing can be answered any more. libfuse `destroy`.
  func destroy()

  func lookup(_ parent: NodeID, name: [UInt8], reply: consuming EntryReply)
  /// The kernel dropped `count` references to the node. libfuse `forget`, `forget_multi`.
  func forget(_ node: NodeID, count: UInt64)
  func getattr(_ node: NodeID, handle: UInt64?, reply: consuming AttributeReply)
  func setattr(
    _ node: NodeID, changes: AttributeChanges, handle: UInt64?, caller: Caller,
    reply: consuming AttributeReply)
  func readlink(_ node: NodeID, reply: consuming BytesReply)
  func mkdir(
    _ parent: NodeID, name: [UInt8], mode: UInt32, caller: Caller, reply: consuming EntryReply)
  func symlink(
    _ parent: NodeID, name: [UInt8], target: [UInt8], caller: Caller, reply: consuming EntryReply)
  /// mknod of a regular file; anything else is refused by FuseKit with EPERM.
  func mknod(
    _ parent: NodeID, name: [UInt8], mode: UInt32, caller: Caller, reply: consuming EntryReply)
  func link(
    _ node: NodeID, newParent: NodeID, newName: [UInt8], reply: consuming EntryReply)
  func unlink(_ parent: NodeID, name: [UInt8], reply: consuming EmptyReply)
  func rmdir(_ parent: NodeID, name: [UInt8], reply: consuming EmptyReply)
  /// `flags` are renameat2's (RENAME_NOREPLACE 1, RENAME_EXCHANGE 2).
  func rename(
    _ parent: NodeID, name: [UInt8], newParent: NodeID, newName: [UInt8], flags: UInt32,
    reply: consuming EmptyReply)

  func create(
    _ parent: NodeID, name: [UInt8], mode: UInt32, flags: Int32, caller: Caller,
    reply: consuming CreateReply)
  func open(_ node: NodeID, flags: Int32, reply: consuming OpenReply)
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
  func fsync(_ node: NodeID, handle: UInt64, dataOnly: Bool, reply: consuming EmptyReply)
  /// `mode` is fallocate(2)'s.
  func fallocate(
    _ node: NodeID, handle: UInt64, mode: Int32, offset: Int64, length: Int64,
    reply: consuming EmptyReply)
  /// `whence` is SEEK_DATA or SEEK_HOLE.
  func lseek(
    _ node: NodeID, handle: UInt64, offset: Int64, whence: Int32, reply: consuming SeekReply)

  func opendir(_ node: NodeID, flags: Int32, reply: consuming OpenReply)
  func readdir(
    _ node: NodeID, handle: UInt64, offset: Int64, size: Int, reply: consuming DirectoryReply)
  func releasedir(_ node: NodeID, handle: UInt64, reply: consuming EmptyReply)
  func fsyncdir(_ node: NodeID, handle: UInt64, dataOnly: Bool, reply: consuming EmptyReply)

  func statfs(_ node: NodeID, reply: consuming StatfsReply)
  /// `flags` are setxattr(2)'s (XATTR_CREATE 1, XATTR_REPLACE 2).
  func setxattr(
    _ node: NodeID, name: [UInt8], value: [UInt8], flags: Int32, reply: consuming EmptyReply)
  /// `size` 0 asks for the length only; the reply does the rest (ERANGE).
  func getxattr(_ node: NodeID, name: [UInt8], size: Int, reply: consuming XattrReply)
  func listxattr(_ node: NodeID, size: Int, reply: consuming XattrReply)
  func removexattr(_ node: NodeID, name: [UInt8], reply: consuming EmptyReply)
  func access(_ node: NodeID, mask: Int32, reply: consuming EmptyReply)
}

/// Who made a request.
public struct Caller: Sendable {
  public var uid: UInt32
  public var gid: UInt32
  public var pid: Int32
  /// The process's umask, for create, mkdir, mknod.
  public var umask: UInt32
}

/// Seconds and nanoseconds since 1970.
public struct FileTime: Hashable, Sendable {
  public var seconds: Int64
  public var nanoseconds: Int64
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
  public var linkCount: UInt32
  public var uid: UInt32
  public var gid: UInt32
  public var size: UInt64
  /// `st_blocks`, units of 512 bytes.
  public var blocks: UInt64
  /// `st_blksize`.
  public var blockSize: UInt32
  public var accessed: FileTime
  public var modified: FileTime
  public var changed: FileTime
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
  public var attributes: FileAttributes
  /// How long the kernel may trust the name, in seconds.
  public var entryTimeout: Double
  /// How long the kernel may trust the attributes, in seconds.
  public var attributeTimeout: Double
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
  public enum Time: Sendable {
    case now
    case at(FileTime)
  }
  public var mode: UInt32?
  public var uid: UInt32?
  public var gid: UInt32?
  public var size: UInt64?
  public var accessed: Time?
  public var modified: Time?
  /// FUSE_SET_ATTR_CTIME.
  public var changed: FileTime?
}

/// How an open file behaves in the kernel.
public struct OpenFlags: Sendable {
  public var handle: UInt64
  /// Keep the pages that the kernel has of this node.
  public var keepCache: Bool
  /// Bypass the page cache.
  public var directIO: Bool
  public init(handle: UInt64, keepCache: Bool = false, directIO: Bool = false) {
    self.handle = handle
    self.keepCache = keepCache
    self.directIO = directIO
  }
}

/// One name in a directory.
public struct DirectoryEntry: Sendable {
  public var name: [UInt8]
  public var inode: UInt64
  /// `st_mode`'s type bits (S_IFREG, …); 0 if unknown.
  public var type: UInt32
  /// Where readdir goes on after this entry.
  public var nextOffset: Int64
  public init(name: [UInt8], inode: UInt64, type: UInt32, nextOffset: Int64) {
    self.name = name
    self.inode = inode
    self.type = type
    self.nextOffset = nextOffset
  }
}

/// What statvfs shows, in units of `blockSize`.
public struct FilesystemStatistics: Sendable {
  public var blockSize: UInt64
  public var blocks: UInt64
  public var freeBlocks: UInt64
  public var files: UInt64
  public var freeFiles: UInt64
  public var nameLength: UInt64
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
