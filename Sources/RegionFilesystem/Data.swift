import CLinux
import FuseKit
import Glibc
import RegionCore
import Synchronization

/// An open file, as its handle names it.
final class OpenFile: Sendable {
  let group: Group
  let region: Region
  let isWritable: Bool

  init(group: Group, region: Region, isWritable: Bool) {
    self.group = group
    self.region = region
    self.isWritable = isWritable
  }

  /// The handle that stands for one more reference to this object.
  var handle: UInt64 { UInt64(UInt(bitPattern: unsafe Unmanaged.passRetained(self).toOpaque())) }

  /// The object of a handle that `handle` made and nobody released.
  static func of(_ handle: UInt64) -> OpenFile? {
    guard let pointer = unsafe UnsafeRawPointer(bitPattern: UInt(handle)) else { return nil }
    // SAFETY: the kernel sends only handles that open or create answered, until release.
    return unsafe Unmanaged<OpenFile>.fromOpaque(pointer).takeUnretainedValue()
  }

  /// Gives the handle's reference back.
  static func release(_ handle: UInt64) {
    guard let pointer = unsafe UnsafeRawPointer(bitPattern: UInt(handle)) else { return }
    unsafe Unmanaged<OpenFile>.fromOpaque(pointer).release()
  }
}

/// Files: open, read, write, sync. The data path.
extension RegionFilesystem {
  // MARK: Opening

  /// FUSE_CREATE.
  public func create(
    _ parent: NodeID, name: [UInt8], mode: UInt32, flags: Int32, caller: Caller,
    reply: consuming CreateReply
  ) {
    let box = parking.hold(reply, .changing)
    make(NewInode(kind: .file, mode: mode, caller: caller), name, in: parent) {
      [self] group, inode in
      do throws(RegionError) {
        let opened = try group.open(inode.id, writable: true)
        let file = OpenFile(group: group, region: opened.region, isWritable: true)
        guard let reply = box.take() else { return }
        let handle = file.handle
        let flags = OpenFlags(handle: handle, keepCache: true)
        if !reply.created(entry(inode, of: group), flags) { close(handle) }
      } catch {
        box.take()?.error(error.code)
      }
    } orElse: { code in
      // Another mount made the name since it was looked up: ESTALE has the kernel look again, and open.
      let isOvertaken = code == EEXIST && parent == Self.top && flags & O_EXCL == 0
      box.take()?.error(isOvertaken ? ESTALE : code)
    }
  }

  /// FUSE_OPEN. A claim comes before the first writable open is answered.
  public func open(_ id: NodeID, flags: Int32, reply: consuming OpenReply) {
    guard let node = node(id) else { return reply.error(id == Self.top ? EISDIR : ESTALE) }
    let isWritable = flags & O_ACCMODE != O_RDONLY
    let box = parking.hold(reply, isWritable || flags & O_TRUNC != 0 ? .writing : .reading)
    if isWritable || flags & O_TRUNC != 0 || mustClaimToRead(node.group) {
      asWriter(node.group) { [self] () throws(RegionError) in
        try open(node, writable: isWritable, truncating: flags & O_TRUNC != 0, box)
      } orElse: {
        box.take()?.error($0)
      }
    } else if node.group.isWriter {
      openForReading(node, box)
    } else {
      engine.executor.spawn { [self] in
        await node.group.refresh(maxAge: .seconds(1))
        openForReading(node, box)
      }
    }
  }

  private func openForReading(_ node: Node, _ box: ReplyBox<OpenReply>) {
    do throws(RegionError) {
      try open(node, writable: false, truncating: false, box)
    } catch {
      box.take()?.error(error.code)
    }
  }

