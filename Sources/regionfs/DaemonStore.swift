import RegionCore
import RegionFilesystem

/// Reaching the store: before the mount, or after it where the cache has what it takes to begin
/// without.
extension Daemon {
  /// How a store was found.
  private enum Finding: Sendable {
    /// It answers and honours what the mount needs.
    case usable
    /// It does not answer.
    case unreachable(StackError)
    /// It cannot be used.
    case refused(StackError)
  }

  /// How long a mount that could begin offline waits for the store.
  private static let patience = Duration.seconds(5)

  /// Whether the store answers; false: not yet, and the mount begins with what the cache has.
  func reachStore() throws(StackError) -> Bool {
    let mayBeOffline = filesystem.canMountOffline
    let finding = wait { await self.find(within: mayBeOffline ? Self.patience : nil) }
    switch finding {
    case .usable:
      noteUsable()
      return true
    case .refused(let error): throw error
    case .unreachable(let error):
      guard mayBeOffline else { throw error }
      engine.health.noteDown(isChecked: stack.isTrusted || configuration.options.unsafeNoCAS)
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
      switch await find(within: nil) {
      case .usable:
        engine.health.noteAnswer()
        noteUsable()
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
    engine.health.noteChecked()
    filesystem.noteStore(isChecked: !configuration.options.readOnly)
  }

  private func find(within limit: Duration?) async -> Finding {
    guard let limit else { return await find() }
    let begin = engine.clock.now
    let answer = Lock<Finding?>(nil)
    engine.executor.spawn {
      let finding = await self.find()
      answer.withLock { $0 = finding }
    }
    while engine.clock.now.since(begin) < limit {
      if let finding = answer.withLock({ $0 }) { return finding }
      await engine.clock.sleep(for: .milliseconds(5))
    }
    return .unreachable(StackError("\(configuration.store) has not answered within \(limit)"))
  }

  private func find() async -> Finding {
    // Patiently: a store that restarts or is busy should not fail a mount at boot.
    for pause in [100, 200, 400, 800, 1600, nil] {
      do throws(StoreError) {
        _ = try await stack.probe.list(prefix: "groups/", from: nil, limit: 1)
        break
      } catch {
        let failure = StackError(StoreAdvice.line(for: error))
        guard error.isRetryable else { return .refused(failure) }
        guard let pause else { return .unreachable(failure) }
        await engine.clock.sleep(for: .milliseconds(pause))
      }
    }
    guard !stack.isTrusted, !configuration.options.readOnly, !configuration.options.unsafeNoCAS
    else { return .usable }
    do throws(StackError) {
      try await ConditionalWriteProbe.check(stack.probe, clock: engine.clock)
      return .usable
    } catch {
      return error.isPassing ? .unreachable(error) : .refused(error)
    }
  }
}
