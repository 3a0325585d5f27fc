import Locks
import RegionCore
import RegionFilesystem

/// What asking the store at a mount's beginning comes to.
struct StoreSearch: Sendable {
  /// A former mount of this cache has seen that the store honours conditional writes.
  var isRemembered: Bool
  /// The cache has what it takes to begin without the store.
  var mayBeOffline: Bool
  fileprivate let finding = BlockingResult<Daemon.Finding>()
}

/// Reaching the store: before the mount, or after it where the cache has what it takes to begin
/// without.
extension Daemon {
  /// How a store was found.
  enum Finding: Sendable {
    /// It answers, and honours what the mount needs as far as that was looked at.
    case usable(ConditionalWriteProbe.Made?)
    /// It does not answer.
    case unreachable(StackError)
    /// It cannot be used.
    case refused(StackError)
  }

  /// How long a mount that could begin offline waits for the store.
  private static let patience = Duration.seconds(5)

  /// Begins to ask the store, beside whatever else there is to do.
  func beginSearch() -> StoreSearch {
    let isRemembered = filesystem.isStoreChecked
    let search = StoreSearch(
      isRemembered: isRemembered,
      mayBeOffline: filesystem.knowsStore && (isRemembered || !needsCheck))
    if let firstReads { beginReading(firstReads) }
    engine.executor.spawn { [self] in
      let limit = search.mayBeOffline ? Self.patience : nil
      search.finding.set(await find(within: limit, checking: !isRemembered))
    }
    return search
  }

  /// Whether the store answers; false: not yet, and the mount begins with what the cache has.
  func reachStore(_ search: StoreSearch) throws(StackError) -> Bool {
    switch search.finding.wait() {
    case .usable(let made):
      goOn(after: made)
      return true
    case .refused(let error): throw error
    case .unreachable(let error):
      guard search.mayBeOffline else { throw error }
      engine.health.noteDown(isChecked: !needsCheck)
      progress.noteOffline()
      engine.log(
        .warning, "mounted offline, with what the cache \(cache.path) has: \(error.description)")
      return false
    }
  }

  /// Asks until the store can be used, after a mount that began offline.
  func goOnline() async {
    var pause = Duration.milliseconds(200)
    while progress.state == .running || progress.state == .draining {
      switch await find(checking: true) {
      case .usable(let made):
        engine.health.noteAnswer()
        goOn(after: made)
        progress.noteOnline()
        engine.log(.info, "the store answers; the mount is online")
        await filesystem.recoverLogs(cache)
        return await finishRenames()
      case .refused(let error): engine.log(.error, "nothing is pushed: \(error.description)")
      case .unreachable(let error): engine.log(.debug, error.description)
      }
      await engine.clock.sleep(for: pause)
      pause = min(pause * 2, .seconds(5))
    }
  }

  /// Ends what renames at the top left half done; needs the store.
  func finishRenames() async {
    if !configuration.options.readOnly { await filesystem.finishRenames() }
  }

  private func noteUsable() {
    engine.health.endCheck(isHonoured: true)
    filesystem.noteStore(isChecked: needsCheck)
  }

  private func find(within limit: Duration?, checking: Bool) async -> Finding {
    guard let limit else { return await find(checking: checking) }
    if let finding = await engine.value(of: { await self.find(checking: checking) }, within: limit)
    {
      return finding
    }
    return .unreachable(StackError("\(configuration.store) has not answered within \(limit)"))
  }

  private func find(checking: Bool) async -> Finding {
    // Only then the check: it writes, and some stores make a bucket whose name was mistyped.
    let answer = await listNames()
    guard case .usable = answer, checking, needsCheck else { return answer }
    do throws(ConditionalWriteProbe.Failure) {
      return .usable(try await ConditionalWriteProbe.glance(stack.probe, clock: engine.clock))
    } catch {
      let failure = StackError(error, of: stack.probe)
      return failure.isPassing ? .unreachable(failure) : .refused(failure)
    }
  }

  private func listNames() async -> Finding {
    // Patiently: a store that restarts or is busy should not fail a mount at boot.
    for pause in [100, 200, 400, 800, 1600, nil] {
      do throws(StoreError) {
        if let firstReads {
          let start = engine.clock.now
          _ = try await firstReads.names()
          engine.bulk.noteFirstAnswer(engine.clock.now.since(start))
        } else {
          _ = try await stack.probe.list(prefix: "groups/", from: nil, limit: 1)
        }
        break
      } catch {
        let failure = StackError(StoreAdvice.line(for: error))
        guard error.isRetryable else { return .refused(failure) }
        guard let pause else { return .unreachable(failure) }
        await engine.clock.sleep(for: .milliseconds(pause))
      }
    }
    return .usable(nil)
  }

  // MARK: Conditional writes

  /// Nothing vouches for the store's conditional writes, and the mount needs them.
  private var needsCheck: Bool {
    !stack.isTrusted && !configuration.options.readOnly && !configuration.options.unsafeNoCAS
  }

  /// The store answers: what it honours, only claims and commits wait to know.
  private func goOn(after made: ConditionalWriteProbe.Made?) {
    guard needsCheck else { return noteUsable() }
    engine.health.beginCheck()
    engine.executor.spawn { await self.verifyWrites(after: made) }
  }

  /// Checks the whole of what a glance, or a former mount of this cache, has seen.
  private func verifyWrites(after made: ConditionalWriteProbe.Made?) async {
    var made = made
    var pause = Duration.milliseconds(200)
    while progress.state == .running || progress.state == .draining {
      do throws(ConditionalWriteProbe.Failure) {
        let key = try await ConditionalWriteProbe.leftover(
          of: stack.probe, after: made.take(), clock: engine.clock)
        noteUsable()
        return await remove(key)
      } catch {
        let failure = StackError(error, of: stack.probe)
        engine.log(
          failure.isPassing ? .warning : .error, "nothing is pushed: \(failure.description)")
      }
      engine.health.endCheck(isHonoured: false)
      await engine.clock.sleep(for: pause)
      pause = min(pause * 2, .seconds(5))
    }
  }

  private func remove(_ key: ObjectKey) async {
    do throws(StoreError) {
      try await stack.probe.delete(key)
    } catch {
      engine.log(.info, "\(key) of the store's check stays there: \(error)")
    }
  }

  // MARK: The first reads

  private var firstReads: FirstReads? {
    stack.early.map {
      FirstReads(
        store: stack.probe, early: $0, executor: engine.executor,
        replays: engine.settings.pull != .lazy)
    }
  }

  /// How long what was read early is kept for who asks.
  private static let earlyTime = Duration.seconds(10)

  private func beginReading(_ reads: FirstReads) {
    let known = filesystem.knownRecords
    if known.isEmpty { engine.start.begin() }
    reads.start(known: known)
    engine.executor.spawn {
      await self.engine.clock.sleep(for: Self.earlyTime)
      reads.end()
    }
  }
}
