import FuseKit
import Glibc

extension MemoryFilesystem {
  func destroy() { state.withLock { $0.counts["destroy", default: 0] += 1 } }

  func interrupted(_ key: UInt64) {
    let box = state.withLock { state in
      state.counts["interrupted", default: 0] += 1
      return state.parked.boxes.removeValue(forKey: key)
    }
    if let reply = box?.take() { reply.error(EINTR) }
  }

  func lookup(_ parent: NodeID, name: [UInt8], reply: consuming EntryReply) {
    answer(reply, "lookup") { state throws(Errno) in
      let id = try state.child(parent, name)
      return entry(id, try state.node(id))
    }
  }
  func forget(_ node: NodeID, count: UInt64) { state.withLock { $0.forgotten += count } }

  func getattr(_ node: NodeID, handle: UInt64?, reply: consuming AttributeReply) {
    do throws(Errno) {
      let found = try perform("getattr") { state throws(Errno) in try state.node(node) }
      reply.attributes(attributes(node, found), timeout: timeout)
    } catch { reply.error(error.code) }
  }
  func setattr(
    _ node: NodeID, changes: AttributeChanges, handle: UInt64?, caller: Caller,
    reply: consuming AttributeReply
  ) {
    do throws(Errno) {
      let found = try perform("setattr") { state throws(Errno) in
        var found = try state.node(node)
        if let mode = changes.mode { found.mode = found.mode & S_IFMT | mode & 0o7777 }
        if let size = changes.size {
          let size = Int(size)
          found.data =
            found.data.prefix(size) + Array(repeating: 0, count: max(0, size - found.data.count))
        }
        if case .at(let time) = changes.modified { found.modified = time }
        if changes.clearsPrivileges || changes.uid != nil || changes.gid != nil {
          found.mode = attributes(node, found).modeWithoutPrivileges
        }
        state.nodes[node] = found
        return found
      }
      reply.attributes(attributes(node, found), timeout: timeout)
    } catch { reply.error(error.code) }
  }
  func readlink(_ node: NodeID, reply: consuming BytesReply) {
    do throws(Errno) {
      reply.bytes(try perform("readlink") { state throws(Errno) in try state.node(node).data })
    } catch { reply.error(error.code) }
  }
  func mkdir(
    _ parent: NodeID, name: [UInt8], mode: UInt32, caller: Caller, reply: consuming EntryReply
  ) { make(Node(mode: S_IFDIR | mode), parent, name, reply) }
  func symlink(
    _ parent: NodeID, name: [UInt8], target: [UInt8], caller: Caller, reply: consuming EntryReply
  ) { make(Node(mode: S_IFLNK | 0o777, data: target), parent, name, reply) }
  func mknod(
    _ parent: NodeID, name: [UInt8], mode: UInt32, caller: Caller, reply: consuming EntryReply
  ) { make(Node(mode: S_IFREG | mode), parent, name, reply) }
  func link(_ node: NodeID, newParent: NodeID, newName: [UInt8], reply: consuming EntryReply) {
    reply.error(EPERM)
  }
  func unlink(_ parent: NodeID, name: [UInt8], reply: consuming EmptyReply) {
    answer(reply, "unlink") { state throws(Errno) in
      _ = try state.child(parent, name)
      state.nodes[parent]?.names[name] = nil
    }
  }
  func rmdir(_ parent: NodeID, name: [UInt8], reply: consuming EmptyReply) {
    answer(reply, "rmdir") { state throws(Errno) in
      if try !state.node(state.child(parent, name)).names.isEmpty { throw Errno(ENOTEMPTY) }
      state.nodes[parent]?.names[name] = nil
    }
  }
  func rename(
    _ parent: NodeID, name: [UInt8], newParent: NodeID, newName: [UInt8], flags: UInt32,
    reply: consuming EmptyReply
  ) {
    answer(reply, "rename") { state throws(Errno) in
      state.lastRenameFlags = flags
      let id = try state.child(parent, name)
      let former = try state.node(newParent).names[newName]
      if flags & 1 != 0, former != nil { throw Errno(EEXIST) }
      state.nodes[parent]?.names[name] = flags & 2 != 0 ? former : nil
      state.nodes[newParent]?.names[newName] = id
    }
  }

