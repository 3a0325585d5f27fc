import FuseKit
import Locks
import RegionCore

/// Holds a reply that is answered later: closures cannot own one. Dropped unanswered it answers EIO,
/// as the reply itself does.
final class ReplyBox<Reply: ~Copyable & Sendable>: @unchecked Sendable {
  // Sound because `reply` and `onTake` are only touched with `lock` held.
  private let lock = Lock(())
  private var reply: Reply?
  private var onTake: (@Sendable () -> Void)?

  init(_ reply: consuming Reply) { self.reply = consume reply }

  /// The reply, for the first who asks.
  func take() -> Reply? {
    let after = lock.withLock { _ in
      defer { onTake = nil }
      return onTake
    }
    after?()
    return lock.withLock { _ in reply.take() }
  }

  /// Has `body` called when somebody wants the reply.
  func whenTaken(_ body: @escaping @Sendable () -> Void) { lock.withLock { _ in onTake = body } }

  /// Nobody has answered yet.
  var isHeld: Bool {
    lock.withLock { _ in
      switch reply {
      case .some: true
      case .none: false
      }
    }
  }

  /// Lends the reply to `body`; nil if it was taken.
  func withReply<Value>(_ body: (borrowing Reply) -> Value) -> Value? {
    lock.withLock { _ in
      switch reply {
      case .some(let reply): body(reply)
      case .none: nil
      }
    }
  }
}
