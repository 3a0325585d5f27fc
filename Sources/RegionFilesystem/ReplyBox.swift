import RegionCore

/// Holds a reply that is answered later: closures cannot own one. Dropped unanswered it answers EIO,
/// as the reply itself does.
final class ReplyBox<Reply: ~Copyable & Sendable>: @unchecked Sendable {
  // Sound because `reply` is only touched with `lock` held.
  private let lock = Lock(())
  private var reply: Reply?

  init(_ reply: consuming Reply) { self.reply = consume reply }

  /// The reply, for the first who asks.
  func take() -> Reply? {
    lock.withLock { _ in reply.take() }
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
