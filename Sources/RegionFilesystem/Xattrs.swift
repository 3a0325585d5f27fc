import FuseKit
import Glibc
import RegionCore

/// Extended attributes: those of users (`user.*`), kept with the inode.
extension RegionFilesystem {
  private static let prefix = Array("user.".utf8)
  private static let create: Int32 = 1
  private static let replace: Int32 = 2

  /// FUSE_SETXATTR.
  public func setxattr(
    _ id: NodeID, name: [UInt8], value: [UInt8], flags: Int32, reply: consuming EmptyReply
  ) {
    guard name.starts(with: Self.prefix) else { return reply.error(EOPNOTSUPP) }
    if name == Self.pinnedName { return setPinned(id, value, reply: reply) }
    guard name.count <= Limits.xattrNameLength else { return reply.error(ERANGE) }
    guard value.count <= Limits.xattrValueLength else { return reply.error(E2BIG) }
    if name.starts(with: Self.ownPrefix) {
      guard let node = node(id) else { return reply.error(EPERM) }
      let code = setOwnAttribute(node, name, value)
      return code == 0 ? reply.success() : reply.error(code)
    }
    edit(id, reply) { (inode) throws(RegionError) in
      let at = inode.xattrs.firstIndex { $0.name == name }
      if flags & Self.create != 0, at != nil { throw .exists }
      if flags & Self.replace != 0, at == nil { throw .noAttribute }
      if let at {
        inode.xattrs[at].value = value
      } else {
        inode.xattrs.append(Inode.Xattr(name: name, value: value))
        inode.xattrs.sort { $0.name.lexicographicallyPrecedes($1.name) }
      }
      let total = inode.xattrs.reduce(0) { $0 + $1.name.count + $1.value.count }
      guard total <= Limits.xattrTotalLength else { throw .limitReached }
    }
  }

  /// FUSE_REMOVEXATTR.
  public func removexattr(_ id: NodeID, name: [UInt8], reply: consuming EmptyReply) {
    if name == Self.pinnedName { return setPinned(id, Array("none".utf8), reply: reply) }
    if name.starts(with: Self.ownPrefix) { return reply.error(EPERM) }
    edit(id, reply) { (inode) throws(RegionError) in
      guard let at = inode.xattrs.firstIndex(where: { $0.name == name }) else {
        throw .noAttribute
      }
      inode.xattrs.remove(at: at)
    }
  }

  private func edit(
    _ id: NodeID, _ reply: consuming EmptyReply,
    _ body: @escaping @Sendable (inout Inode) throws(RegionError) -> Void
  ) {
    guard let node = node(id) else { return reply.error(id == Self.top ? EPERM : ESTALE) }
    let box = parking.hold(reply, .changing)
    asWriter(node.group) { () throws(RegionError) in
      _ = try node.group.editInode(node.file) { (inode, now) throws(RegionError) in
        try body(&inode)
        inode.changed = now
      }
      box.take()?.success()
    } orElse: {
      box.take()?.error($0)
    }
  }

  /// FUSE_GETXATTR.
  public func getxattr(_ id: NodeID, name: [UInt8], size: Int, reply: consuming XattrReply) {
    guard name.starts(with: Self.prefix) else { return reply.error(EOPNOTSUPP) }
    guard id != Self.top else { return reply.error(ENODATA) }
    if name == Self.pinnedName { return getPinned(id, size: size, reply: reply) }
    guard let node = node(id), let inode = node.group.inode(node.file) else {
      return reply.error(ESTALE)
    }
    if name.starts(with: Self.ownPrefix) {
      guard let value = ownAttribute(node, name) else { return reply.error(ENODATA) }
      return reply.value(value, size: size)
    }
    guard let found = inode.xattrs.first(where: { $0.name == name }) else {
      return reply.error(ENODATA)
    }
    reply.value(found.value, size: size)
  }

  /// FUSE_LISTXATTR.
  public func listxattr(_ id: NodeID, size: Int, reply: consuming XattrReply) {
    guard id != Self.top else { return reply.value([], size: size) }
    guard let node = node(id), let inode = node.group.inode(node.file) else {
      return reply.error(ESTALE)
    }
    reply.value(inode.xattrs.flatMap { $0.name + [0] }, size: size)
  }
}
