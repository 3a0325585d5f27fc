import Glibc
import Locks
import RegionControl
import RegionFilesystem

/// `pull=full`: the mount is called ready when everything is here.
extension Daemon {
  /// Returns when all that can be had of the store is here, or the mount has gone. The mount answers
  /// meanwhile.
  func pullEverything(telling readiness: borrowing DaemonReadiness) {
    guard configuration.options.pull == .full else { return }
    guard !progress.isOffline else {
      return engine.log(
        .warning, "pull=full: the store does not answer; files are pulled when they are opened")
    }
    let state = Lock(WholePull())
    let isDone = Lock(false)
    engine.executor.spawn { [self] in
      await filesystem.pullEverything(state) { [self] in !isUnmounted }
      isDone.withLock { $0 = true }
    }
    var toldAt = engine.clock.now
    while !isDone.withLock({ $0 }) {
      usleep(10_000)
      guard engine.clock.now.since(toldAt) >= .milliseconds(200) else { continue }
      toldAt = engine.clock.now
      readiness.notYet(text(of: state.withLock { $0 }), getsOn: !stack.health.isDown)
    }
    report(state.withLock { $0 })
  }

  /// How far it is, in one line.
  private func text(of pull: WholePull) -> String {
    let left = state(remaining: pull.bytesLeft, traffic: progress.throughput.received)
    return "pulling everything, \(pull.filesLeft) of \(pull.files) files: \(left.text)"
  }

  private func report(_ pull: WholePull) {
    guard !isUnmounted else { return }
    for problem in pull.problems { engine.log(.warning, "not everything is here: \(problem)") }
    if pull.moreProblems > 0 { engine.log(.warning, "and \(pull.moreProblems) more are not here") }
    if pull.problems.isEmpty { engine.log(.info, "everything is here: \(pull.files) files") }
  }
}
