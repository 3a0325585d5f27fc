import CCurl
import Locks
import Synchronization

/// How other threads talk to the loop.
///
/// Sound across threads: `multi` is used for `curl_multi_wakeup` alone, which libcurl allows from
/// any thread, under the lock and only until `close`; the loop cleans up after it has seen that.
@safe
final class Mailbox: @unchecked Sendable {
  enum Message {
    case start(Transfer)
    case cancel(Transfer)
  }

  private struct State {
    var messages: [Message] = []
    var isClosed = false
  }

  private let multi: UnsafeMutableRawPointer
  private let state = Lock(State())
  private let transfers = Atomic<Int>(0)
  private let connections = Atomic<Int>(0)

  init(multi: UnsafeMutableRawPointer) {
    unsafe self.multi = multi
  }

  /// Delivers a message; false if the loop has been told to end.
  func post(_ message: Message) -> Bool {
    state.withLock { state in
      guard !state.isClosed else { return false }
      state.messages.append(message)
      // One wakeup is enough until the loop has collected.
      if state.messages.count == 1 { unsafe _ = curl_multi_wakeup(multi) }
      return true
    }
  }

  /// Tells the loop to end.
  func close() {
    state.withLock { state in
      guard !state.isClosed else { return }
      state.isClosed = true
      unsafe _ = curl_multi_wakeup(multi)
    }
  }

  /// Takes all messages; `isClosed` says whether they were the last ones.
  func collect() -> (messages: [Message], isClosed: Bool) {
    state.withLock { state in
      defer { state.messages = [] }
      return (state.messages, state.isClosed)
    }
  }

  func count(connections opened: Int) {
    transfers.wrappingAdd(1, ordering: .relaxed)
    connections.wrappingAdd(opened, ordering: .relaxed)
  }

  var statistics: HTTPStatistics {
    HTTPStatistics(
      transfers: transfers.load(ordering: .relaxed),
      connections: connections.load(ordering: .relaxed))
  }
}
