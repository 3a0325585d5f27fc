import RegionCore

/// Whether a store honours conditional writes: asked by racing two of them.
///
/// In two steps of a round trip each. The first makes an object twice at once and replaces one that is
/// not there: it finds a store that does not know the conditions. The second replaces the object
/// twice at once, under its version.
enum ConditionalWriteProbe {
  /// The object that the first step made.
  struct Made: Sendable {
    let key: ObjectKey
    fileprivate let etag: ETag
  }

  /// Rounds that may end without an answer to the question: a busy store, a broken connection, an
  /// acknowledgement that was lost. Where one request in three fails, so do three rounds in four.
  private static let rounds = 48
  /// Rounds in a row in which not even the first request was answered: the store is down.
  private static let silentRounds = 12

  private enum Finding {
    case honoured(Made)
    case ignored
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

  /// The same, with the object of the probe left for the caller to remove in his own time. The first
  /// step may have been done already.
  static func leftover(
    of store: any ObjectStore, after made: Made? = nil, clock: any EngineClock
  ) async throws(StackError) -> ObjectKey {
    var made = made
    return try await repeated(store, clock) { key, absent in
      if let made = made.take() {
        let finding = await replace(store, made)
        if case .honoured = finding { return finding }
        _ = try? await store.delete(made.key)
        return finding
      }
      let finding = await make(store, key, absent)
      guard case .honoured(let made) = finding else { return finding }
      return await replace(store, made)
    }.key
  }

  /// The first step alone.
  static func glance(
    _ store: any ObjectStore, clock: any EngineClock
  ) async throws(StackError) -> Made {
    try await repeated(store, clock) { key, absent in await make(store, key, absent) }
  }

  /// Asks until there is an answer.
  private static func repeated(
    _ store: any ObjectStore, _ clock: any EngineClock,
    _ ask: (_ key: ObjectKey, _ absent: ObjectKey) async -> Finding
  ) async throws(StackError) -> Made {
    var last: StoreError?
    var silence = 0
    for _ in 0..<rounds where silence < silentRounds {
      let name = "mounts/probe-\(Random128.random())"
      guard let key = ObjectKey(name), let absent = ObjectKey(name + "-absent") else {
        throw StackError("no name for the probe")
      }
      let finding = await ask(key, absent)
      if case .honoured(let made) = finding { return made }
      for key in [key, absent] {
        do throws(StoreError) { try await store.delete(key) } catch { last = error }
      }
      switch finding {
      case .honoured(let made): return made
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

  // MARK: The steps

  private static func make(
    _ store: any ObjectStore, _ key: ObjectKey, _ absent: ObjectKey
  ) async -> Finding {
    async let first = attempt(store, key, .absent)
    async let second = attempt(store, key, .absent)
    async let third = attempt(store, absent, .matches(ETag("\"\(Random128.random())\"")))
    let answers = await [first, second, third]
    if case .made = answers[2] { return .ignored }
    if case (.made, .made) = (answers[0], answers[1]) { return .ignored }
    let errors = answers.compactMap(\.error)
    if let error = errors.first {
      return errors.count == answers.count ? .silent(error) : .unclear(error)
    }
    for case .made(let etag) in answers { return .honoured(Made(key: key, etag: etag)) }
    // The answer of the one that made it may have been lost.
    return .unclear(nil)
  }

  private static func replace(_ store: any ObjectStore, _ made: Made) async -> Finding {
    async let first = attempt(store, made.key, .matches(made.etag))
    async let second = attempt(store, made.key, .matches(made.etag))
    async let third = attempt(store, made.key, .absent)
    let answers = await [first, second, third]
    // Two winners, or a name made twice: no error elsewhere changes what that means.
    if case (.made, .made) = (answers[0], answers[1]) { return .ignored }
    if case .made = answers[2] { return .ignored }
    if let error = answers.lazy.compactMap(\.error).first { return .unclear(error) }
    for case .made(_) in answers { return .honoured(made) }
    return .unclear(nil)
  }

  /// What became of a PUT.
  private enum Answer {
    case made(ETag)
    case refused
    case failed(StoreError)

    var error: StoreError? { if case .failed(let error) = self { error } else { nil } }
  }

  private static func attempt(
    _ store: any ObjectStore, _ key: ObjectKey, _ condition: PutCondition
  ) async -> Answer {
    do throws(StoreError) {
      return .made(try await store.put(key, body(), condition: condition, priority: .demand))
    } catch {
      switch error.kind {
      case .preconditionFailed, .conflict, .notFound: return .refused
      default: return .failed(error)
      }
    }
  }

  /// Bytes that no other PUT has.
  private static func body() -> IOBuffer {
    IOBuffer(Array("regionfs-probe \(Random128.random())\n".utf8))
  }
}
