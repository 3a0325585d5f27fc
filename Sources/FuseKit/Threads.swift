import CFuse
import Glibc

/// Starts a detached thread, by `pthread_create`, with all signals blocked that are not the
/// thread's own fault, so that the daemon's signal handling stays on the threads that it chose.
func startThread(named name: String, _ body: @escaping @Sendable () -> Void) throws(FuseError) {
  final class Start: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var blocked = sigset_t()
  var former = sigset_t()
  unsafe sigfillset(&blocked)
  for fault in [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS] {
    unsafe sigdelset(&blocked, fault)
  }
  unsafe pthread_sigmask(SIG_BLOCK, &blocked, &former)
  defer { unsafe pthread_sigmask(SIG_SETMASK, &former, nil) }

  let start = unsafe Unmanaged.passRetained(Start(body))
  var thread = pthread_t()
  let result = unsafe pthread_create(
    &thread, nil,
    { argument in
      // SAFETY: the retained `Start` below; it is never nil.
      if let argument = unsafe argument {
        unsafe Unmanaged<Start>.fromOpaque(argument).takeRetainedValue().body()
      }
      return nil
    }, start.toOpaque())
  if result != 0 {
    unsafe start.release()
    throw FuseError(operation: "pthread_create", errno: result)
  }
  unsafe pthread_setname_np(thread, name)
  pthread_detach(thread)
}

/// A door that opens once and lets everyone through from then on.
@safe
final class Latch: @unchecked Sendable {
  private let semaphore: UnsafeMutablePointer<sem_t>

  init() {
    unsafe semaphore = .allocate(capacity: 1)
    unsafe semaphore.initialize(to: sem_t())
    // Cannot fail: the value is valid and the semaphore is not shared between processes.
    unsafe sem_init(semaphore, 0, 0)
  }

  deinit {
    unsafe sem_destroy(semaphore)
    unsafe semaphore.deallocate()
  }

  /// Whether nobody has to wait (any more).
  var isOpen: Bool {
    var value: Int32 = 0
    // SAFETY: a local; the semaphore lives as long as this object.
    unsafe sem_getvalue(semaphore, &value)
    return value > 0
  }

  /// Lets all that wait, and all that come, through.
  func open() { unsafe sem_post(semaphore) }

  /// Waits until the door is open; each one through holds it open for the next.
  func wait() {
    while unsafe sem_wait(semaphore) != 0 {}
    unsafe sem_post(semaphore)
  }
}
