import CFuse
import Glibc
import Synchronization

/// What lives as long as anything can still use the libfuse session: it is held by `FuseSession`,
/// by each loop thread, and by each request that is not answered (`Request`). The last one to let
/// go destroys the session, which closes the descriptor of /dev/fuse. So an answer that comes after
/// the mount is gone is sent to a dead connection (ENOENT), never to freed memory and never to a
/// descriptor that was closed and given to someone else. For the same reason `fuse_session_unmount`,
/// which closes the descriptor first, is only called at the end.
///
/// Sendable: everything is constant after `init` but `initReply`, see there.
@safe
final class SessionCore: @unchecked Sendable {
  let filesystem: any FuseFilesystem
  let options: SessionOptions
  let log: @Sendable (String) -> Void
  /// `struct fuse_session`; nil only while `init` runs or if it failed.
  nonisolated(unsafe) private(set) var session: OpaquePointer?
  /// What is to be added to the answer of INIT. Used on the thread that makes the handshake only,
  /// before there are others.
  nonisolated(unsafe) var initReply: InitReplyPatch?
  /// Opened when the last loop thread is done and `destroy` was called.
  let ended = Latch()
  /// What the loop threads are working on.
  let activity = LoopActivity()
  private let running = Atomic<Int>(0)
  private let isDestroyed = Atomic<Bool>(false)

  /// libfuse `fuse_session_new`.
  init(
    filesystem: any FuseFilesystem, options: SessionOptions, arguments: [String]
  ) throws(FuseError) {
    self.filesystem = filesystem
    self.options = options
    log = options.log
    LibfuseLog.install()
    var operations = unsafe Operations.table()
    let me = unsafe Unmanaged.passUnretained(self).toOpaque()
    unsafe session = withArguments(arguments) { arguments in
      unsafe fuse_session_new(arguments, &operations, MemoryLayout<fuse_lowlevel_ops>.size, me)
    }
    if unsafe session == nil {
      throw FuseError(operation: "fuse_session_new", errno: EINVAL, detail: LibfuseLog.take())
    }
  }

  deinit {
    destroyFilesystem()
    if let session = unsafe session {
      // Closes the descriptor, and detaches the mount if it is still there (a session that was
      // never run, or whose threads failed).
      unsafe fuse_session_unmount(session)
      unsafe fuse_session_destroy(session)
    }
  }

  /// The core that a request belongs to. The caller knows that it is alive: by a reference of its
  /// own, or because it is on a loop thread.
  @unsafe
  static func unmanaged(of request: fuse_req_t) -> Unmanaged<SessionCore> {
    // SAFETY: `init` gave libfuse this pointer; it is never nil.
    unsafe Unmanaged.fromOpaque(fuse_req_userdata(request).unsafelyUnwrapped)
  }

  /// Starts the loop threads. On an error those that did start go on.
  func start() throws(FuseError) {
    let count = min(max(options.threads, 2), 4)
    running.store(count, ordering: .relaxed)
    for index in 0..<count {
      do throws(FuseError) {
        try startThread(named: "fuse-\(index)") { [self] in
          serve(index)
          leave()
        }
      } catch {
        for _ in index..<count { leave() }
        throw error
      }
    }
  }

  /// A loop thread is done (or never was); the last one ends the session.
  private func leave() {
    guard running.subtract(1, ordering: .acquiringAndReleasing).newValue == 0 else { return }
    destroyFilesystem()
    ended.open()
  }

  private func destroyFilesystem() {
    if !isDestroyed.exchange(true, ordering: .acquiringAndReleasing) { filesystem.destroy() }
  }

  /// libfuse `fuse_session_receive_buf` and `fuse_session_process_buf` until the connection ends.
  private func serve(_ thread: Int) {
    guard let session = unsafe session else { return }
    var buffer = unsafe fuse_buf()
    // SAFETY: libfuse allocates the memory with malloc at the first use and keeps it.
    defer { unsafe free(buffer.mem) }
    var serial: UInt64 = 0
    while true {
      let count = unsafe fuse_session_receive_buf(session, &buffer)
      if count == -EINTR || count == -EAGAIN { continue }
      if count < 0 {
        // The other threads go on; with the last one the session is over.
        log("fuse_session_receive_buf: \(describe(errno: -count)); a thread gives up")
      }
      if count <= 0 { return }
      serial += 1
      // SAFETY: a message begins with its header.
      let opcode = unsafe buffer.mem.map { unsafe $0.loadUnaligned(as: fuse_in_header.self).opcode }
      activity.begin(thread: thread, serial: serial, opcode: opcode ?? 0)
      unsafe CurrentMessage.set(buffer.mem)
      unsafe fuse_session_process_buf(session, &buffer)
      activity.end(thread: thread)
    }
  }
}

/// The message that a loop thread is working on, for what libfuse 3.14 does not hand on: some flags
/// of the kernel's requests.
enum CurrentMessage {
  private static let key = makeThreadKey()

  /// Sets the thread's message, which starts with `fuse_in_header`.
  static func set(_ message: UnsafeMutableRawPointer?) {
    unsafe pthread_setspecific(key, message)
  }

  /// The request's body of the wire format `Body`, inside a callback of libfuse for `opcode`.
  static func body<Body: BitwiseCopyable>(_ opcode: fuse_opcode, as _: Body.Type) -> Body? {
    guard let message = unsafe pthread_getspecific(key) else { return nil }
    // SAFETY: the loop's buffer is larger than any header and fixed-size body.
    let header = unsafe message.loadUnaligned(as: fuse_in_header.self)
    guard header.opcode == opcode.rawValue else { return nil }
    return unsafe message.loadUnaligned(
      fromByteOffset: MemoryLayout<fuse_in_header>.size, as: Body.self)
  }
}

/// Calls `body` with libfuse's form of an argument vector.
private func withArguments<Result>(
  _ arguments: [String], _ body: (UnsafeMutablePointer<fuse_args>) -> Result
) -> Result {
  var vector = unsafe fuse_args()
  for argument in arguments {
    // Copies the text; fails only when memory is out, which shows as a missing option below.
    _ = unsafe fuse_opt_add_arg(&vector, argument)
  }
  defer { unsafe fuse_opt_free_args(&vector) }
  return unsafe body(&vector)
}
