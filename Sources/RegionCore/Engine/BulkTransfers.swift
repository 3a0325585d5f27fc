import Locks

/// Lets bulk transfers begin, in the order in which they asked, as many and as large ones as
/// `TransferWindow` allows. One for each mount: all its regions share the link to the store.
public final class BulkTransfers: Sendable {
  /// A transfer that may run.
  struct Permit: Sendable {
    /// About how many bytes it should fetch.
    let bytes: UInt64
  }

  /// How long after a read asked for its bytes others may be expected.
  private static let quiet = Duration.seconds(1)

  private struct State {
    var window = TransferWindow()
    /// Reads that wait for the store now.
    var demands = 0
    /// When a read last asked the store for its bytes, and when the one before it did: one alone, such
    /// as that of a file's header, is no sign of others.
    var lastDemand: MonotonicTime?
    var demandBefore: MonotonicTime?
    var waiting: [(isUrgent: Bool, continuation: CheckedContinuation<Permit, Never>)] = []
    /// The first one that still waits.
    var head = 0

    func isPressed(at now: MonotonicTime) -> Bool {
      demands > 0 || demandBefore.map { now.since($0) < BulkTransfers.quiet } ?? false
    }
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

  /// Suspends until a transfer may begin. It must be given back. An urgent one does not give way to
  /// reads.
  func permit(isUrgent: Bool = false) async -> Permit {
    await withCheckedContinuation { continuation in
      letBegin { $0.waiting.append((isUrgent, continuation)) }
    }
  }

  /// The transfer found less to fetch than it may: others can have the rest.
  func narrow(_ permit: Permit, to bytes: UInt64) -> Permit {
    guard bytes < permit.bytes else { return permit }
    letBegin { $0.window.narrowed(by: permit.bytes - bytes) }
    return Permit(bytes: bytes)
  }

  /// The transfer is over and brought so many bytes.
  func giveBack(_ permit: Permit, bytes: UInt64) {
    letBegin { state in
      let now = clock.now
      state.window.ended(
        permit.bytes, bytes: bytes, isPressed: state.isPressed(at: now), at: now)
    }
  }

  /// A read asks the store for its bytes: it should not wait behind much else. Until `demandEnded`.
  func demandBegan() {
    state.withLock { state in
      state.demands += 1
      state.demandBefore = state.lastDemand
      state.lastDemand = clock.now
    }
  }

  /// The read has its bytes, or an error.
  func demandEnded() {
    letBegin { $0.demands -= 1 }
  }

  /// How long the mount's first answer took, over a connection that had to be made.
  public func noteFirstAnswer(_ duration: Duration) {
    state.withLock { $0.window.noteFirstAnswer(duration.secondsValue) }
  }

  /// How long a request of a read took.
  func noteDemand(_ duration: Duration) {
    state.withLock { $0.window.readWaited(duration.secondsValue, at: clock.now) }
  }

  /// Whether the store is known to be far.
  var isFar: Bool { state.withLock { $0.window.isFar } }

  /// Changes the state, and lets those begin that may then.
  private func letBegin(after change: (inout State) -> Void) {
    let ready = state.withLock { state in
      change(&state)
      return admit(&state)
    }
    for (continuation, permit) in ready { continuation.resume(returning: permit) }
  }

  private func admit(_ state: inout State) -> [(CheckedContinuation<Permit, Never>, Permit)] {
    var ready: [(CheckedContinuation<Permit, Never>, Permit)] = []
    while state.head < state.waiting.count,
      let permit = next(isUrgent: state.waiting[state.head].isUrgent, &state)
    {
      ready.append((state.waiting[state.head].continuation, permit))
      state.head += 1
    }
    if state.head == state.waiting.count {
      state.waiting.removeAll(keepingCapacity: true)
      state.head = 0
    }
    return ready
  }

  /// The next transfer, if one may begin.
  private func next(isUrgent: Bool, _ state: inout State) -> Permit? {
    let now = clock.now
    let isPressed = !isUrgent && state.isPressed(at: now)
    // Whether a store that is down is back, one transfer finds out.
    let isOpen =
      health.isDown
      ? state.window.transfers == 0
      : state.window.isOpen(isPressed: isPressed, isUrgent: isUrgent)
    guard isOpen else { return nil }
    let size = min(state.window.transferSize(isPressed: isPressed, isUrgent: isUrgent), mostBytes)
    state.window.began(size, at: now)
    return Permit(bytes: size)
  }

  /// How many wait for a permit.
  var waitingCount: Int { state.withLock { $0.waiting.count - $0.head } }

  /// What the window is like now: bytes allowed, bytes under way, transfers, bytes of the next one,
  /// bytes a second.
  public var reading: (limit: UInt64, underWay: UInt64, transfers: Int, size: UInt64, rate: Double)
  {
    state.withLock { state in
      let isPressed = state.isPressed(at: clock.now)
      let window = state.window
      return (
        window.limit(isPressed: isPressed), window.underWay, window.transfers,
        window.transferSize(isPressed: isPressed), window.rate
      )
    }
  }
}
