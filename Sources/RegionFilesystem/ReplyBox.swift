import FuseKit
import Locks
import RegionCore

/// Holds a reply that is answered later: closures cannot own one. Dropped unanswered it answers EIO,
/// as the reply itself does.
final class ReplyBox<Reply: ~Copyable & Sendable>: Sendable {
  private struct State: ~Copyable {
    var reply: Reply?
    var onTake: (@Sendable () -> Void)?
  }

  private let state: Lock<State>

  init(_ reply: consuming Reply) { state = Lock(State(reply: reply)) }

  /// The reply, for the first who asks.
  func take() -> Reply? {
    let after = state.withLock { $0.onTake.take() }
    after?()
    return state.withLock { $0.reply.take() }
  }

  /// Has `body` called when somebody wants the reply.
  func whenTaken(_ body: @escaping @Sendable () -> Void) { state.withLock { $0.onTake = body } }

  /// Nobody has answered yet.
  var isHeld: Bool {
    state.withLock { state in
      switch state.reply {
      case .some: true
      case .none: false
      }
    }
  }

  /// Lends the reply to `body`; nil if it was taken.
  func withReply<Value>(_ body: (borrowing Reply) -> Value) -> Value? {
    state.withLock { state in
      switch state.reply {
      case .some(let reply): body(reply)
      case .none: nil
      }
    }
  }
}
