/// Lets bulk transfers begin as `TransferWindow` allows, in the order in which they asked. One for
/// each mount: all its regions share the link to the store.
public final class BulkTransfers: Sendable {
  /// A transfer that may run.
  struct Permit: Sendable {
    /// About how many bytes it should fetch.
    let bytes: UInt64
    let began: MonotonicTime
  }

  private struct State {
    var window = TransferWindow()
    var waiting: [CheckedContinuation<Permit, Never>] = []
    /// The first one that still waits.
    var head = 0
  }

  private let state = Lock(State())
  private let clock: any EngineClock

  private let mostBytes: UInt64

  /// No transfer is larger than `mostBytes`, but for the smallest.
  init(clock: any EngineClock, mostBytes: UInt64) {
    self.clock = clock
    self.mostBytes = max(mostBytes, TransferWindow.transferBytes.lowerBound)
  }

  /// Suspends until a transfer may begin. It must be given back.
  func permit() async -> Permit {
    await withCheckedContinuation { continuation in
      let ready = state.withLock { state in
        state.waiting.append(continuation)
        return admit(&state)
      }
      for (continuation, permit) in ready { continuation.resume(returning: permit) }
    }
  }

  /// The transfer is over and brought so many bytes.
  func giveBack(_ permit: Permit, bytes: UInt64) {
    let ready = state.withLock { state in
      state.window.ended(permit.bytes, bytes: bytes, began: permit.began, at: clock.now)
      return admit(&state)
    }
    for (continuation, permit) in ready { continuation.resume(returning: permit) }
  }

  private func admit(_ state: inout State) -> [(CheckedContinuation<Permit, Never>, Permit)] {
    var ready: [(CheckedContinuation<Permit, Never>, Permit)] = []
    while state.head < state.waiting.count, state.window.isOpen {
      let permit = Permit(
        bytes: min(state.window.transferSize, mostBytes), began: clock.now)
      state.window.began(permit.bytes, at: permit.began)
      ready.append((state.waiting[state.head], permit))
      state.head += 1
    }
    if state.head == state.waiting.count {
      state.waiting.removeAll(keepingCapacity: true)
      state.head = 0
    }
    return ready
  }

  /// What the window is like now: bytes allowed, bytes under way, transfers, bytes of the next one,
  /// bytes a second.
  public var reading: (limit: UInt64, underWay: UInt64, transfers: Int, size: UInt64, rate: Double)
  {
    state.withLock {
      let window = $0.window
      return (
        window.limit, window.underWay, window.transfers, window.transferSize, window.rate
      )
    }
  }
}
