import Glibc
import RegionControl
import RegionCore

/// Waits for a daemon whose mount has gone until it has drained and ended.
struct DrainWait {
  private let daemon: FoundDaemon
  private let process: ProcessWatch

  init(_ daemon: FoundDaemon) {
    self.daemon = daemon
    process = ProcessWatch(pid: daemon.peer.pid)
  }

  /// Follows the drain with progress on stderr.
  func follow(storeTimeout: Duration) -> DrainOutcome {
    var display = ProgressDisplay()
    var last: SyncProgress?
    var unreachableSince: ContinuousClock.Instant?
    var gaveUp = false
    do throws(ControlError) {
      var client = try ControlClient(socketPath: daemon.socketPath)
      try client.drain { progress in
        last = progress
        display.update("regionfs: " + progress.text)
        if progress.storeReachable {
          unreachableSince = nil
        } else {
          let since = unreachableSince ?? .now
          unreachableSince = since
          gaveUp = since.duration(to: .now) > storeTimeout
        }
        return !gaveUp
      }
    } catch {
      display.finish()
      // A daemon that had nothing to push may be gone before it could be asked, or answer.
      if error.code == .noDaemon || error.code == .closed, last == nil {
        process.waitUntilGone()
        if !cacheHasLogs { return outcome(uncommitted: 0) }
      }
      var outcome = outcome(uncommitted: last?.remainingBytes)
      outcome.problem =
        gaveUp
        ? "the store does not answer"
        : outcome.daemonGoesOn ? error.message : "the daemon ended before it had finished"
      return outcome
    }
    process.waitUntilGone()
    display.finish()
    return outcome(uncommitted: 0)
  }

  /// What is not committed, without waiting for it.
  func lookOnce() -> DrainOutcome {
    do throws(ControlError) {
      var client = try ControlClient(socketPath: daemon.socketPath)
      let report = try client.status(timeout: .seconds(2))
      return outcome(uncommitted: report.regions.reduce(0) { $0 &+ $1.dirtyBytes })
    } catch {
      // The daemon had nothing left to do and ended.
      let isOver = process.isGone || error.code == .noDaemon
      return outcome(uncommitted: isOver && !cacheHasLogs ? 0 : nil)
    }
  }

  /// Whether the cache holds changes that may not be committed: a log goes when all of it is.
  private var cacheHasLogs: Bool {
    do throws(LocalError) {
      return try !CacheDirectory.groupsWithLogs(in: daemon.mount.cacheDirectory).isEmpty
    } catch {
      return error.code != ENOENT
    }
  }

  private func outcome(uncommitted: UInt64?) -> DrainOutcome {
    DrainOutcome(
      mountpoint: daemon.mount.mountpoint, uncommittedBytes: uncommitted,
      cacheDirectory: daemon.mount.cacheDirectory, daemonPID: daemon.mount.pid,
      daemonGoesOn: !process.isGone)
  }
}

/// What became of the changes of a mount that has gone; `--json` of `regionfs umount` prints it.
struct DrainOutcome: Encodable {
  var version = 1
  var mountpoint: String
  /// nil: nobody could be asked.
  var uncommittedBytes: UInt64?
  /// Where they are.
  var cacheDirectory: String?
  var daemonPID: Int32?
  var daemonGoesOn = false
  /// Why the wait for it ended.
  var problem: String?

  var isCommitted: Bool { uncommittedBytes == 0 && problem == nil }

  /// One line for people; nil where there is nothing to say.
  var text: String? {
    guard !isCommitted else { return nil }
    guard let place = cacheDirectory.map(HumanText.printable), let pid = daemonPID else {
      return
        "\(HumanText.printable(mountpoint)): unmounted; its daemon does not answer. If anything "
        + "was not committed, it is in the cache directory and the next mount carries on."
    }
    let bytes = uncommittedBytes.map(HumanText.bytes) ?? "an unknown amount"
    if let problem {
      let outlook =
        (daemonGoesOn ? "its daemon (pid \(pid)) goes on trying, and " : "")
        + "the next mount carries on"
      return "unmounted, but \(bytes) not committed: \(HumanText.printable(problem)). "
        + "The changes are safe in \(place); \(outlook)."
    }
    guard daemonGoesOn else {
      return "unmounted, but \(bytes) not committed: the daemon ended. "
        + "The changes are safe in \(place); the next mount carries on."
    }
    return "\(bytes) not committed yet, safe in \(place); the daemon (pid \(pid)) goes on pushing. "
      + "Follow it with: regionfs umount \(HumanText.printable(mountpoint))"
  }
}

/// Knows when a process is gone, even if its pid was given to another.
struct ProcessWatch {
  private let pid: Int32
  private let startTime: String?

  /// - Parameter pid: 0 if the process is out of sight; it then counts as gone.
  init(pid: Int32) {
    self.pid = pid
    startTime = Self.fields(of: pid)?.startTime
  }

  /// It has ended (a zombie has, too).
  var isGone: Bool {
    guard pid > 0, let startTime, let now = Self.fields(of: pid) else { return true }
    return now.startTime != startTime || now.state == "Z" || now.state == "X"
  }

  /// Returns when it has ended.
  func waitUntilGone() {
    while !isGone { usleep(10_000) }
  }

  /// State and start time from `/proc/<pid>/stat` (fields 3 and 22 of proc_pid_stat(5)).
  private static func fields(of pid: Int32) -> (state: String, startTime: String)? {
    guard pid > 0, let text = SmallFile.contents(of: "/proc/\(pid)/stat", limit: 4096),
      // The command's name may hold anything, also parentheses.
      let close = text.lastIndex(of: ")")
    else { return nil }
    let fields = text[text.index(after: close)...].split(separator: " ")
    return fields.count > 19 ? (String(fields[0]), String(fields[19])) : nil
  }
}
