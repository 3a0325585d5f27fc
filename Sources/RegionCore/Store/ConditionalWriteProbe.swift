/// Whether a store honours conditional writes: asked by racing two of them.
///
/// In two steps of a round trip each. The first makes an object twice at once and replaces one that is
/// not there: it finds a store that does not know the conditions. The second replaces the object
/// twice at once, under its version.
public enum ConditionalWriteProbe {
  /// The object that the first step made.
  public struct Made: Sendable {
    /// Where it is.
    public let key: ObjectKey
    fileprivate let etag: ETag
  }

  /// Why there is no good answer.
  public enum Failure: Error, Equatable {
    /// The store does not honour them: two writers could destroy each other's data.
    case ignored
    /// The store refuses to be asked.
    case refused(StoreError)
    /// No answer to the question for now; the last error, if there was one.
    case undecided(StoreError?)
  }

  /// Rounds that may end without an answer to the question: a busy store, a broken connection, an
  /// acknowledgement that was lost. Where one request in three fails, so do three rounds in four.
  private static let rounds = 48
  /// Rounds in a row in which not even the first request was answered: the store is down.
  private static let silentRounds = 12

  /// What a step found, and the objects that it may have left beside what it made.
  private struct Outcome {
    var finding: Finding
    var leftovers: [ObjectKey] = []
  }

  private enum Finding {
    case honoured(Made)
    case ignored
    /// Nothing was written; the error that is why.
    case silent(StoreError)
    /// Nothing can be concluded; the error that is why, or none if an answer may have been lost.
    case unclear(StoreError?)
  }

  /// Both steps, and nothing is left.
  ///
  /// - Throws: `Failure` if the store does not honour them, or cannot be asked.
  public static func check(
    _ store: any ObjectStore, clock: any EngineClock
  ) async throws(Failure) {
    await remove(try await leftover(of: store, clock: clock), of: store)
  }

  /// The same, with the object of the probe left for the caller to remove in his own time. The first
  /// step may have been done already.
  ///
  /// - Throws: `Failure`, see `check`.
  public static func leftover(
    of store: any ObjectStore, after made: Made? = nil, clock: any EngineClock
  ) async throws(Failure) -> ObjectKey {
    var made = made
    return try await repeated(store, clock) {
      if let made = made.take() { return await replace(store, made) }
      let outcome = await make(store)
      guard case .honoured(let made) = outcome.finding else { return outcome }
      return await replace(store, made)
    }.key
  }

  /// The first step alone.
  ///
  /// - Throws: `Failure`, see `check`.
  public static func glance(
    _ store: any ObjectStore, clock: any EngineClock
  ) async throws(Failure) -> Made {
    try await repeated(store, clock) { await make(store) }
  }

  /// Asks until there is an answer.
  private static func repeated(
    _ store: any ObjectStore, _ clock: any EngineClock, _ ask: () async -> Outcome
  ) async throws(Failure) -> Made {
    var last: StoreError?
    var silence = 0
    for _ in 0..<rounds where silence < silentRounds {
      let outcome = await ask()
      for key in outcome.leftovers { await remove(key, of: store) }
      switch outcome.finding {
      case .honoured(let made): return made
      case .ignored: throw .ignored
      case .silent(let error):
        guard error.isRetryable else { throw .refused(error) }
        silence += 1
        last = error
      case .unclear(let error):
        if let error, !error.isRetryable { throw .refused(error) }
        silence = 0
        last = error ?? last
      }
      // Silence waits longer each time, a store that answers is asked again soon.
      await clock.sleep(for: .milliseconds(50 << min(silence, 5)))
    }
    throw .undecided(last)
  }

  /// What a failure leaves is one small object that nobody looks at.
  private static func remove(_ key: ObjectKey, of store: any ObjectStore) async {
    do throws(StoreError) { try await store.delete(key) } catch {}
  }

  // MARK: The steps

  private static func make(_ store: any ObjectStore) async -> Outcome {
    let key = ObjectKey(composed: "mounts/probe-\(Random128.random())")
    let absent = ObjectKey(composed: "\(key)-absent")
    async let first = attempt(store, key, .absent)
    async let second = attempt(store, key, .absent)
    async let third = attempt(store, absent, .matches(ETag("\"\(Random128.random())\"")))
    let answers = await [first, second, third]
    let finding = finding(made: answers)
    var written = answers[2].mayHaveMade ? [absent] : []
    if case .honoured = finding { return Outcome(finding: finding, leftovers: written) }
    if answers[..<2].contains(where: \.mayHaveMade) { written.append(key) }
    return Outcome(finding: finding, leftovers: written)

    func finding(made answers: [Answer]) -> Finding {
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
  }

  private static func replace(_ store: any ObjectStore, _ made: Made) async -> Outcome {
    async let first = attempt(store, made.key, .matches(made.etag))
    async let second = attempt(store, made.key, .matches(made.etag))
    async let third = attempt(store, made.key, .absent)
    let finding = finding(replaced: await [first, second, third])
    if case .honoured = finding { return Outcome(finding: finding) }
    return Outcome(finding: finding, leftovers: [made.key])

    func finding(replaced answers: [Answer]) -> Finding {
      // Two winners, or a name made twice: no error elsewhere changes what that means.
      if case (.made, .made) = (answers[0], answers[1]) { return .ignored }
      if case .made = answers[2] { return .ignored }
      if let error = answers.lazy.compactMap(\.error).first { return .unclear(error) }
      for case .made(_) in answers { return .honoured(made) }
      return .unclear(nil)
    }
  }

  /// What became of a PUT.
  private enum Answer {
    case made(ETag)
    case refused
    case failed(StoreError)

    var error: StoreError? { if case .failed(let error) = self { error } else { nil } }
    /// Also where the answer was lost.
    var mayHaveMade: Bool { if case .refused = self { false } else { true } }
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
