import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// Notes every root that the store takes, and so the history as it happened.
final class RaceWitness: ObjectStore {
  private let inner: any ObjectStore
  private let roots = Lock<[GroupID: [Root]]>([:])

  init(_ inner: any ObjectStore) { self.inner = inner }

  var address: String { inner.address }

  func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    try await inner.get(key, range: range, into: buffer, priority: priority)
  }

  func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    let etag = try await inner.put(key, body, condition: condition, priority: priority)
    // Two swaps of one root never succeed at the same time, but their notes may change places.
    if key.text.hasSuffix("/root"), let root = try? RootCodec.decode(body.array) {
      roots.withLock { $0[root.group, default: []].append(root) }
    }
    return etag
  }

  func delete(_ key: ObjectKey) async throws(StoreError) { try await inner.delete(key) }

  func list(prefix: String, from token: String?, limit: Int) async throws(StoreError) -> ListPage {
    try await inner.list(prefix: prefix, from: token, limit: limit)
  }

  /// How many commits of the group were seen.
  func commits(of group: GroupID) -> Int {
    Set(roots.withLock { $0[group] ?? [] }.map(\.commit)).count
  }

  /// No number stands for two commits, each commit follows the one before, and epochs never go back.
  func check(_ group: GroupID, _ comment: Comment) {
    let all = roots.withLock { $0[group] ?? [] }
    var nonces: [CommitNumber: Nonce] = [:]
    for root in all {
      for commit in [root.commit] + root.history {
        #expect(nonces[commit.number] ?? commit.nonce == commit.nonce, comment)
        nonces[commit.number] = commit.nonce
      }
      let numbers = ([root.commit] + root.history).map(\.number)
      #expect(numbers == (0..<numbers.count).map { root.commit.number - UInt64($0) }, comment)
    }
    let ordered = all.sorted { ($0.epoch, $0.commit.number) < ($1.epoch, $1.commit.number) }
    for (earlier, later) in zip(ordered, ordered.dropFirst()) {
      #expect(earlier.commit.number <= later.commit.number, comment)
      // Within an epoch there is one writer.
      if earlier.epoch == later.epoch, case .held(let a) = earlier.claim,
        case .held(let b) = later.claim
      {
        #expect(a == b, comment)
      }
    }
  }
}

/// A daemon's way to the store on which requests can be held up, as by SIGSTOP, and cut off, as by
/// SIGKILL, before or after the store has done them.
final class PausingStore: ObjectStore {
  /// On which side of the store a request stops.
  enum Side: CaseIterable { case before, after }

  private struct State {
    var requests: [String] = []
    /// The request that stops next, counted from 0.
    var stop: (at: Int, side: Side)?
    var isStopped = false
    var isDead = false
    var continuation: CheckedContinuation<Void, Never>?
    /// Probability of a pause at each side, and where the chance comes from.
    var chance = 0.0
    var generator = SplitMix64(seed: 0)
  }

  private let inner: any ObjectStore
  private let state = Lock(State())

  init(_ inner: any ObjectStore) { self.inner = inner }

  var address: String { inner.address }
  /// What was asked for so far.
  var requests: [String] { state.withLock { $0.requests } }
  var isStopped: Bool { state.withLock { $0.isStopped } }

  /// Request number `index` is held up until `resume`.
  func stop(at index: Int, _ side: Side) { state.withLock { $0.stop = (index, side) } }

  /// Requests pause at random.
  func pauseAtRandom(_ chance: Double, seed: UInt64) {
    state.withLock { state in
      state.chance = chance
      state.generator = SplitMix64(seed: seed)
    }
  }

  /// From now on every request fails, also the one held up; that one is still done by the store.
  func kill() { state.withLock { $0.isDead = true } }

  func resume() {
    let continuation = state.withLock { state in
      state.isStopped = false
      defer { state.continuation = nil }
      return state.continuation
    }
    continuation?.resume()
  }

  private func begin(_ what: String) throws(StoreError) -> Int {
    let (index, isDead) = state.withLock { state in
      state.requests.append(what)
      return (state.requests.count - 1, state.isDead)
    }
    if isDead { throw dead(what) }
    return index
  }

  private func dead(_ what: String) -> StoreError {
    StoreError(.accessDenied, operation: what, object: "", detail: "the daemon is dead")
  }

  private func pass(_ index: Int, _ side: Side) async {
    let pause = state.withLock { state -> Int in
      guard state.chance > 0, Double.random(in: 0..<1, using: &state.generator) < state.chance
      else { return 0 }
      return Int.random(in: 1...3000, using: &state.generator)
    }
    if pause > 0 { try? await Task.sleep(for: .microseconds(pause)) }
    await withCheckedContinuation { continuation in
      let goesOn = state.withLock { state in
        guard let stop = state.stop, stop.at == index, stop.side == side else { return true }
        state.stop = nil
        state.isStopped = true
        state.continuation = continuation
        return false
      }
      if goesOn { continuation.resume() }
    }
  }

  private func end(_ what: String) throws(StoreError) {
    if state.withLock({ $0.isDead }) { throw dead(what) }
  }

  func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    let index = try begin("GET \(key)")
    await pass(index, .before)
    let info = try await inner.get(key, range: range, into: buffer, priority: priority)
    await pass(index, .after)
    try end("GET \(key)")
    return info
  }

  func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    let index = try begin("PUT \(key)")
    await pass(index, .before)
    let result: Result<ETag, StoreError>
    do throws(StoreError) {
      result = .success(
        try await inner.put(key, body, condition: condition, priority: priority))
    } catch {
      result = .failure(error)
    }
    await pass(index, .after)
    try end("PUT \(key)")
    return try result.get()
  }

  func delete(_ key: ObjectKey) async throws(StoreError) {
    let index = try begin("DELETE \(key)")
    await pass(index, .before)
    try await inner.delete(key)
    await pass(index, .after)
    try end("DELETE \(key)")
  }

  func list(prefix: String, from token: String?, limit: Int) async throws(StoreError) -> ListPage {
    let index = try begin("LIST \(prefix)")
    await pass(index, .before)
    let page = try await inner.list(prefix: prefix, from: token, limit: limit)
    await pass(index, .after)
    try end("LIST \(prefix)")
    return page
  }
}
