import CFuse
import Glibc

// Each reply type is answered exactly once: its answering functions consume it, and its deinit
// answers EIO. `discard self` keeps the deinit from answering a second time.

/// Answers with success or an errno only.
public struct EmptyReply: ~Copyable, Sendable {
  let request: Request
  init(_ request: Request) { self.request = request }
  /// libfuse `fuse_reply_err`.
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// Success.
  public consuming func success() { error(0) }
  /// Asks for `FuseFilesystem.interrupted(key)` when the caller is interrupted; see
  /// ``ReadReply/armInterrupt(key:)``.
  public borrowing func armInterrupt(key: UInt64) -> Bool { request.armInterrupt(key: key) }
  deinit { request.fail(EIO) }
}

/// Answers with a node.
public struct EntryReply: ~Copyable, Sendable {
  let request: Request
  init(_ request: Request) { self.request = request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// libfuse `fuse_reply_entry`. False if the kernel did not take the answer: then it holds no
  /// reference on the node and sends no forget for it.
  @discardableResult
  public consuming func entry(_ entry: Entry) -> Bool {
    let parameter = entry.parameter
    let taken = unsafe request.answer("fuse_reply_entry") { request in
      unsafe withUnsafePointer(to: parameter) { unsafe fuse_reply_entry(request, $0) }
    }
    discard self
    return taken
  }
  deinit { request.fail(EIO) }
}

/// Answers with attributes that the kernel may trust for `timeout` seconds.
public struct AttributeReply: ~Copyable, Sendable {
  let request: Request
  init(_ request: Request) { self.request = request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// libfuse `fuse_reply_attr`.
  public consuming func attributes(_ attributes: FileAttributes, timeout: Double) {
    let status = attributes.status
    unsafe request.answer("fuse_reply_attr") { request in
      unsafe withUnsafePointer(to: status) { unsafe fuse_reply_attr(request, $0, timeout) }
    }
    discard self
  }
  deinit { request.fail(EIO) }
}

/// Answers with bytes (a symlink's target).
public struct BytesReply: ~Copyable, Sendable {
  let request: Request
  init(_ request: Request) { self.request = request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// libfuse `fuse_reply_readlink`. A target that is empty, holds a NUL or is longer than
  /// PATH_MAX - 1 bytes cannot be sent: it answers EIO and is reported.
  public consuming func bytes(_ bytes: [UInt8]) {
    let request = request
    discard self
    guard !bytes.isEmpty, bytes.count < Int(PATH_MAX), !bytes.contains(0) else {
      request.reject("a symbolic link's target of \(bytes.count) bytes")
      return
    }
    // SAFETY: libfuse measures the text by strlen; `withCString` ends it with a NUL.
    unsafe request.answer("fuse_reply_readlink") { request in
      unsafe withCString(of: bytes) { unsafe fuse_reply_readlink(request, $0) }
    }
  }
  deinit { request.fail(EIO) }
}

/// Answers with a new node and its open handle.
public struct CreateReply: ~Copyable, Sendable {
  let request: Request
  /// The kernel asks to clear set-user-ID and set-group-ID of an existing file that is truncated
  /// here (FUSE_OPEN_KILL_SUIDGID); see ``FileAttributes/modeWithoutPrivileges``.
  public let clearsPrivileges: Bool
  init(_ request: Request, clearsPrivileges: Bool) {
    self.request = request
    self.clearsPrivileges = clearsPrivileges
  }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// libfuse `fuse_reply_create`. False if the kernel did not take the answer: then no release of
  /// the handle and no forget of the node will come.
  @discardableResult
  public consuming func created(_ entry: Entry, _ flags: OpenFlags) -> Bool {
    let parameter = entry.parameter
    let information = flags.information
    let taken = unsafe request.answer("fuse_reply_create") { request in
      unsafe withUnsafePointer(to: parameter) { parameter in
        unsafe withUnsafePointer(to: information) { information in
          unsafe fuse_reply_create(request, parameter, information)
        }
      }
    }
    discard self
    return taken
  }
  deinit { request.fail(EIO) }
}

/// Answers with an open handle.
public struct OpenReply: ~Copyable, Sendable {
  let request: Request
  /// The kernel asks to clear set-user-ID and set-group-ID of the file that this open truncates
  /// (FUSE_OPEN_KILL_SUIDGID); see ``FileAttributes/modeWithoutPrivileges``.
  public let clearsPrivileges: Bool
  init(_ request: Request, clearsPrivileges: Bool) {
    self.request = request
    self.clearsPrivileges = clearsPrivileges
  }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// libfuse `fuse_reply_open`. False if the kernel did not take the answer (the open was
  /// interrupted): then no release of the handle will come, the filesystem must do it itself.
  @discardableResult
  public consuming func opened(_ flags: OpenFlags) -> Bool {
    let information = flags.information
    let taken = unsafe request.answer("fuse_reply_open") { request in
      unsafe withUnsafePointer(to: information) { unsafe fuse_reply_open(request, $0) }
    }
    discard self
    return taken
  }
  deinit { request.fail(EIO) }
}

/// Answers with data.
public struct ReadReply: ~Copyable, Sendable {
  let request: Request
  init(_ request: Request) { self.request = request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// libfuse `fuse_reply_buf`: one writev(2) straight from `bytes`, which may go when this returns.
  /// Fewer bytes than were asked for end the file there (the kernel fills up with zeros).
  /// Allocates nothing.
  public consuming func data(_ bytes: UnsafeRawBufferPointer) {
    // SAFETY: libfuse only reads the memory, within the call.
    unsafe request.answer("fuse_reply_buf") { request in
      unsafe fuse_reply_buf(
        request, bytes.baseAddress?.assumingMemoryBound(to: CChar.self), bytes.count)
    }
    discard self
  }
  /// Asks for `FuseFilesystem.interrupted(key)` when a process that waits for this reply is
  /// interrupted. libfuse `fuse_req_interrupt_func`; once per reply.
  ///
  /// Returns true if the interrupt has come already: then `interrupted` is **not** called, and the
  /// caller answers EINTR itself, at once.
  ///
  /// Otherwise `interrupted(key)` may be called on another thread before this returns. To lose no
  /// interrupt, call this while holding the lock of the table in which replies are parked, put the
  /// reply into the table before unlocking, and take the same lock in `interrupted` to look for the
  /// key. This is free of deadlock: nothing that this function waits for is held during the calls
  /// of `interrupted`. Answering needs no order with respect to interrupts: an interrupt that loses
  /// the race finds no key. A key is used once in the life of a session, because an `interrupted`
  /// for an answered reply may come late.
  public borrowing func armInterrupt(key: UInt64) -> Bool { request.armInterrupt(key: key) }
  deinit { request.fail(EIO) }
}

/// Answers with the number of bytes taken.
public struct WriteReply: ~Copyable, Sendable {
  let request: Request
  /// The kernel asks to clear set-user-ID and set-group-ID of the file, because the writer is not
  /// privileged (FUSE_WRITE_KILL_SUIDGID); see ``FileAttributes/modeWithoutPrivileges``.
  public let clearsPrivileges: Bool
  init(_ request: Request, clearsPrivileges: Bool) {
    self.request = request
    self.clearsPrivileges = clearsPrivileges
  }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// libfuse `fuse_reply_write`.
  public consuming func written(_ count: Int) {
    unsafe request.answer("fuse_reply_write") { unsafe fuse_reply_write($0, count) }
    discard self
  }
  deinit { request.fail(EIO) }
}

/// Answers with an offset.
public struct SeekReply: ~Copyable, Sendable {
  let request: Request
  init(_ request: Request) { self.request = request }
  /// libfuse `fuse_reply_err`; `errno` is not 0 (ENXIO: no data, or no hole, beyond the offset).
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// libfuse `fuse_reply_lseek`.
  public consuming func offset(_ offset: Int64) {
    unsafe request.answer("fuse_reply_lseek") { unsafe fuse_reply_lseek($0, off_t(offset)) }
    discard self
  }
  deinit { request.fail(EIO) }
}

/// Answers with as many entries as fit `size` bytes.
public struct DirectoryReply: ~Copyable, Sendable {
  let request: Request
  init(_ request: Request) { self.request = request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// libfuse `fuse_add_direntry` and `fuse_reply_buf`. Takes from `entries` as many as fit `size`
  /// bytes, and one more if there is one; the kernel comes back with the last one's `nextOffset`.
  /// No entry at all ends the directory. `size` is the request's.
  ///
  /// A name that the kernel would refuse (empty, longer than 255 bytes, with a NUL or a `/`)
  /// answers EIO and is reported.
  public consuming func entries(_ entries: some Sequence<DirectoryEntry>, size: Int) {
    let request = request
    discard self
    do throws(InvalidName) {
      try sendEntries(entries, size: size, to: request)
    } catch {
      request.reject("a directory entry's name of \(error.length) bytes")
    }
  }
  deinit { request.fail(EIO) }
}

/// Answers with the filesystem's figures.
public struct StatfsReply: ~Copyable, Sendable {
  let request: Request
  init(_ request: Request) { self.request = request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// libfuse `fuse_reply_statfs`.
  public consuming func statistics(_ statistics: FilesystemStatistics) {
    let status = statistics.status
    unsafe request.answer("fuse_reply_statfs") { request in
      unsafe withUnsafePointer(to: status) { unsafe fuse_reply_statfs(request, $0) }
    }
    discard self
  }
  deinit { request.fail(EIO) }
}

/// Answers with a value, or its length if `size` is 0, or ERANGE.
public struct XattrReply: ~Copyable, Sendable {
  let request: Request
  init(_ request: Request) { self.request = request }
  /// libfuse `fuse_reply_err`; `errno` is not 0 (ENODATA: no such attribute).
  public consuming func error(_ errno: Int32) {
    request.fail(errno)
    discard self
  }
  /// libfuse `fuse_reply_xattr` for `size` 0, else `fuse_reply_buf`, or ERANGE if `value` is longer
  /// than `size`. `size` is the request's.
  public consuming func value(_ value: [UInt8], size: Int) {
    let request = request
    discard self
    if size == 0 {
      unsafe request.answer("fuse_reply_xattr") { unsafe fuse_reply_xattr($0, value.count) }
    } else if value.count > size {
      request.fail(ERANGE)
    } else {
      // SAFETY: libfuse only reads the memory, within the call.
      unsafe value.withUnsafeBytes { value in
        _ = unsafe request.answer("fuse_reply_buf") { request in
          unsafe fuse_reply_buf(
            request, value.baseAddress?.assumingMemoryBound(to: CChar.self), value.count)
        }
      }
    }
  }
  deinit { request.fail(EIO) }
}