  private func open(_ node: Node, writable: Bool, truncating: Bool, _ box: ReplyBox<OpenReply>)
    throws(RegionError)
  {
    let opened = try node.group.open(node.file, writable: writable)
    let region = opened.region
    let answer: @Sendable (Int32) -> Void = { code in
      guard code == 0, let reply = box.take() else {
        node.group.close(node.file, writable: writable)
        box.take()?.error(code)
        return
      }
      let file = OpenFile(group: node.group, region: region, isWritable: writable)
      let handle = file.handle
      if !reply.opened(OpenFlags(handle: handle, keepCache: opened.keepCache)) {
        self.close(handle)
      }
    }
    if truncating {
      if box.withReply({ $0.clearsPrivileges }) == true {
        clearPrivileges(of: node.file, in: node.group)
      }
      return change(node.group, region) {
        node.group.resize(region, to: 0)
      } answer: {
        answer($0)
      }
    }
    node.group.replayTrace(opening: region)
    switch engine.settings.pull {
    case .background: region.pullAll(reason: "pull=background")
    case .full:
      // The daemon's own threads touch what there is; one that waited would hold up the unmount.
      let caller = box.withReply { $0.callerThread } ?? 0
      if linux_is_own_thread(caller) == 0 {
        return region.pullAll(reason: "pull=full") { answer(0) }
      }
    case .auto, .lazy: break
    }
    answer(0)
  }

  // MARK: Reading

  /// FUSE_READ. A hit is answered here, without lock or allocation; a miss is parked.
  public func read(
    _ id: NodeID, handle: UInt64, offset: UInt64, size: Int, reply: consuming ReadReply
  ) {
    guard let file = OpenFile.of(handle) else { return reply.error(EBADF) }
    let scratch = ThreadScratch.buffer(size)
    let buffer = unsafe UnsafeMutableRawBufferPointer(rebasing: scratch.memory[0..<size])
    // What the kernel reads because it was told to must not pass for a program that reads in order.
    let isProgram = reply.callerThread != prefillThread.load(ordering: .relaxed)
    switch unsafe file.region.readPresent(offset, into: buffer, isProgram: isProgram) {
    case .bytes(let count): unsafe reply.data(UnsafeRawBufferPointer(rebasing: buffer[0..<count]))
    case .lent(let loan):
      unsafe reply.data(loan.bytes)
      file.region.giveBack(loan)
    case .missed: park(file, offset, size, isProgram: isProgram, reply)
    case .failed(let error): fail(error, reply)
    }
  }

  private func park(
    _ file: OpenFile, _ offset: UInt64, _ size: Int, isProgram: Bool, _ reply: consuming ReadReply
  ) {
    // A read of one page may be the retry of one that was given up: it always stays.
    let box = parking.hold(reply, .reading, isReadAhead: size > 4096)
    demand(file, offset, size, isProgram: isProgram, box)
  }

  /// Waits for the bytes and answers with them; again if they were dropped before they were read.
  private func demand(
    _ file: OpenFile, _ offset: UInt64, _ size: Int, isProgram: Bool, _ box: ReplyBox<ReadReply>
  ) {
    let end = min(offset + UInt64(size), max(offset, file.region.size))
    file.region.demand(offset..<end, counts: isProgram) { [self] outcome in
      if case .failed(let error) = outcome {
        box.take()?.error(error.code)
        return
      }
      guard box.isHeld else { return }
      let scratch = ThreadScratch.buffer(size)
      let buffer = unsafe UnsafeMutableRawBufferPointer(rebasing: scratch.memory[0..<size])
      var result = unsafe file.region.readPresent(offset, into: buffer, isProgram: isProgram)
      if case .missed = result { result = unsafe file.region.readData(offset, into: buffer) }
      if case .missed = result { return demand(file, offset, size, isProgram: isProgram, box) }
      unsafe answer(box.take(), result, buffer, file.region)
    }
  }

  /// Answers a parked read, unless it was interrupted meanwhile.
  private func answer(
    _ reply: consuming ReadReply?, _ result: Region.HitResult,
    _ buffer: UnsafeMutableRawBufferPointer, _ region: Region
  ) {
    switch result {
    case .bytes(let count):
      unsafe reply?.data(UnsafeRawBufferPointer(rebasing: buffer[0..<count]))
    case .lent(let loan):
      unsafe reply?.data(loan.bytes)
      region.giveBack(loan)
    case .failed(let error):
      if let reply { fail(error, reply) }
    case .missed: reply?.error(EIO)
    }
  }

