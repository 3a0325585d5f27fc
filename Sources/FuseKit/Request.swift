import CFuse
import Glibc

/// One request of the kernel, as the reply types hold it: a libfuse handle that is valid until its
/// first `fuse_reply_*`, and a strong reference on the session that the handle points into.
///
/// The reference is counted by hand because a noncopyable type can `discard self` only when its
/// stored properties are trivial. It is what makes a reply sound that is answered after the mount
/// is gone: `fuse_session_destroy` runs when the last reply has let go (see `SessionCore`).
@safe
struct Request: @unchecked Sendable {
  /// Sendable because libfuse answers a request from any thread (`se->lock` guards its lists).
  private let handle: fuse_req_t
  private let core: Unmanaged<SessionCore>

  /// Takes over `handle`; exactly one of the answering functions must follow.
  init(_ handle: fuse_req_t) {
    unsafe self.handle = handle
    unsafe core = SessionCore.unmanaged(of: handle).retain()
  }

  /// The filesystem that is to answer.
  var filesystem: any FuseFilesystem {
    // SAFETY: the reference is held until the answer.
    unsafe core._withUnsafeGuaranteedRef { $0.filesystem }
  }

  /// libfuse `fuse_req_ctx`.
  func caller() -> Caller {
    // SAFETY: the context lies in the request, which is not answered yet.
    guard let context = unsafe fuse_req_ctx(handle)?.pointee else {
      return Caller(uid: 0, gid: 0, pid: 0, umask: 0)
    }
    return Caller(
      uid: context.uid, gid: context.gid, pid: context.pid, umask: UInt32(context.umask))
  }

  /// Answers with `body`, a `fuse_reply_*` call named `function`, and lets the session go.
  ///
  /// Returns whether the kernel took the answer. ENOENT says that nobody waits for it any more (the
  /// request was interrupted before it was read, or the connection has ended): no error, but what
  /// the answer would have handed out (a handle, a reference on a node) will never be returned.
  @discardableResult
  func answer(_ function: StaticString, _ body: (fuse_req_t) -> Int32) -> Bool {
    // SAFETY: the handle is valid: reply types call this once, by consuming themselves.
    let result = unsafe body(handle)
    if result != 0 && result != -ENOENT {
      unsafe core._withUnsafeGuaranteedRef { core in
        core.log("\(function): \(describe(errno: -result))")
      }
    }
    unsafe core.release()
    return result == 0
  }

  /// libfuse `fuse_reply_err`.
  func fail(_ errno: Int32) {
    unsafe answer("fuse_reply_err") { unsafe fuse_reply_err($0, errno) }
  }

  /// Reports an answer of the filesystem that cannot be sent, and answers EIO instead.
  func reject(_ reason: String) {
    unsafe core._withUnsafeGuaranteedRef { $0.log("answered EIO instead: \(reason)") }
    fail(EIO)
  }

  /// libfuse `fuse_reply_none`, for forgets.
  func finishWithoutAnswer() {
    unsafe fuse_reply_none(handle)
    unsafe core.release()
  }

  /// Registers `key` for an interrupt; true if the interrupt is there already.
  func armInterrupt(key: UInt64) -> Bool {
    unsafe Interrupts.arm(handle, key: key)
  }
}
