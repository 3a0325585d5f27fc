import Glibc
import Locks
import RegionCore
import RegionFilesystem

/// Says in the store that this mount is alive, for others' EBUSY messages: one small PUT a minute
/// while it holds a claim, and a DELETE at the end.
final class Heartbeat: Sendable {
  private static let interval = Duration.seconds(60)

  private let engine: EngineContext
  private let filesystem: RegionFilesystem
  private let records: MountRecords
  private let state = Lock((hasBeaten: false, isOver: false))

  init(engine: EngineContext, filesystem: RegionFilesystem, store: any ObjectStore) {
    self.engine = engine
    self.filesystem = filesystem
    records = MountRecords(engine: engine, store: store)
  }

  func start() {
    guard !engine.settings.isReadOnly else { return }
    engine.executor.spawn { await self.beat() }
  }

  private func beat() async {
    var last: MonotonicTime?
    while !state.withLock({ $0.isOver }) {
      let isDue = last.map { engine.clock.now.since($0) >= Self.interval } ?? true
      if isDue, filesystem.holdsClaims {
        state.withLock { $0.hasBeaten = true }
        last = engine.clock.now
        await records.beat()
      }
      await engine.clock.sleep(for: .seconds(1))
    }
  }

  /// Takes the record away; not at any price, so it waits for the store a few seconds at most.
  func stop() {
    let hasBeaten = state.withLock { state in
      state.isOver = true
      return state.hasBeaten
    }
    guard hasBeaten else { return }
    let isDone = Lock(false)
    engine.executor.spawn { [records] in
      await records.remove()
      isDone.withLock { $0 = true }
    }
    for _ in 0..<300 where !isDone.withLock({ $0 }) { usleep(10_000) }
  }
}