  private func fail(_ error: LocalError, _ reply: consuming ReadReply) {
    engine.log(.error, "cannot read the cache: \(error)")
    reply.error(EIO)
  }

  // MARK: Writing

  /// FUSE_WRITE: logged, applied, answered.
  public func write(
    _ id: NodeID, handle: UInt64, offset: UInt64, data: UnsafeRawBufferPointer, isWriteBack: Bool,
    reply: consuming WriteReply
  ) {
    guard let file = OpenFile.of(handle) else { return reply.error(EBADF) }
    if reply.clearsPrivileges { clearPrivileges(of: file.region.file, in: file.group) }
    let outcome = unsafe file.group.write(
      file.region, at: offset, data, isWriteBack: isWriteBack)
    switch outcome {
    case .done: return answer(file.group, data.count, reply)
    case .failed(let error) where error != .unclaimed: return reply.error(error.code)
    default: break
    }
    // It has to wait: with a copy, because the kernel's buffer is used again.
    let copy = IOBuffer(capacity: data.count)
    unsafe copy.append(data)
    let box = parking.hold(reply, .writing)
    let count = data.count
    asWriter(file.group) { [self] () throws(RegionError) in
      change(file.group, file.region) {
        // Given up by its caller: it must not happen behind its back.
        guard box.isHeld else { return .failed(.interrupted) }
        return unsafe file.group.write(
          file.region, at: offset, copy.bytes, isWriteBack: isWriteBack)
      } answer: { code in
        if code == 0 { box.take()?.written(count) } else { box.take()?.error(code) }
      }
    } orElse: {
      box.take()?.error($0)
    }
  }

  /// Answers a write that was accepted; later, if the log fills up.
  private func answer(_ group: Group, _ count: Int, _ reply: consuming WriteReply) {
    let delay = group.answerDelay(bytes: count)
    guard delay > .milliseconds(1) else { return reply.written(count) }
    engine.slowedWrites.add(1, ordering: .relaxed)
    let box = parking.hold(reply, .changing)
    engine.executor.spawn { [self] in
      await engine.clock.sleep(for: delay)
      box.take()?.written(count)
    }
  }

  /// Takes set-id bits away before the unprivileged change content.
  private func clearPrivileges(of file: FileID, in group: Group) {
    guard let inode = group.inode(file), Self.setIDBits(inode.mode) != 0 else { return }
    do throws(RegionError) {
      _ = try group.editInode(file) { (inode, now) throws(RegionError) in
        inode.mode &= ~Self.setIDBits(inode.mode)
        inode.changed = now
      }
    } catch {
      // The write that follows fails for the same reason and says so.
      engine.log(.debug, "set-id bits of \(file) stay: \(error)")
    }
  }

  /// Tries a change until it is done or refused; between the tries it waits for bytes or for room.
  func change(
    _ group: Group, _ region: Region, _ attempt: @escaping @Sendable () -> Group.Outcome,
    answer: @escaping @Sendable (Int32) -> Void
  ) {
    switch attempt() {
    case .done: answer(0)
    case .failed(let error): answer(error.code)
    case .waitFor(let bytes):
      region.demand(bytes, counts: false) { [self] outcome in
        switch outcome {
        case .ready: change(group, region, attempt, answer: answer)
        case .failed(let error): answer(error.code)
        }
      }
    case .waitForRoom:
      group.whenThereIsRoom { [self] in change(group, region, attempt, answer: answer) }
    }
  }

