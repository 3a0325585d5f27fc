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
    defer { mutex._unsafeUnlock() }
    return try body(&state)
  }
}
