import FuseKit
import Glibc
import RegionCore

/// An open directory: its entries as they were when it was opened.
final class OpenDirectory: Sendable {
  let entries: [DirectoryEntry]
  let group: Group?

  init(entries: [DirectoryEntry], group: Group?) {
    self.entries = entries
    self.group = group
  }

  var handle: UInt64 { UInt64(UInt(bitPattern: unsafe Unmanaged.passRetained(self).toOpaque())) }

  static func of(_ handle: UInt64) -> OpenDirectory? {
    guard let pointer = unsafe UnsafeRawPointer(bitPattern: UInt(handle)) else { return nil }
    // SAFETY: the kernel sends only handles that opendir answered, until releasedir.
    return unsafe Unmanaged<OpenDirectory>.fromOpaque(pointer).takeUnretainedValue()
  }

  static func release(_ handle: UInt64) {
    guard let pointer = unsafe UnsafeRawPointer(bitPattern: UInt(handle)) else { return }
    unsafe Unmanaged<OpenDirectory>.fromOpaque(pointer).release()
  }
}

extension RegionFilesystem {
  /// FUSE_OPENDIR.
  public func opendir(_ id: NodeID, flags: Int32, reply: consuming OpenReply) {
    let box = parking.hold(reply, .reading)
    if id == Self.top {
      engine.executor.spawn { [self] in
        do throws(RegionError) {
          let names = try await topNames().map { (name: $0, inode: UInt64(1), type: UInt32(0)) }
          answer(OpenDirectory(entries: Self.numbered(names, own: 1), group: nil), box)
        } catch {
          box.take()?.error(error.code)
        }
      }
      return
    }
    guard let node = node(id) else {
      box.take()?.error(ESTALE)
      return
    }
    if node.group.isWriter { return open(node, box) }
    engine.executor.spawn { [self] in
      await node.group.refresh(maxAge: .seconds(1))
      open(node, box)
    }
  }

  private func open(_ node: Node, _ box: ReplyBox<OpenReply>) {
    do throws(RegionError) {
      let inodes = try node.group.entries(of: node.file)
      let names = inodes.compactMap { inode in
        inode.name.map {
          (name: $0, inode: inodeNumber(node.group, inode.id), type: Self.type(inode.kind))
        }
      }
      let entries = Self.numbered(names, own: inodeNumber(node.group, node.file))
      answer(OpenDirectory(entries: entries, group: node.group), box)
    } catch {
      box.take()?.error(error.code)
    }
  }

  private func answer(_ directory: OpenDirectory, _ box: ReplyBox<OpenReply>) {
    guard let reply = box.take() else { return }
    let handle = directory.handle
    // Nobody will release what an interrupted opener never heard of.
    if !reply.opened(OpenFlags(handle: handle)) { OpenDirectory.release(handle) }
  }

  private static func type(_ kind: InodeKind) -> UInt32 {
    switch kind {
    case .file: S_IFREG
    case .directory: S_IFDIR
    case .symlink: S_IFLNK
    }
  }

  private static func numbered(
    _ names: [(name: FileName, inode: UInt64, type: UInt32)], own: UInt64
  ) -> [DirectoryEntry] {
    let dots = [".", ".."].enumerated().map { index, name in
      DirectoryEntry(
        name: Array(name.utf8), inode: own, type: S_IFDIR, nextOffset: Int64(index + 1))
    }
    return dots
      + names.enumerated().map { index, entry in
        DirectoryEntry(
          name: entry.name.bytes, inode: entry.inode, type: entry.type,
          nextOffset: Int64(index + 3))
      }
  }

  /// FUSE_READDIR.
  public func readdir(
    _ id: NodeID, handle: UInt64, offset: Int64, size: Int, reply: consuming DirectoryReply
  ) {
    guard let directory = OpenDirectory.of(handle) else { return reply.error(EBADF) }
    guard offset >= 0 else { return reply.error(EINVAL) }
    reply.entries(directory.entries.dropFirst(Int(offset)), size: size)
  }

  /// FUSE_RELEASEDIR.
  public func releasedir(_ id: NodeID, handle: UInt64, reply: consuming EmptyReply) {
    OpenDirectory.release(handle)
    reply.success()
  }

  /// FUSE_FSYNCDIR: names are in the same log as data.
  public func fsyncdir(
    _ id: NodeID, handle: UInt64, dataOnly: Bool, reply: consuming EmptyReply
  ) {
    // Names at the top are in the store when their operation is answered.
    guard let group = OpenDirectory.of(handle)?.group else { return reply.success() }
    sync(group, reply)
  }

  /// FUSE_STATFS: as much room as anybody may want; the store has no end.
  public func statfs(_ id: NodeID, reply: consuming StatfsReply) {
    let blocks: UInt64 = 1 << 40
    let totals = groups.all.map(\.totals)
    let used = totals.reduce(0) { $0 + $1.bytes >> 12 }
    let files = totals.reduce(0) { $0 + UInt64($1.inodes) }
    reply.statistics(
      FilesystemStatistics(
        blockSize: 4096, blocks: blocks, freeBlocks: blocks - min(used, blocks), files: 1 << 32,
        freeFiles: 1 << 32 - min(files, 1 << 32), nameLength: UInt64(Limits.nameLength)))
  }

  /// FUSE_ACCESS: the kernel checks permissions itself (`default_permissions`).
  public func access(_ id: NodeID, mask: Int32, reply: consuming EmptyReply) {
    reply.error(ENOSYS)
  }
}
