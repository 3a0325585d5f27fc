import CFuse
import Glibc

/// Answers with success or an errno only.
public struct EmptyReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  /// Success.
  public consuming func success() { error(0) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}

/// Answers with a node.
public struct EntryReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  public consuming func entry(_ entry: Entry) { error(ENOSYS) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}

/// Answers with attributes that the kernel may trust for `timeout` seconds.
public struct AttributeReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  public consuming func attributes(_ attributes: FileAttributes, timeout: Double) { error(ENOSYS) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}

/// Answers with bytes (a symlink's target).
public struct BytesReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  public consuming func bytes(_ bytes: [UInt8]) { error(ENOSYS) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}

/// Answers with a new node and its open handle.
public struct CreateReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  public consuming func created(_ entry: Entry, _ flags: OpenFlags) { error(ENOSYS) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}

/// Answers with an open handle.
public struct OpenReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  public consuming func opened(_ flags: OpenFlags) { error(ENOSYS) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}

/// Answers with data.
public struct ReadReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  public consuming func data(_ bytes: UnsafeRawBufferPointer) { error(ENOSYS) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}

/// Answers with the number of bytes taken.
public struct WriteReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  public consuming func written(_ count: Int) { error(ENOSYS) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}

/// Answers with an offset.
public struct SeekReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  public consuming func offset(_ offset: Int64) { error(ENOSYS) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}

/// Answers with as many entries as fit `size` bytes.
public struct DirectoryReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  public consuming func entries(_ entries: some Sequence<DirectoryEntry>, size: Int) { error(ENOSYS) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}

/// Answers with the filesystem's figures.
public struct StatfsReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  public consuming func statistics(_ statistics: FilesystemStatistics) { error(ENOSYS) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}

/// Answers with a value, or its length if `size` is 0, or ERANGE.
public struct XattrReply: ~Copyable, Sendable {
  nonisolated(unsafe) let request: fuse_req_t
  init(_ request: fuse_req_t) { unsafe self.request = unsafe request }
  /// libfuse `fuse_reply_err`; `errno` is not 0.
  public consuming func error(_ errno: Int32) {
    unsafe fuse_reply_err(request, errno)
    discard self
  }
  public consuming func value(_ value: [UInt8], size: Int) { error(ENOSYS) }
  deinit { unsafe fuse_reply_err(request, EIO) }
}