  func create(
    _ parent: NodeID, name: [UInt8], mode: UInt32, flags: Int32, caller: Caller,
    reply: consuming CreateReply
  ) {
    do throws(Errno) {
      let made = try perform("create") { state throws(Errno) in
        let node = Node(mode: S_IFREG | mode)
        return entry(state.insert(node, name, into: parent), node)
      }
      reply.created(made, OpenFlags(handle: made.node, keepCache: true))
    } catch { reply.error(error.code) }
  }
  func open(_ node: NodeID, flags: Int32, reply: consuming OpenReply) {
    let clears = reply.clearsPrivileges
    do throws(Errno) {
      try perform("open") { state throws(Errno) in
        var found = try state.node(node)
        if flags & O_TRUNC != 0 { found.data = [] }
        if clears { found.mode = attributes(node, found).modeWithoutPrivileges }
        state.nodes[node] = found
      }
      reply.opened(OpenFlags(handle: node, keepCache: true))
    } catch { reply.error(error.code) }
  }
  func read(_ node: NodeID, handle: UInt64, offset: UInt64, size: Int, reply: consuming ReadReply) {
    do throws(Errno) {
      let found = try perform("read") { state throws(Errno) in try state.node(node) }
      switch found.behaviour {
      case .dropped: return
      case .parked: park(reply)
      case .armedLate:
        // The test kills the reader while this waits; another thread takes the INTERRUPT.
        state.withLock { $0.counts["waiting", default: 0] += 1 }
        usleep(500_000)
        park(reply)
      case nil:
        let end = min(found.data.count, Int(offset) + size)
        let start = min(Int(offset), end)
        // Taken out of an optional, because a closure cannot consume what it captures.
        var pending: ReadReply? = consume reply
        unsafe found.data.withUnsafeBytes { bytes in
          unsafe pending.take()?.data(UnsafeRawBufferPointer(rebasing: bytes[start..<end]))
        }
      }
    } catch { reply.error(error.code) }
  }

  /// Parks as ReadReply.armInterrupt(key:) demands: armed and stored under one lock.
  private func park(_ reply: consuming ReadReply) {
    var parked: ReadReply? = consume reply
    let late: ParkedReplies.Box? = state.withLock { state in
      guard let reply = parked.take() else { return nil }
      let key = state.nextKey
      state.nextKey += 1
      let isInterrupted = reply.armInterrupt(key: key)
      state.counts[isInterrupted ? "interruptedBefore" : "parked", default: 0] += 1
      let box = ParkedReplies.Box(reply)
      if isInterrupted { return box }
      state.parked.boxes[key] = box
      return nil
    }
    if let reply = late?.take() { reply.error(EINTR) }
  }

  func write(
    _ node: NodeID, handle: UInt64, offset: UInt64, data: UnsafeRawBufferPointer,
    isWriteBack: Bool, reply: consuming WriteReply
  ) {
    let clears = reply.clearsPrivileges
    do throws(Errno) {
      let count = try perform("write") { state throws(Errno) in
        var found = try state.node(node)
        state.nodes[node] = nil
        if isWriteBack { state.writeBacks += 1 }
        let start = Int(offset)
        let end = start + data.count
        if found.data.count < end {
          found.data += Array(repeating: 0, count: end - found.data.count)
        }
        unsafe found.data.replaceSubrange(start..<end, with: data)
        if clears { found.mode = attributes(node, found).modeWithoutPrivileges }
        state.nodes[node] = found
        return data.count
      }
      reply.written(count)
    } catch { reply.error(error.code) }
  }
  func flush(_ node: NodeID, handle: UInt64, reply: consuming EmptyReply) {
    answer(reply, "flush") { _ in }
  }
  func release(_ node: NodeID, handle: UInt64, flags: Int32, reply: consuming EmptyReply) {
    answer(reply, "release") { _ in }
  }
  func fsync(_ node: NodeID, handle: UInt64, dataOnly: Bool, reply: consuming EmptyReply) {
    answer(reply, dataOnly ? "fdatasync" : "fsync") { _ in }
  }
  func fallocate(
    _ node: NodeID, handle: UInt64, mode: Int32, offset: Int64, length: Int64,
    reply: consuming EmptyReply
  ) { answer(reply, "fallocate") { _ throws(Errno) in throw Errno(EOPNOTSUPP) } }
  /// All is data.
  func lseek(
    _ node: NodeID, handle: UInt64, offset: Int64, whence: Int32, reply: consuming SeekReply
  ) {
    let size = data(of: node).count
    if offset >= size { return reply.error(ENXIO) }
    reply.offset(whence == seekData ? offset : Int64(size))
  }

