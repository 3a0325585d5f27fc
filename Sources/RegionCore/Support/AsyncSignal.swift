import Locks

/// Wakes a task that waits: signals given while nobody waits are remembered (as one).
final class AsyncSignal: Sendable {
  private struct State {
    var isSet = false
    var waiter: (id: UInt64, continuation: CheckedContinuation<Void, Never>)?
    var nextID: UInt64 = 0
  }

  private let state = Lock(State())

  /// Wakes the waiting task, or the next one that waits.
  func signal() {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard let waiter = state.waiter else {
        state.isSet = true
        return nil
      }
      state.waiter = nil
      return waiter.continuation
    }
    waiter?.resume()
  }

  /// Suspends until a signal or, if `limit` is given, until it has passed. One task at a time.
  func wait(upTo limit: Duration?, on engine: EngineContext) async {
    let id = state.withLock { state -> UInt64 in
      state.nextID += 1
      return state.nextID
    }
    let timer = limit.map { limit in
      engine.executor.spawn {
        await engine.clock.sleep(for: limit)
        if !Task.isCancelled { self.expire(id) }
      }
    }
    await withCheckedContinuation { continuation in
      let isSet = state.withLock { state -> Bool in
        if state.isSet || state.nextID != id {
          state.isSet = false
          return true
        }
        state.waiter = (id, continuation)
        return false
      }
      if isSet { continuation.resume() }
    }
    timer?.cancel()
  }

  private func expire(_ id: UInt64) {
    let waiter = state.withLock { state -> CheckedContinuation<Void, Never>? in
      guard let waiter = state.waiter, waiter.id == id else {
        // It may not have begun to wait yet: then it need not.
        if state.nextID == id { state.isSet = true }
        return nil
      }
      state.waiter = nil
      return waiter.continuation
    }
    waiter?.resume()
  }
}
