import Synchronization

/// The one kind of lock in the project: a value that can only be reached while the lock is held.
///
/// Nothing that waits (network, FUSE replies, other locks of the same kind unless a comment names
/// the order) belongs inside `withLock`.
public final class Lock<State>: @unchecked Sendable {
  // Sound because `state` is reachable only through `withLock`, which holds `mutex`.
  private let mutex = Mutex<Void>(())
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

#if DEBUG
  /// How often the locks of this process were taken: what proves that the hit path takes none. Debug
  /// builds only.
  package enum LockCount {
    fileprivate static let acquisitions = Atomic<UInt64>(0)

    /// Acquisitions since the process began, on all threads.
    package static var now: UInt64 { acquisitions.load(ordering: .relaxed) }
  }
#endif
