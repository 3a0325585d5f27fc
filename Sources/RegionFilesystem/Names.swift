import FuseKit
import Glibc
import RegionCore

/// Names and attributes inside groups; the top directory's own are in `TopNames`.
extension RegionFilesystem {
  /// FUSE_LOOKUP.
  public func lookup(_ parent: NodeID, name: [UInt8], reply: consuming EntryReply) {
    if parent == Self.top { return lookupTop(name, reply) }
    guard let node = node(parent) else { return reply.error(ESTALE) }
    guard name.count <= Limits.nameLength else { return reply.error(ENAMETOOLONG) }
    guard let name = FileName(name), let inode = node.group.child(name, of: node.file) else {
      return reply.error(ENOENT)
    }
    answer(inode, of: node.group, reply)
  }

  /// Answers a lookup. Where the kernel will own the size it is told, the group is claimed first, so
  /// that nobody else can change it.
  func answer(_ inode: Inode, of group: Group, _ reply: consuming EntryReply) {
    guard inode.kind == .file, mustClaimToRead(group) else {
      reply.entry(entry(inode, of: group))
      return
    }
    answer(inode, claiming: group, parking.hold(reply, .writing))
  }

  /// The same, of a lookup that waits already.
  func answer(_ inode: Inode, of group: Group, _ box: ReplyBox<EntryReply>) {
    guard inode.kind == .file, mustClaimToRead(group) else {
      box.take()?.entry(entry(inode, of: group))
      return
    }
    answer(inode, claiming: group, box)
  }

  private func answer(_ inode: Inode, claiming group: Group, _ box: ReplyBox<EntryReply>) {
    asWriter(group) { [self] () throws(RegionError) in
      guard let now = group.inode(inode.id), !group.isUnlinked(inode.id) else { throw .notFound }
      box.take()?.entry(entry(now, of: group))
    } orElse: {
      box.take()?.error($0)
    }
  }

  /// Whether files of the group may be known to the kernel only once this mount has claimed it.
  func mustClaimToRead(_ group: Group) -> Bool {
    engine.settings.keepsClaims && group.isFollower
  }

  /// FUSE_GETATTR.
  public func getattr(_ id: NodeID, handle: UInt64?, reply: consuming AttributeReply) {
    if id == Self.top { return reply.attributes(topAttributes, timeout: Self.timeout) }
    guard let node = node(id), let inode = node.group.inode(node.file) else {
      return reply.error(ESTALE)
    }
    reply.attributes(attributes(inode, of: node.group), timeout: Self.timeout)
  }

  /// FUSE_SETATTR.
  public func setattr(
    _ id: NodeID, changes: AttributeChanges, handle: UInt64?, caller: Caller,
    reply: consuming AttributeReply
  ) {
    if id == Self.top { return reply.error(EPERM) }
    guard let node = node(id) else { return reply.error(ESTALE) }
    let box = parking.hold(reply, .changing)
    let answer: @Sendable (Int32) -> Void = { [self] code in
      guard code == 0 else {
        box.take()?.error(code)
        return
      }
      guard let inode = node.group.inode(node.file) else {
        box.take()?.error(ESTALE)
        return
      }
      box.take()?.attributes(attributes(inode, of: node.group), timeout: Self.timeout)
    }
    asWriter(node.group) { [self] () throws(RegionError) in
      let hasOthers =
        changes.mode != nil || changes.uid != nil || changes.gid != nil || changes.accessed != nil
        || changes.modified != nil || changes.clearsPrivileges
      if hasOthers {
        _ = try node.group.editInode(node.file) { (inode, now) throws(RegionError) in
          change(&inode, changes, caller, now)
        }
      }
      if let size = changes.size {
        try resize(node, to: size, answer)
      } else {
        answer(0)
      }
    } orElse: {
      box.take()?.error($0)
    }
  }

  private func change(
    _ inode: inout Inode, _ changes: AttributeChanges, _ caller: Caller, _ now: Timestamp
  ) {
    if let mode = changes.mode { inode.mode = UInt16(mode & 0o7777) }
    if changes.uid != nil || changes.gid != nil {
      inode.uid = changes.uid ?? inode.uid
      inode.gid = changes.gid ?? inode.gid
    }
    // Set-id bits do not survive a change of owner, nor of content by the unprivileged; the kernel
    // leaves that to us.
    let clears = changes.uid != nil || changes.gid != nil || changes.clearsPrivileges
    if clears, inode.kind == .file, changes.mode == nil {
      inode.mode &= ~Self.setIDBits(inode.mode)
    }
    if let time = changes.accessed { inode.accessed = timestamp(time, now) }
    if let time = changes.modified { inode.modified = timestamp(time, now) }
    inode.changed = now
  }

  /// The bits that a write or a chown takes away: set-gid only where it does not mean locking.
  static func setIDBits(_ mode: UInt16) -> UInt16 {
    mode & 0o010 != 0 ? mode & 0o6000 : mode & 0o4000
  }

  private func timestamp(_ time: AttributeChanges.Time, _ now: Timestamp) -> Timestamp {
    switch time {
    case .now: now
    case .at(let time): Timestamp(time)
    }
  }

  private func resize(_ node: Node, to size: UInt64, _ answer: @escaping @Sendable (Int32) -> Void)
    throws(RegionError)
  {
    guard size <= Limits.regionSize else { throw .tooLarge }
    let region = try node.group.open(node.file, writable: true).region
    change(node.group, region) {
      node.group.resize(region, to: size)
    } answer: { code in
      node.group.close(node.file, writable: true)
      answer(code)
    }
  }