  func opendir(_ node: NodeID, flags: Int32, reply: consuming OpenReply) {
    reply.opened(OpenFlags(handle: node))
  }
  func readdir(
    _ node: NodeID, handle: UInt64, offset: Int64, size: Int, reply: consuming DirectoryReply
  ) {
    let found = state.withLock { state in
      state.counts["readdir", default: 0] += 1
      return (state.nodes[node]?.names ?? [:]).sorted { $0.value < $1.value }
    }
    let entries = found.enumerated().dropFirst(Int(offset)).lazy.map { index, entry in
      DirectoryEntry(
        name: entry.key, inode: entry.value, type: 0, nextOffset: Int64(index) + 1)
    }
    reply.entries(entries, size: size)
  }
  func releasedir(_ node: NodeID, handle: UInt64, reply: consuming EmptyReply) { reply.success() }
  func fsyncdir(_ node: NodeID, handle: UInt64, dataOnly: Bool, reply: consuming EmptyReply) {
    answer(reply, "fsyncdir") { _ in }
  }

  func statfs(_ node: NodeID, reply: consuming StatfsReply) {
    reply.statistics(
      FilesystemStatistics(
        blockSize: 4096, blocks: 1000, freeBlocks: 500, files: 200, freeFiles: 100, nameLength: 255)
    )
  }
  func setxattr(
    _ node: NodeID, name: [UInt8], value: [UInt8], flags: Int32, reply: consuming EmptyReply
  ) {
    answer(reply, "setxattr") { state throws(Errno) in
      if flags & 1 != 0, try state.node(node).xattrs[name] != nil { throw Errno(EEXIST) }
      state.nodes[node]?.xattrs[name] = value
    }
  }
  func getxattr(_ node: NodeID, name: [UInt8], size: Int, reply: consuming XattrReply) {
    do throws(Errno) {
      let value = try perform("getxattr \(String(decoding: name, as: UTF8.self))") {
        state throws(Errno) in
        guard let value = try state.node(node).xattrs[name] else { throw Errno(ENODATA) }
        return value
      }
      reply.value(value, size: size)
    } catch { reply.error(error.code) }
  }
  func listxattr(_ node: NodeID, size: Int, reply: consuming XattrReply) {
    do throws(Errno) {
      let names = try perform("listxattr") { state throws(Errno) in
        Array(try state.node(node).xattrs.keys.joined(separator: [0])) + [0]
      }
      reply.value(names, size: size)
    } catch { reply.error(error.code) }
  }
  func removexattr(_ node: NodeID, name: [UInt8], reply: consuming EmptyReply) {
    answer(reply, "removexattr") { state throws(Errno) in
      if state.nodes[node]?.xattrs.removeValue(forKey: name) == nil { throw Errno(ENODATA) }
    }
  }
  func access(_ node: NodeID, mask: Int32, reply: consuming EmptyReply) { reply.success() }

  private func make(
    _ node: Node, _ parent: NodeID, _ name: [UInt8], _ reply: consuming EntryReply
  ) {
    answer(reply, "make") { state throws(Errno) in
      entry(state.insert(node, name, into: parent), node)
    }
  }
  private func answer(
    _ reply: consuming EmptyReply, _ operation: String, _ body: (inout State) throws(Errno) -> Void
  ) {
    do throws(Errno) {
      try perform(operation, body)
      reply.success()
    } catch { reply.error(error.code) }
  }
  private func answer(
    _ reply: consuming EntryReply, _ operation: String,
    _ body: (inout State) throws(Errno) -> Entry
  ) {
    do throws(Errno) { reply.entry(try perform(operation, body)) } catch { reply.error(error.code) }
  }
}
