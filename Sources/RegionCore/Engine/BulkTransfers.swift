/// Lets bulk transfers begin, in the order in which they asked: as many and as large ones as may be
/// while no read waits for the store, and as `TransferWindow` allows while some do. One for each mount:
/// all its regions share the link to the store.
public final class BulkTransfers: Sendable {
  /// A transfer that may run.
  struct Permit: Sendable {
    /// About how many bytes it should fetch.
    let bytes: UInt64
    let began: MonotonicTime
    /// It began while no read waited: the window knows nothing of it.
    let isFree: Bool
  }

  /// How long after a read asked for its bytes others may be expected.
  private static let quiet = Duration.seconds(1)

  private struct State {
    var window = TransferWindow()
    /// Transfers that the window knows nothing of.
    var free = 0
    /// When a read last asked the store for its bytes, and when the one before it did: one alone, such
    /// as that of a file's header, is no sign of others.
    var lastDemand: MonotonicTime?
    var demandBefore: MonotonicTime?
    var waiting: [CheckedContinuation<Permit, Never>] = []
    /// The first one that still waits.
    var head = 0
  }

  private let state = Lock(State())
  private let clock: any EngineClock
  private let health: StoreHealth

  private let mostBytes: UInt64

  /// No transfer is larger than `mostBytes`, but for the smallest.
  init(clock: any EngineClock, health: StoreHealth, mostBytes: UInt64) {
    self.clock = clock
    self.health = health
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

  /// A read asks the store for its bytes: it should not wait behind much else.
  func noteDemand() {
    state.withLock { state in
      state.demandBefore = state.lastDemand
      state.lastDemand = clock.now
    }
  }

  /// The transfer is over and brought so many bytes.
  func giveBack(_ permit: Permit, bytes: UInt64) {
    let ready = state.withLock { state in
      if permit.isFree {
        state.free -= 1
      } else {
        state.window.ended(permit.bytes, bytes: bytes, began: permit.began, at: clock.now)
      }
      return admit(&state)
    }
    for (continuation, permit) in ready { continuation.resume(returning: permit) }
  }

  private func admit(_ state: inout State) -> [(CheckedContinuation<Permit, Never>, Permit)] {
    var ready: [(CheckedContinuation<Permit, Never>, Permit)] = []
    while state.head < state.waiting.count, let permit = next(&state) {
      ready.append((state.waiting[state.head], permit))
      state.head += 1
    }
    if state.head == state.waiting.count {
      state.waiting.removeAll(keepingCapacity: true)
      state.head = 0
    }
    return ready
  }

  /// The next transfer, if one may begin.
  private func next(_ state: inout State) -> Permit? {
    let now = clock.now
    // Whether a store that is down is back, one transfer finds out.
    if !health.isDown, state.demandBefore.map({ now.since($0) >= Self.quiet }) ?? true {
      guard state.free + state.window.transfers < TransferWindow.transferLimit else { return nil }
      state.free += 1
      let size = min(TransferWindow.transferBytes.upperBound, mostBytes)
      return Permit(bytes: size, began: now, isFree: true)
    }
    // The free ones end first: the window has to see the link by itself.
    guard state.free == 0, state.window.isOpen else { return nil }
    let size = min(state.window.transferSize, mostBytes)
    state.window.began(size, at: now)
    return Permit(bytes: size, began: now, isFree: false)
  }

  /// How many wait for a permit.
  var waitingCount: Int { state.withLock { $0.waiting.count - $0.head } }

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
