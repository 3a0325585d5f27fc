import CFuse
import Glibc

/// libfuse's table of callbacks. Each one turns C values into the contract's and passes on.
///
/// What is missing stays nil, so the kernel gets ENOSYS, remembers it and does without: flock, getlk
/// and setlk (locks stay in the kernel), poll, ioctl, bmap, copy_file_range, readdirplus.
///
/// SAFETY of the whole file: libfuse calls with a valid request, with names that end with a NUL, and
/// with pointers that are valid until the callback returns.
enum Operations {
  @unsafe
  static func table() -> fuse_lowlevel_ops {
    var table = fuse_lowlevel_ops()
    unsafe table.`init` = { userData, connection in
      guard let userData = unsafe userData, let connection = unsafe connection else { return }
      unsafe Unmanaged<SessionCore>.fromOpaque(userData)._withUnsafeGuaranteedRef {
        unsafe $0.negotiate(&connection.pointee)
      }
    }
    addNodes(to: &table)
    addNames(to: &table)
    addFiles(to: &table)
    addDirectories(to: &table)
    addAttributes(to: &table)
    return table
  }

  private static func addNodes(to table: inout fuse_lowlevel_ops) {
    unsafe table.lookup = { request, parent, name in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.lookup(
        parent, name: unsafe bytes(of: name), reply: EntryReply(request))
    }
    unsafe table.forget = { request, node, count in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.forget(node, count: count)
      request.finishWithoutAnswer()
    }
    unsafe table.forget_multi = { request, count, nodes in
      guard let request = unsafe request.map(Request.init) else { return }
      let forgotten = unsafe UnsafeBufferPointer(start: nodes, count: count)
      unsafe forgotten.forEach { request.filesystem.forget($0.ino, count: $0.nlookup) }
      request.finishWithoutAnswer()
    }
    unsafe table.getattr = { request, node, file in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.getattr(
        node, handle: unsafe file?.pointee.fh, reply: AttributeReply(request))
    }
    unsafe table.setattr = { request, node, status, valid, file in
      guard let request = unsafe request.map(Request.init), let status = unsafe status else {
        return
      }
      request.filesystem.setattr(
        node, changes: unsafe AttributeChanges(status.pointee, valid: valid),
        handle: unsafe file?.pointee.fh, caller: request.caller(), reply: AttributeReply(request))
    }
    unsafe table.access = { request, node, mask in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.access(node, mask: mask, reply: EmptyReply(request))
    }
    unsafe table.statfs = { request, node in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.statfs(node, reply: StatfsReply(request))
    }
  }

  private static func addNames(to table: inout fuse_lowlevel_ops) {
    unsafe table.readlink = { request, node in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.readlink(node, reply: BytesReply(request))
    }
    unsafe table.mknod = { request, parent, name, mode, _ in
      guard let request = unsafe request.map(Request.init) else { return }
      guard mode & S_IFMT == S_IFREG || mode & S_IFMT == 0 else { return request.fail(EPERM) }
      request.filesystem.mknod(
        parent, name: unsafe bytes(of: name), mode: mode, caller: request.caller(),
        reply: EntryReply(request))
    }
    unsafe table.mkdir = { request, parent, name, mode in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.mkdir(
        parent, name: unsafe bytes(of: name), mode: mode, caller: request.caller(),
        reply: EntryReply(request))
    }
    unsafe table.symlink = { request, target, parent, name in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.symlink(
        parent, name: unsafe bytes(of: name), target: unsafe bytes(of: target),
        caller: request.caller(), reply: EntryReply(request))
    }
    unsafe table.link = { request, node, newParent, newName in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.link(
        node, newParent: newParent, newName: unsafe bytes(of: newName), reply: EntryReply(request))
    }
    unsafe table.unlink = { request, parent, name in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.unlink(
        parent, name: unsafe bytes(of: name), reply: EmptyReply(request))
    }
    unsafe table.rmdir = { request, parent, name in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.rmdir(parent, name: unsafe bytes(of: name), reply: EmptyReply(request))
    }
    unsafe table.rename = { request, parent, name, newParent, newName, flags in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.rename(
        parent, name: unsafe bytes(of: name), newParent: newParent,
        newName: unsafe bytes(of: newName), flags: flags, reply: EmptyReply(request))
    }
  }

