import CFuse
import Glibc

/// What is added to libfuse's answer of INIT.
struct InitReplyPatch {
  /// FUSE_* flags of `fuse_init_out.flags`.
  var flags: UInt32
}

/// The INIT exchange, in which the kernel and the filesystem agree on what they can do.
///
/// libfuse 3.14.0 leaves out flags that a session here needs, though the kernel offers them:
/// - FUSE_PARALLEL_DIROPS is wanted by default but never sent (fixed in 3.14.1);
/// - FUSE_HANDLE_KILLPRIV likewise;
/// - FUSE_HANDLE_KILLPRIV_V2 is unknown to it. Without it the kernel asks for the attribute
///   `security.capability` before *each* write(2), because only this flag lets it remember that a
///   file has none (SB_NOSEC).
/// So libfuse's reads and writes of the device go through functions of our own
/// (`fuse_session_custom_io`), and the one that writes adds these flags to the answer of INIT.
/// That also rules out splice, which was half as fast as read and write.
extension SessionCore {
  /// libfuse `fuse_session_custom_io` on the descriptor that the mount made.
  func interposeDevice() throws(FuseError) {
    guard let session = unsafe session else { return }
    var device = fuse_custom_io()
    unsafe device.read = { descriptor, buffer, count, _ in
      unsafe read(descriptor, buffer, count)
    }
    unsafe device.writev = { descriptor, vectors, count, userData in
      if let userData = unsafe userData, let vectors = unsafe vectors {
        // SAFETY: the core is alive while libfuse works for it; see `Request`.
        unsafe Unmanaged<SessionCore>.fromOpaque(userData)._withUnsafeGuaranteedRef { core in
          if let patch = unsafe core.initReply { unsafe patch.apply(to: vectors, count: count) }
        }
      }
      return unsafe writev(descriptor, vectors, count)
    }
    let result = unsafe fuse_session_custom_io(session, &device, fuse_session_fd(session))
    if result != 0 { throw FuseError(operation: "fuse_session_custom_io", errno: -result) }
  }

  /// Answers INIT, which the kernel sends with the mount; until then everyone else waits.
  func shakeHands() throws(FuseError) {
    guard let session = unsafe session else { return }
    var buffer = unsafe fuse_buf()
    defer { unsafe free(buffer.mem) }
    var count: Int32
    repeat { count = unsafe fuse_session_receive_buf(session, &buffer) } while count == -EINTR
    guard count > 0, let message = unsafe buffer.mem else {
      throw FuseError(
        operation: "fuse_session_receive_buf", errno: count < 0 ? -count : ENODEV,
        detail: "waiting for INIT")
    }
    unsafe CurrentMessage.set(message)
    defer { unsafe CurrentMessage.set(nil) }
    if let request = CurrentMessage.body(FUSE_INIT, as: fuse_init_in.self) {
      unsafe initReply = InitReplyPatch(flags: request.flags & Self.addedFlags)
    }
    unsafe fuse_session_process_buf(session, &buffer)
    unsafe initReply = nil
    if unsafe fuse_session_exited(session) != 0 {
      throw FuseError(operation: "INIT", errno: EPROTO, detail: LibfuseLog.take())
    }
  }

  private static var addedFlags: UInt32 {
    UInt32(FUSE_PARALLEL_DIROPS) | UInt32(FUSE_HANDLE_KILLPRIV) | UInt32(FUSE_HANDLE_KILLPRIV_V2)
  }

  /// libfuse `init`: chooses among what the kernel offers (`capable`).
  func negotiate(_ connection: inout fuse_conn_info) {
    let wanted =
      FUSE_CAP_ASYNC_READ | FUSE_CAP_ATOMIC_O_TRUNC | FUSE_CAP_PARALLEL_DIROPS
      | FUSE_CAP_HANDLE_KILLPRIV | FUSE_CAP_CACHE_SYMLINKS
      // Caches are invalidated explicitly, never because a size or time looks different.
      | FUSE_CAP_EXPLICIT_INVAL_DATA
      | (options.asyncDirectIO ? FUSE_CAP_ASYNC_DIO : 0)
      | (options.writebackCache ? FUSE_CAP_WRITEBACK_CACHE : 0)
    // Not wanted, and so off: AUTO_INVAL_DATA (see above); SPLICE_* (slower); READDIRPLUS (the
    // contract has none); POSIX_LOCKS and FLOCK_LOCKS (the kernel keeps locks by itself).
    connection.want = connection.capable & UInt32(wanted)
    connection.max_write = options.maxWrite
    // Must equal the mount option `max_read`, or libfuse refuses.
    connection.max_read = options.maxRead
    connection.max_background = options.maxBackground
    connection.congestion_threshold = options.congestionThreshold
  }
}

extension InitReplyPatch {
  /// Adds the flags to an answer of INIT: `fuse_out_header` and `fuse_init_out`. An error has no
  /// second part.
  @unsafe
  func apply(to vectors: UnsafeMutablePointer<iovec>, count: Int32) {
    let enough = MemoryLayout<fuse_init_out>.offset(of: \.max_background) ?? .max
    guard count == 2, let body = unsafe vectors[1].iov_base, unsafe vectors[1].iov_len >= enough
    else { return }
    // SAFETY: libfuse built a `fuse_init_out` there; the fields up to `flags` are in every version.
    let reply = unsafe body.assumingMemoryBound(to: fuse_init_out.self)
    unsafe reply.pointee.flags |= flags
  }
}
