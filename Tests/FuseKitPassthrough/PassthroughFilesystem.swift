import CAllocationCount
import FuseKit
import Glibc
import Synchronization

/// One file, `data`, with the size and content of an open file.
final class PassthroughFilesystem: FuseFilesystem {
  private static let dataNode: NodeID = 2
  private static let forever = 86_400.0
  private static let largestRead = 128 << 10

  private let descriptor: Int32
  /// A buffer of `largestRead` bytes for each thread.
  private let buffers: pthread_key_t
  private let readCount = Atomic<Int>(0)
  // Signed: `min` of an unsigned atomic compares as if it were (Swift 6.3.1).
  private let firstCount = Atomic<Int>(.max)
  private let lastCount = Atomic<Int>(0)

  init(descriptor: Int32) {
    self.descriptor = descriptor
    var key = pthread_key_t()
    let result = unsafe pthread_key_create(&key, { unsafe free($0) })
    precondition(result == 0)
    buffers = key
  }

  var reads: Int { readCount.load(ordering: .relaxed) }
  /// Blocks allocated between the first READ and the last.
  var allocations: Int {
    reads == 0 ? 0 : lastCount.load(ordering: .relaxed) - firstCount.load(ordering: .relaxed)
  }

  private func buffer() -> UnsafeMutableRawBufferPointer {
    var memory = unsafe pthread_getspecific(buffers)
    if unsafe memory == nil {
      unsafe memory = aligned_alloc(4096, Self.largestRead)
      unsafe pthread_setspecific(buffers, memory)
    }
    return unsafe UnsafeMutableRawBufferPointer(
      start: memory, count: memory == nil ? 0 : Self.largestRead)
  }

  private func attributes(_ node: NodeID) -> FileAttributes {
    var status = stat()
    unsafe fstat(descriptor, &status)
    let isData = node == Self.dataNode
    let modified = FileTime(seconds: Int64(status.st_mtim.tv_sec), nanoseconds: 0)
    return FileAttributes(
      inode: node, mode: isData ? S_IFREG | 0o644 : S_IFDIR | 0o755, linkCount: 1, uid: 0, gid: 0,
      size: isData ? UInt64(status.st_size) : 0, blocks: UInt64(status.st_blocks), blockSize: 4096,
      accessed: modified, modified: modified, changed: modified)
  }

