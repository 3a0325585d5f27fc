import Locks
import RegionCore

/// A store whose faults are planned: rules say which requests fail, how, and how often. Random
/// choices come from a seed, so that a failing run can be repeated.
public final class FaultStore: ObjectStore {
  /// The operations of a store.
  public enum Operation: String, Sendable, CaseIterable {
    /// A download.
    case get = "GET"
    /// An upload.
    case put = "PUT"
    /// A deletion.
    case delete = "DELETE"
    /// A page of a listing.
    case list = "LIST"
  }

  /// What happens to a request.
  public enum Fault: Hashable, Sendable {
    /// It fails and nothing was done.
    case failBefore(StoreError.Kind, retryAfter: Duration? = nil)
    /// It is done, and fails all the same: a lost acknowledgement.
    case failAfter(StoreError.Kind)
    /// It is done after a while.
    case delay(Duration)
    /// One bit of the bytes that a GET received is wrong.
    case flipBit
    /// A GET receives some bytes fewer, and says so only in the buffer's count.
    case shorten(Int)
    /// A GET receives zeros instead of the bytes.
    case zeroBytes
    /// It waits until `release` or its cancellation, then fails with `.unavailable`; nothing is done.
    case blackhole
    /// As `blackhole`, but it is done first.
    case blackholeAfter
  }

  /// Which requests a fault happens to.
  public struct Rule: Sendable {
    /// The operations it applies to.
    public var operations: Set<Operation>
    /// The keys (or prefixes of listings) it applies to: those that contain this; nil for all.
    public var keyContains: String?
    /// Matching requests that pass before the first fault.
    public var skip: Int
    /// How many faults there are in all; nil for no end.
    public var count: Int?
    /// The probability of a fault for each matching request that is not skipped.
    public var probability: Double
    /// What happens.
    public var fault: Fault

    /// A rule.
    public init(
      _ fault: Fault, on operations: Set<Operation> = Set(Operation.allCases),
      keyContains: String? = nil, skip: Int = 0, count: Int? = nil, probability: Double = 1
    ) {
      self.fault = fault
      self.operations = operations
      self.keyContains = keyContains
      self.skip = skip
      self.count = count
      self.probability = probability
    }
  }

  /// A request that came.
  public struct Request: Hashable, Sendable {
    /// The operation.
    public var operation: Operation
    /// The key, or a listing's prefix.
    public var key: String
  }

  private struct State {
    var rules: [Rule] = []
    var generator: SplitMix64
    var requests: [Request] = []
    var faults = 0
    var nextID = 0
    var parked: [Int: CheckedContinuation<Void, Never>] = [:]
    var cancelled: Set<Int> = []
  }

  private let inner: any ObjectStore
  private let clock: any EngineClock
  private let state: Lock<State>

  /// Injects faults into what goes to `inner`; none at first.
  public init(_ inner: any ObjectStore, seed: UInt64 = 1, clock: any EngineClock = SystemClock()) {
    self.inner = inner
    self.clock = clock
    state = Lock(State(generator: SplitMix64(seed: seed)))
  }

  /// The inner store's address.
  public var address: String { inner.address }

  /// Adds a rule; rules apply in the order in which they were added.
  public func add(_ rule: Rule) { state.withLock { $0.rules.append(rule) } }

  /// Removes all rules. Requests in a blackhole stay there.
  public func removeRules() { state.withLock { $0.rules.removeAll() } }

  /// Lets all requests out of the blackhole; they fail.
  public func release() {
    let parked = state.withLock { state in
      defer { state.parked.removeAll() }
      return state.parked.sorted { $0.key < $1.key }.map(\.value)
    }
    for continuation in parked { continuation.resume() }
  }

  /// The requests so far, in order of arrival.
  public var requests: [Request] { state.withLock { $0.requests } }

  /// How many faults happened so far.
  public var faults: Int { state.withLock { $0.faults } }

  /// How many requests are in the blackhole.
  public var parked: Int { state.withLock { $0.parked.count } }