  private static func addFiles(to table: inout fuse_lowlevel_ops) {
    unsafe table.create = { request, parent, name, mode, file in
      guard let request = unsafe request.map(Request.init) else { return }
      let body = CurrentMessage.body(FUSE_CREATE, as: fuse_create_in.self)
      request.filesystem.create(
        parent, name: unsafe bytes(of: name), mode: mode, flags: unsafe file?.pointee.flags ?? 0,
        caller: request.caller(),
        reply: CreateReply(
          request, clearsPrivileges: Operations.killsPrivileges(open: body?.open_flags)))
    }
    unsafe table.open = { request, node, file in
      guard let request = unsafe request.map(Request.init) else { return }
      let body = CurrentMessage.body(FUSE_OPEN, as: fuse_open_in.self)
      request.filesystem.open(
        node, flags: unsafe file?.pointee.flags ?? 0,
        reply: OpenReply(
          request, clearsPrivileges: Operations.killsPrivileges(open: body?.open_flags)))
    }
    unsafe table.read = { request, node, size, offset, file in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.read(
        node, handle: unsafe file?.pointee.fh ?? 0, offset: UInt64(bitPattern: Int64(offset)),
        size: size, reply: ReadReply(request))
    }
    // `write`, not `write_buf`: the data is a pointer into the loop's receive buffer, not copied.
    unsafe table.write = { request, node, data, size, offset, file in
      guard let request = unsafe request.map(Request.init) else { return }
      let flags = CurrentMessage.body(FUSE_WRITE, as: fuse_write_in.self)?.write_flags ?? 0
      unsafe request.filesystem.write(
        node, handle: file?.pointee.fh ?? 0, offset: UInt64(bitPattern: Int64(offset)),
        data: UnsafeRawBufferPointer(start: data, count: size),
        isWriteBack: file?.pointee.writepage == 1,
        reply: WriteReply(request, clearsPrivileges: flags & UInt32(FUSE_WRITE_KILL_SUIDGID) != 0))
    }
    unsafe table.flush = { request, node, file in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.flush(
        node, handle: unsafe file?.pointee.fh ?? 0, reply: EmptyReply(request))
    }
    unsafe table.release = { request, node, file in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.release(
        node, handle: unsafe file?.pointee.fh ?? 0, flags: unsafe file?.pointee.flags ?? 0,
        reply: EmptyReply(request))
    }
    unsafe table.fsync = { request, node, dataOnly, file in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.fsync(
        node, handle: unsafe file?.pointee.fh ?? 0, dataOnly: dataOnly != 0,
        reply: EmptyReply(request))
    }
    unsafe table.fallocate = { request, node, mode, offset, length, file in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.fallocate(
        node, handle: unsafe file?.pointee.fh ?? 0, mode: mode, offset: Int64(offset),
        length: Int64(length), reply: EmptyReply(request))
    }
    unsafe table.lseek = { request, node, offset, whence, file in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.lseek(
        node, handle: unsafe file?.pointee.fh ?? 0, offset: Int64(offset), whence: whence,
        reply: SeekReply(request))
    }
  }

  private static func addDirectories(to table: inout fuse_lowlevel_ops) {
    unsafe table.opendir = { request, node, file in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.opendir(
        node, flags: unsafe file?.pointee.flags ?? 0,
        reply: OpenReply(request, clearsPrivileges: false))
    }
    unsafe table.readdir = { request, node, size, offset, file in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.readdir(
        node, handle: unsafe file?.pointee.fh ?? 0, offset: Int64(offset), size: size,
        reply: DirectoryReply(request))
    }
    unsafe table.releasedir = { request, node, file in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.releasedir(
        node, handle: unsafe file?.pointee.fh ?? 0, reply: EmptyReply(request))
    }
    unsafe table.fsyncdir = { request, node, dataOnly, file in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.fsyncdir(
        node, handle: unsafe file?.pointee.fh ?? 0, dataOnly: dataOnly != 0,
        reply: EmptyReply(request))
    }
  }

  private static func addAttributes(to table: inout fuse_lowlevel_ops) {
    unsafe table.setxattr = { request, node, name, value, size, flags in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.setxattr(
        node, name: unsafe bytes(of: name),
        value: unsafe [UInt8](UnsafeRawBufferPointer(start: value, count: size)), flags: flags,
        reply: EmptyReply(request))
    }
    unsafe table.getxattr = { request, node, name, size in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.getxattr(
        node, name: unsafe bytes(of: name), size: size, reply: XattrReply(request))
    }
    unsafe table.listxattr = { request, node, size in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.listxattr(node, size: size, reply: XattrReply(request))
    }
    unsafe table.removexattr = { request, node, name in
      guard let request = unsafe request.map(Request.init) else { return }
      request.filesystem.removexattr(
        node, name: unsafe bytes(of: name), reply: EmptyReply(request))
    }
  }

  private static func killsPrivileges(open flags: UInt32?) -> Bool {
    (flags ?? 0) & UInt32(FUSE_OPEN_KILL_SUIDGID) != 0
  }
}