  func read(_ node: NodeID, handle: UInt64, offset: UInt64, size: Int, reply: consuming ReadReply) {
    // Least and greatest: a thread may be held up between its count and its store.
    let allocated = Int(allocation_count())
    readCount.add(1, ordering: .relaxed)
    firstCount.min(allocated, ordering: .relaxed)
    lastCount.max(allocated, ordering: .relaxed)
    let buffer = unsafe buffer()
    guard size <= buffer.count else { return reply.error(EINVAL) }
    let count = unsafe pread(descriptor, buffer.baseAddress, size, off_t(offset))
    if count < 0 { return reply.error(EIO) }
    unsafe reply.data(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
  }
  func write(
    _ node: NodeID, handle: UInt64, offset: UInt64, data: UnsafeRawBufferPointer,
    isWriteBack: Bool, reply: consuming WriteReply
  ) {
    let count = unsafe pwrite(descriptor, data.baseAddress, data.count, off_t(offset))
    if count < 0 { reply.error(errno) } else { reply.written(count) }
  }
  func lookup(_ parent: NodeID, name: [UInt8], reply: consuming EntryReply) {
    guard parent == 1, name.elementsEqual("data".utf8) else { return reply.error(ENOENT) }
    reply.entry(
      Entry(
        node: Self.dataNode, attributes: attributes(Self.dataNode), entryTimeout: Self.forever,
        attributeTimeout: Self.forever))
  }
  func getattr(_ node: NodeID, handle: UInt64?, reply: consuming AttributeReply) {
    reply.attributes(attributes(node), timeout: Self.forever)
  }
  func open(_ node: NodeID, flags: Int32, reply: consuming OpenReply) {
    reply.opened(OpenFlags(handle: 0, keepCache: true))
  }
  func fsync(_ node: NodeID, handle: UInt64, dataOnly: Bool, reply: consuming EmptyReply) {
    let result = dataOnly ? fdatasync(descriptor) : Glibc.fsync(descriptor)
    reply.error(result == 0 ? 0 : errno)
  }
  func release(_ node: NodeID, handle: UInt64, flags: Int32, reply: consuming EmptyReply) {
    reply.success()
  }

  // What the twin in C leaves out, and the kernel does without.
  func destroy() {}
  func interrupted(_ key: UInt64) {}
  func forget(_ node: NodeID, count: UInt64) {}
  func setattr(
    _ node: NodeID, changes: AttributeChanges, handle: UInt64?, caller: Caller,
    reply: consuming AttributeReply
  ) { reply.error(ENOSYS) }
  func readlink(_ node: NodeID, reply: consuming BytesReply) { reply.error(ENOSYS) }
  func mkdir(
    _ parent: NodeID, name: [UInt8], mode: UInt32, caller: Caller, reply: consuming EntryReply
  ) { reply.error(ENOSYS) }
  func symlink(
    _ parent: NodeID, name: [UInt8], target: [UInt8], caller: Caller, reply: consuming EntryReply
  ) { reply.error(ENOSYS) }
  func mknod(
    _ parent: NodeID, name: [UInt8], mode: UInt32, caller: Caller, reply: consuming EntryReply
  ) { reply.error(ENOSYS) }
  func link(_ node: NodeID, newParent: NodeID, newName: [UInt8], reply: consuming EntryReply) {
    reply.error(ENOSYS)
  }
  func unlink(_ parent: NodeID, name: [UInt8], reply: consuming EmptyReply) { reply.error(ENOSYS) }
  func rmdir(_ parent: NodeID, name: [UInt8], reply: consuming EmptyReply) { reply.error(ENOSYS) }
  func rename(
    _ parent: NodeID, name: [UInt8], newParent: NodeID, newName: [UInt8], flags: UInt32,
    reply: consuming EmptyReply
  ) { reply.error(ENOSYS) }
  func create(
    _ parent: NodeID, name: [UInt8], mode: UInt32, flags: Int32, caller: Caller,
    reply: consuming CreateReply
  ) { reply.error(ENOSYS) }
  func flush(_ node: NodeID, handle: UInt64, reply: consuming EmptyReply) { reply.error(ENOSYS) }
  func fallocate(
    _ node: NodeID, handle: UInt64, mode: Int32, offset: Int64, length: Int64,
    reply: consuming EmptyReply
  ) { reply.error(ENOSYS) }
  func lseek(
    _ node: NodeID, handle: UInt64, offset: Int64, whence: Int32, reply: consuming SeekReply
  ) { reply.error(ENOSYS) }
  func opendir(_ node: NodeID, flags: Int32, reply: consuming OpenReply) { reply.error(ENOSYS) }
  func readdir(
    _ node: NodeID, handle: UInt64, offset: Int64, size: Int, reply: consuming DirectoryReply
  ) { reply.error(ENOSYS) }
  func releasedir(_ node: NodeID, handle: UInt64, reply: consuming EmptyReply) {
    reply.error(ENOSYS)
  }
  func fsyncdir(_ node: NodeID, handle: UInt64, dataOnly: Bool, reply: consuming EmptyReply) {
    reply.error(ENOSYS)
  }
  func statfs(_ node: NodeID, reply: consuming StatfsReply) { reply.error(ENOSYS) }
  func setxattr(
    _ node: NodeID, name: [UInt8], value: [UInt8], flags: Int32, reply: consuming EmptyReply
  ) { reply.error(ENOSYS) }
  func getxattr(_ node: NodeID, name: [UInt8], size: Int, reply: consuming XattrReply) {
    reply.error(ENOSYS)
  }
  func listxattr(_ node: NodeID, size: Int, reply: consuming XattrReply) { reply.error(ENOSYS) }
  func removexattr(_ node: NodeID, name: [UInt8], reply: consuming EmptyReply) {
    reply.error(ENOSYS)
  }
  func access(_ node: NodeID, mask: Int32, reply: consuming EmptyReply) { reply.error(ENOSYS) }
}
