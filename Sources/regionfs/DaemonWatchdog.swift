import FuseKit
import Glibc
import Locks
import RegionControl
import RegionCore
import RegionFilesystem

/// Watches over a mount from a thread of its own, which takes no part in serving it: requests that
/// have been parked for too long, and calls of the kernel that do not let their thread go.
final class DaemonWatchdog: Sendable {
  private struct State {
    var watchdog: Watchdog
    var status = WatchdogStatus()
    var isStopped = false
  }

  private let filesystem: RegionFilesystem
  private let engine: EngineContext
  private let session: FuseSession
  private let meter: MeteredStore
  private let state: Lock<State>

  init(
    filesystem: RegionFilesystem, engine: EngineContext, session: FuseSession, meter: MeteredStore
  ) {
    self.filesystem = filesystem
    self.engine = engine
    self.session = session
    self.meter = meter
    state = Lock(State(watchdog: Watchdog(faultTimeout: engine.settings.faultTimeout)))
  }

  /// Starts to look, once a second.
  func start() throws(ControlError) {
    try DetachedThread.start { [self] in
      while !state.withLock({ $0.isStopped }) {
        look()
        usleep(1_000_000)
      }
    }
  }

  /// Ends it soon.
  func stop() { state.withLock { $0.isStopped = true } }

  /// What it saw last.
  var status: WatchdogStatus { state.withLock { $0.status } }

  private func look() {
    let sample = Watchdog.Sample(
      now: engine.clock.now, work: session.loopWork, oldestParked: filesystem.oldestParked)
    let parked = UInt64(filesystem.parkedCount)
    let verdict = state.withLock { state in
      let verdict = state.watchdog.look(at: sample)
      state.status.stuckCallbacks = UInt64(verdict.stuck.count)
      state.status.parked = parked
      state.status.oldestParkedSeconds = sample.oldestParked.map {
        sample.now.since($0).secondsValue
      }
      state.status.isOverdue = verdict.overdue != nil
      if verdict.isReportDue { state.status.reports += 1 }
      return verdict
    }
    if verdict.isReportDue { report(verdict, parked) }
    if verdict.isOver { engine.log(.info, "watchdog: no request waits too long any more") }
  }

  private func report(_ verdict: Watchdog.Verdict, _ parked: UInt64) {
    // What needs no lock comes first: the rest may hang on what it tells of.
    for work in verdict.stuck {
      engine.log(
        .error,
        "watchdog: thread fuse-\(work.thread) has been working on one request (FUSE opcode "
          + "\(work.opcode)) for more than \(Watchdog.callbackLimit.components.seconds) s")
    }
    if let overdue = verdict.overdue {
      engine.log(
        .warning,
        "watchdog: \(parked) requests are parked, the oldest for \(overdue.components.seconds) s")
    }
    let store = meter.snapshot()
    engine.log(
      .warning,
      "watchdog: transfers under way: \(store.get.inFlight) get, \(store.put.inFlight) put, "
        + "\(store.delete.inFlight) delete, \(store.list.inFlight) list; "
        + "\(store.errors) errors of \(store.requests) requests")
    for line in filesystem.stateReport() { engine.log(.warning, "watchdog: \(line)") }
  }
}