  /// FUSE_READLINK.
  public func readlink(_ id: NodeID, reply: consuming BytesReply) {
    guard let node = node(id), let inode = node.group.inode(node.file) else {
      return reply.error(ESTALE)
    }
    guard inode.kind == .symlink else { return reply.error(EINVAL) }
    reply.bytes(inode.target)
  }

  // MARK: Making

  /// What is to be made.
  struct NewInode: Sendable {
    var kind: InodeKind
    var mode: UInt32
    var caller: Caller
    var target: [UInt8] = []
  }

  /// FUSE_MKDIR.
  public func mkdir(
    _ parent: NodeID, name: [UInt8], mode: UInt32, caller: Caller, reply: consuming EntryReply
  ) {
    make(NewInode(kind: .directory, mode: mode, caller: caller), name, in: parent, reply)
  }

  /// FUSE_SYMLINK.
  public func symlink(
    _ parent: NodeID, name: [UInt8], target: [UInt8], caller: Caller, reply: consuming EntryReply
  ) {
    make(
      NewInode(kind: .symlink, mode: 0o777, caller: caller, target: target), name, in: parent, reply
    )
  }

  /// FUSE_MKNOD of a regular file.
  public func mknod(
    _ parent: NodeID, name: [UInt8], mode: UInt32, caller: Caller, reply: consuming EntryReply
  ) {
    make(NewInode(kind: .file, mode: mode, caller: caller), name, in: parent, reply)
  }

  private func make(
    _ new: NewInode, _ name: [UInt8], in parent: NodeID, _ reply: consuming EntryReply
  ) {
    let box = parking.hold(reply, .changing)
    make(new, name, in: parent) { [self] group, inode in
      box.take()?.entry(entry(inode, of: group))
    } orElse: {
      box.take()?.error($0)
    }
  }

  /// Makes an inode at the top or in a group.
  func make(
    _ new: NewInode, _ bytes: [UInt8], in parent: NodeID,
    _ done: @escaping @Sendable (Group, Inode) -> Void,
    orElse fail: @escaping @Sendable (Int32) -> Void
  ) {
    let name: FileName
    do throws(RegionError) { name = try self.name(bytes) } catch { return fail(error.code) }
    if parent == Self.top { return makeTop(new, name, done, orElse: fail) }
    guard let node = node(parent) else { return fail(ESTALE) }
    asWriter(node.group) { () throws(RegionError) in
      let inode = try node.group.edit { (namespace, now) throws(RegionError) in
        try namespace.make(
          new.kind, name: name, in: node.file, mode: UInt16(new.mode & 0o7777),
          uid: new.caller.uid, gid: new.caller.gid, target: new.target, at: now)
      }
      done(node.group, inode)
    } orElse: {
      fail($0)
    }
  }

  /// FUSE_LINK: there are no hard links.
  public func link(
    _ id: NodeID, newParent: NodeID, newName: [UInt8], reply: consuming EntryReply
  ) {
    reply.error(EPERM)
  }

  // MARK: Removing and renaming

  /// FUSE_UNLINK.
  public func unlink(_ parent: NodeID, name: [UInt8], reply: consuming EmptyReply) {
    remove(name, in: parent, directory: false, reply)
  }

  /// FUSE_RMDIR.
  public func rmdir(_ parent: NodeID, name: [UInt8], reply: consuming EmptyReply) {
    remove(name, in: parent, directory: true, reply)
  }

  private func remove(
    _ bytes: [UInt8], in parent: NodeID, directory: Bool, _ reply: consuming EmptyReply
  ) {
    let name: FileName
    do throws(RegionError) { name = try self.name(bytes) } catch { return reply.error(error.code) }
    let box = parking.hold(reply, .changing)
    if parent == Self.top { return removeTop(name, directory: directory, box) }
    guard let node = node(parent) else {
      box.take()?.error(ESTALE)
      return
    }
    asWriter(node.group) { () throws(RegionError) in
      _ = try node.group.edit { (namespace, now) throws(RegionError) in
        try namespace.remove(name, in: node.file, directory: directory, at: now)
      }
      box.take()?.success()
    } orElse: {
      box.take()?.error($0)
    }
  }

  /// renameat2's flags.
  private static let noReplace: UInt32 = 1
  private static let exchange: UInt32 = 2

  /// FUSE_RENAME2.
  public func rename(
    _ parent: NodeID, name: [UInt8], newParent: NodeID, newName: [UInt8], flags: UInt32,
    reply: consuming EmptyReply
  ) {
    guard flags == 0 || flags == Self.noReplace || flags == Self.exchange else {
      return reply.error(EINVAL)
    }
    let old: FileName
    let new: FileName
    do throws(RegionError) {
      old = try self.name(name)
      new = try self.name(newName)
    } catch {
      return reply.error(error.code)
    }
    let box = parking.hold(reply, .changing)
    if parent == Self.top, newParent == Self.top {
      guard flags != Self.exchange else {
        box.take()?.error(EINVAL)
        return
      }
      return renameTop(old, to: new, replacing: flags == 0, box)
    }
    guard let from = node(parent), let into = node(newParent), from.group === into.group else {
      box.take()?.error(EXDEV)
      return
    }
    asWriter(from.group) { () throws(RegionError) in
      try from.group.edit { (namespace, now) throws(RegionError) in
        if flags == Self.exchange {
          return (
            (), try namespace.exchange(old, in: from.file, with: new, in: into.file, at: now)
          )
        }
        let plan = try namespace.rename(
          old, in: from.file, to: new, in: into.file, replacing: flags == 0, at: now)
        return ((), plan.changes)
      }
      box.take()?.success()
    } orElse: {
      box.take()?.error($0)
    }
  }
}
