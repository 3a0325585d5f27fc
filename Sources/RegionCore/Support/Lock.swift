import Glibc
import Synchronization

/// The one kind of lock in the project: a value that can only be reached while the lock is held.
///
/// Nothing that waits (network, FUSE replies, other locks of the same kind unless a comment names
/// the order) belongs inside `withLock`.
public final class Lock<State>: @unchecked Sendable {
  // Sound because `state` is reachable only through `withLock`, which holds `mutex`.
  #if THREAD_SANITIZER
    private let mutex = VisibleMutex()
  #else
    private let mutex = Mutex<Void>(())
  #endif
  private var state: State

  /// Wraps `initial` in a lock.
  public init(_ initial: State) {
    state = initial
  }

  /// Runs `body` with exclusive access to the value.
  public func withLock<Result: ~Copyable, Failure: Error>(
    _ body: (inout State) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    mutex._unsafeLock()
    #if DEBUG
      LockCount.acquisitions.add(1, ordering: .relaxed)
    #endif
    defer { mutex._unsafeUnlock() }
    return try body(&state)
  }
}

#if THREAD_SANITIZER
  /// A mutex that the thread sanitizer sees: that of the Synchronization library is in a library that
  /// is not instrumented, so all that it guards would be reported.
  @safe private final class VisibleMutex: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    init() { unsafe pthread_mutex_init(mutex, nil) }

    deinit {
      unsafe pthread_mutex_destroy(mutex)
      unsafe mutex.deallocate()
    }

    func _unsafeLock() { unsafe pthread_mutex_lock(mutex) }
    func _unsafeUnlock() { unsafe pthread_mutex_unlock(mutex) }
  }
#endif

#if DEBUG
  /// How often the locks of this process were taken: what proves that the hit path takes none. Debug
  /// builds only.
  package enum LockCount {
    fileprivate static let acquisitions = Atomic<UInt64>(0)

    /// Acquisitions since the process began, on all threads.
    package static var now: UInt64 { acquisitions.load(ordering: .relaxed) }
  }
#endif