  /// Reads an object, see `ObjectStore.get`.
  public func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    let faults = plan(.get, key.text)
    try await before(faults, .get, key.text)
    let info = try await inner.get(key, range: range, into: buffer, priority: priority)
    for fault in faults { damage(buffer, fault) }
    try await after(faults, .get, key.text)
    return info
  }

  /// Writes an object, see `ObjectStore.put`.
  public func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    let faults = plan(.put, key.text)
    try await before(faults, .put, key.text)
    let etag = try await inner.put(key, body, condition: condition, priority: priority)
    try await after(faults, .put, key.text)
    return etag
  }

  /// Removes an object, see `ObjectStore.delete`.
  public func delete(_ key: ObjectKey) async throws(StoreError) {
    let faults = plan(.delete, key.text)
    try await before(faults, .delete, key.text)
    try await inner.delete(key)
    try await after(faults, .delete, key.text)
  }

  /// Lists keys, see `ObjectStore.list`.
  public func list(prefix: String, from token: String?, limit: Int) async throws(StoreError)
    -> ListPage
  {
    let faults = plan(.list, prefix)
    try await before(faults, .list, prefix)
    let page = try await inner.list(prefix: prefix, from: token, limit: limit)
    try await after(faults, .list, prefix)
    return page
  }

  /// Notes the request and decides what happens to it: delays, then the first other fault.
  private func plan(_ operation: Operation, _ key: String) -> [Fault] {
    state.withLock { state in
      state.requests.append(Request(operation: operation, key: key))
      var faults: [Fault] = []
      for index in state.rules.indices {
        let rule = state.rules[index]
        guard rule.operations.contains(operation), rule.keyContains.map(key.contains) ?? true,
          rule.count != 0
        else { continue }
        guard rule.skip == 0 else {
          state.rules[index].skip -= 1
          continue
        }
        guard Double.random(in: 0..<1, using: &state.generator) < rule.probability else { continue }
        state.rules[index].count = rule.count.map { $0 - 1 }
        state.faults += 1
        faults.append(rule.fault)
        if case .delay = rule.fault { continue }
        break
      }
      return faults
    }
  }

  private func before(_ faults: [Fault], _ operation: Operation, _ key: String)
    async throws(StoreError)
  {
    for fault in faults {
      switch fault {
      case .delay(let duration):
        await clock.sleep(for: duration)
        if Task.isCancelled { throw error(.cancelled, operation, key) }
      case .failBefore(let kind, let retryAfter):
        throw error(kind, operation, key, retryAfter: retryAfter)
      case .blackhole: try await park(operation, key)
      case .failAfter, .flipBit, .shorten, .zeroBytes, .blackholeAfter: break
      }
    }
  }

  private func after(_ faults: [Fault], _ operation: Operation, _ key: String)
    async throws(StoreError)
  {
    for fault in faults {
      switch fault {
      case .failAfter(let kind): throw error(kind, operation, key)
      case .blackholeAfter: try await park(operation, key)
      case .failBefore, .delay, .flipBit, .shorten, .zeroBytes, .blackhole: break
      }
    }
  }

  private func damage(_ buffer: IOBuffer, _ fault: Fault) {
    guard buffer.count > 0 else { return }
    switch fault {
    case .flipBit:
      let bit = state.withLock { Int.random(in: 0..<buffer.count * 8, using: &$0.generator) }
      // SAFETY: the bit's byte is one of the buffer's valid ones; the request still owns it.
      unsafe buffer.memory[bit / 8] ^= 1 << (bit % 8)
    case .shorten(let bytes): buffer.count -= min(bytes, buffer.count)
    case .zeroBytes:
      // SAFETY: the range is the buffer's valid bytes; the request still owns it.
      for index in 0..<buffer.count { unsafe buffer.memory[index] = 0 }
    case .failBefore, .failAfter, .delay, .blackhole, .blackholeAfter: break
    }
  }

  private func park(_ operation: Operation, _ key: String) async throws(StoreError) {
    let id = state.withLock { state in
      state.nextID += 1
      return state.nextID
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let isOver = state.withLock { state in
          if state.cancelled.remove(id) != nil { return true }
          state.parked[id] = continuation
          return false
        }
        if isOver { continuation.resume() }
      }
    } onCancel: {
      let continuation = state.withLock { state in
        guard let parked = state.parked.removeValue(forKey: id) else {
          state.cancelled.insert(id)
          return nil as CheckedContinuation<Void, Never>?
        }
        return parked
      }
      continuation?.resume()
    }
    throw error(Task.isCancelled ? .cancelled : .unavailable, operation, key)
  }

  private func error(
    _ kind: StoreError.Kind, _ operation: Operation, _ key: String, retryAfter: Duration? = nil
  ) -> StoreError {
    StoreError(
      kind, operation: operation.rawValue, object: "\(address)/\(key)", detail: "injected fault",
      retryAfter: retryAfter)
  }
}
