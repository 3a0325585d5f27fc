import Glibc
import Synchronization

/// The one kind of lock in the project: a value that can only be reached while the lock is held.
///
/// Nothing that waits (network, FUSE replies, other locks of the same kind unless a comment names
/// the order) belongs inside `withLock`.
public final class Lock<State: ~Copyable>: @unchecked Sendable {
  // Sound because `held` is reachable only through `withLock`, which holds `mutex`. Inlinable, so that
  // other modules' uses are as cheap as if they were here.
  #if THREAD_SANITIZER
    @usableFromInline let mutex = VisibleMutex()
  #else
    @usableFromInline let mutex = Mutex<Void>(())
  #endif
  @usableFromInline var held: Held

  @usableFromInline struct Held: ~Copyable {
    @usableFromInline var state: State
    #if THREAD_SANITIZER
      // An empty value alone would lie where the object begins: its use would look like a change of that.
      private let one: UInt8 = 1
    #endif

    @inlinable init(_ state: consuming State) { self.state = state }
  }

  /// Wraps `initial` in a lock.
  @inlinable
  public init(_ initial: consuming State) {
    held = Held(initial)
  }

  /// Runs `body` with exclusive access to the value.
  @inlinable
  public func withLock<Result: ~Copyable, Failure: Error>(
    _ body: (inout State) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    mutex._unsafeLock()
    #if DEBUG
      LockCount.acquisitions.add(1, ordering: .relaxed)
    #endif
    defer { mutex._unsafeUnlock() }
    return try body(&held.state)
  }
}

#if THREAD_SANITIZER
  /// A mutex that the thread sanitizer sees: that of the Synchronization library is in a library that
  /// is not instrumented, so all that it guards would be reported.
  @safe @usableFromInline final class VisibleMutex: @unchecked Sendable {
    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)

    @usableFromInline init() { unsafe pthread_mutex_init(mutex, nil) }

    deinit {
      unsafe pthread_mutex_destroy(mutex)
      unsafe mutex.deallocate()
    }

    @usableFromInline func _unsafeLock() { unsafe pthread_mutex_lock(mutex) }
    @usableFromInline func _unsafeUnlock() { unsafe pthread_mutex_unlock(mutex) }
  }
#endif

#if DEBUG
  /// How often the locks of this process were taken: what proves that the hit path takes none. Debug
  /// builds only.
  @usableFromInline package enum LockCount {
    @usableFromInline static let acquisitions = Atomic<UInt64>(0)

    /// Acquisitions since the process began, on all threads.
    package static var now: UInt64 { acquisitions.load(ordering: .relaxed) }
  }
#endif
