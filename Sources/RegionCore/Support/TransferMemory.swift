import Locks

/// Bounds the memory of pulls: each enters with what its buffers take before it fetches and leaves when
/// its bytes are in their file. The urgent go first, and the others never take all of it.
///
/// A pull enters once, with all it needs, and waits for nobody while it is inside but the store and the
/// disk: so all who wait get in some time. One that is larger than the limit gets in alone.
final class TransferMemory: Sendable {
  private struct Waiter {
    var bytes: Int
    var continuation: CheckedContinuation<Void, Never>
  }

  private struct State {
    var used = 0
    var peak = 0
    /// By priority, in order.
    var waiting: [[Waiter]] = [[], [], []]

    mutating func admit(_ bytes: Int, below limit: Int) -> Bool {
      guard used == 0 || used + bytes <= limit else { return false }
      used += bytes
      peak = max(peak, used)
      return true
    }
  }

  /// The most bytes of all that are inside, unless one alone is larger.
  let limit: Int
  private let state = Lock(State())

  init(limit: Int) { self.limit = limit }

  /// What those of a priority may fill up to: a quarter is left to faults, another one to read-ahead.
  private func limit(_ priority: TransferPriority) -> Int {
    switch priority {
    case .demand: limit
    case .readAhead: limit / 4 * 3
    case .background: limit / 2
    }
  }

  /// Waits until there is room. Must be followed by `leave`.
  func enter(_ bytes: Int, _ priority: TransferPriority) async {
    await withCheckedContinuation { continuation in
      let isAdmitted = state.withLock { state -> Bool in
        let rank = priority.rawValue
        let isFirst = state.waiting[...rank].allSatisfy(\.isEmpty)
        if isFirst, state.admit(bytes, below: limit(priority)) { return true }
        state.waiting[rank].append(Waiter(bytes: bytes, continuation: continuation))
        return false
      }
      if isAdmitted { continuation.resume() }
    }
  }

  /// Ends what `enter` began.
  func leave(_ bytes: Int) {
    let admitted = state.withLock { state -> [Waiter] in
      state.used -= bytes
      var admitted: [Waiter] = []
      for priority in [TransferPriority.demand, .readAhead, .background] {
        let rank = priority.rawValue
        while let next = state.waiting[rank].first {
          // Who is less urgent never overtakes.
          guard state.admit(next.bytes, below: limit(priority)) else { return admitted }
          admitted.append(state.waiting[rank].removeFirst())
        }
      }
      return admitted
    }
    for waiter in admitted { waiter.continuation.resume() }
  }

  /// Bytes inside now, and the most that there were.
  var usage: (used: Int, peak: Int) { state.withLock { ($0.used, $0.peak) } }
}