  /// FUSE_FALLOCATE.
  public func fallocate(
    _ id: NodeID, handle: UInt64, mode: Int32, offset: Int64, length: Int64,
    reply: consuming EmptyReply
  ) {
    let (keepSize, punchHole, zeroRange): (Int32, Int32, Int32) = (0x01, 0x02, 0x10)
    guard let file = OpenFile.of(handle) else { return reply.error(EBADF) }
    guard offset >= 0, length > 0, UInt64(offset) + UInt64(length) <= Limits.regionSize else {
      return reply.error(offset >= 0 && length > 0 ? EFBIG : EINVAL)
    }
    let range = UInt64(offset)..<UInt64(offset) + UInt64(length)
    let size = max(file.region.size, range.upperBound)
    let box = parking.hold(reply, .changing)
    let attempt: @Sendable () -> Group.Outcome
    switch mode {
    case 0: attempt = { file.group.zero(file.region, 0..<0, size: size) }
    case keepSize: attempt = { .done }
    case punchHole | keepSize, zeroRange | keepSize:
      attempt = { file.group.zero(file.region, range, size: nil) }
    case zeroRange: attempt = { file.group.zero(file.region, range, size: size) }
    default:
      box.take()?.error(EOPNOTSUPP)
      return
    }
    asWriter(file.group) { [self] () throws(RegionError) in
      change(file.group, file.region, attempt) { box.take()?.error($0) }
    } orElse: {
      box.take()?.error($0)
    }
  }

  /// FUSE_LSEEK with SEEK_DATA or SEEK_HOLE.
  public func lseek(
    _ id: NodeID, handle: UInt64, offset: Int64, whence: Int32, reply: consuming SeekReply
  ) {
    guard let file = OpenFile.of(handle) else { return reply.error(EBADF) }
    let box = parking.hold(reply, .reading)
    let search: @Sendable () -> Void = { [self] in
      engine.executor.spawn { await self.seek(file, offset, whence, box) }
    }
    guard let handOver = handOver.withLock({ $0 }),
      file.group.isOpenForWriting(file.region.file)
    else { return search() }
    guard let top = groups.name(of: file.group),
      let path = file.group.path(of: file.region.file)
    else {
      // Without a name nobody can have its pages handed over. Who hears EINVAL takes all for data.
      box.take()?.error(EINVAL)
      return
    }
    handOver([top] + path, search)
  }

  private func seek(_ file: OpenFile, _ offset: Int64, _ whence: Int32, _ box: ReplyBox<SeekReply>)
    async
  {
    let seekData: Int32 = 3
    guard offset >= 0, UInt64(offset) < file.region.size else {
      box.take()?.error(ENXIO)
      return
    }
    do throws(RegionError) {
      let found = try await file.region.seek(UInt64(offset), data: whence == seekData)
      guard let found else {
        box.take()?.error(ENXIO)
        return
      }
      box.take()?.offset(Int64(found))
    } catch {
      box.take()?.error(error.code)
    }
  }

  // MARK: Syncing and closing

  /// FUSE_FLUSH: a close promises nothing.
  public func flush(_ id: NodeID, handle: UInt64, reply: consuming EmptyReply) { reply.success() }

  /// FUSE_FSYNC.
  public func fsync(_ id: NodeID, handle: UInt64, dataOnly: Bool, reply: consuming EmptyReply) {
    guard let file = OpenFile.of(handle) else { return reply.error(EBADF) }
    sync(file.group, reply)
  }

  func sync(_ group: Group, _ reply: consuming EmptyReply) {
    // The local disk answers soon. Were the wait open to interrupts, a mere SIGALRM would make
    // msync(2) fail with EINTR, which no program expects.
    if engine.settings.sync == .local {
      let box = ReplyBox(reply)
      return group.sync { box.take()?.error($0?.code ?? 0) }
    }
    let box = parking.hold(reply, .changing)
    group.sync { box.take()?.error($0?.code ?? 0) }
  }

  /// FUSE_RELEASE: no descriptor and no mapping is left.
  public func release(_ id: NodeID, handle: UInt64, flags: Int32, reply: consuming EmptyReply) {
    close(handle)
    reply.success()
  }

  /// Ends an open file: released, or never heard of because its opener was interrupted.
  private func close(_ handle: UInt64) {
    guard let file = OpenFile.of(handle) else { return }
    file.group.close(file.region.file, writable: file.isWritable)
    OpenFile.release(handle)
  }
}
