import RegionCore

/// Whether a store honours conditional writes: asked by racing two of them.
enum ConditionalWriteProbe {
  /// Rounds that may end without an answer to the question: a busy store, a broken connection, an
  /// acknowledgement that was lost. Where one request in three fails, so do three rounds in four.
  private static let rounds = 48
  /// Rounds in a row in which not even the first request was answered: the store is down.
  private static let silentRounds = 12

  private enum Finding {
    case honoured, ignored
    /// Nothing was written; the error that is why, or none if the answer may have been lost.
    case silent(StoreError?)
    /// Nothing can be concluded; the error, if that is why.
    case unclear(StoreError?)
  }

  /// Throws if the store does not honour them, or cannot be asked.
  static func check(_ store: any ObjectStore, clock: any EngineClock) async throws(StackError) {
    let key = try await leftover(of: store, clock: clock)
    // What a failure leaves is one small object that nobody looks at.
    do throws(StoreError) { try await store.delete(key) } catch {}
  }

  /// The same, with the object of the probe left for the caller to remove in his own time.
  static func leftover(
    of store: any ObjectStore, clock: any EngineClock
  ) async throws(StackError) -> ObjectKey {
    var last: StoreError?
    var silence = 0
    for _ in 0..<rounds where silence < silentRounds {
      guard let key = ObjectKey("mounts/probe-\(Random128.random())") else {
        throw StackError("no name for the probe")
      }
      let finding = await ask(store, key)
      if case .honoured = finding { return key }
      do throws(StoreError) { try await store.delete(key) } catch { last = error }
      switch finding {
      case .honoured: return key
      case .ignored: throw StackError(refusal(store.address))
      case .silent(let error?) where !error.isRetryable,
        .unclear(let error?) where !error.isRetryable:
        throw StackError(StoreAdvice.line(for: error))
      case .silent(let error):
        silence += 1
        last = error ?? last
      case .unclear(let error):
        silence = 0
        last = error ?? last
      }
      // Silence waits longer each time, a store that answers is asked again soon.
      await clock.sleep(for: .milliseconds(50 << min(silence, 5)))
    }
    throw StackError(
      last.map { StoreAdvice.line(for: $0) }
        ?? "\(store.address) does not say whether it honours conditional writes; try again",
      isPassing: true)
  }

  private static func refusal(_ address: String) -> String {
    "\(address) does not honour conditional writes (If-None-Match, If-Match), so two writers could destroy each other's data. Mount it read-only (-o ro), use a store that does, or, if nobody else will ever write there, -o unsafe_no_cas"
  }

  private static func ask(_ store: any ObjectStore, _ key: ObjectKey) async -> Finding {
    let etag: ETag
    do throws(StoreError) {
      etag = try await store.put(key, body(), condition: .absent, priority: .demand)
    } catch {
      // A refusal can only be our own PUT's, whose answer was lost and which was sent again.
      let isRefusal = error.kind == .preconditionFailed || error.kind == .conflict
      return .silent(isRefusal ? nil : error)
    }
    async let first = attempt(store, key, .matches(etag))
    async let second = attempt(store, key, .matches(etag))
    async let third = attempt(store, key, .absent)
    let answers = await [first, second, third]
    // Two winners, or a name made twice: no error elsewhere changes what that means.
    if case (.success(true), .success(true)) = (answers[0], answers[1]) { return .ignored }
    if case .success(true) = answers[2] { return .ignored }
    for case .failure(let error) in answers { return .unclear(error) }
    let winners = answers.filter { (try? $0.get()) == true }
    return winners.count == 1 ? .honoured : .unclear(nil)
  }

  /// Whether the PUT was done; refusals are answers, other errors are errors.
  private static func attempt(
    _ store: any ObjectStore, _ key: ObjectKey, _ condition: PutCondition
  ) async -> Result<Bool, StoreError> {
    do throws(StoreError) {
      _ = try await store.put(key, body(), condition: condition, priority: .demand)
      return .success(true)
    } catch {
      switch error.kind {
      case .preconditionFailed, .conflict: return .success(false)
      default: return .failure(error)
      }
    }
  }

  /// Bytes that no other PUT has.
  private static func body() -> IOBuffer {
    IOBuffer(Array("regionfs-probe \(Random128.random())\n".utf8))
  }
}
