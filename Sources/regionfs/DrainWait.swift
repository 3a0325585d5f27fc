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
  ///
  /// - Returns: 0 once everything is committed and the daemon has ended; `ExitStatus.partial` if it
  ///   ended or was given up before.
  func follow(storeTimeout: Duration) -> Int32 {
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
        if !cacheHasLogs { return 0 }
      }
      return explain(error, last: last, gaveUp: gaveUp)
    }
    process.waitUntilGone()
    display.finish()
    return 0
  }

  /// Whether the cache holds changes that may not be committed: a log goes when all of it is.
  private var cacheHasLogs: Bool {
    do throws(LocalError) {
      return try !CacheDirectory.groupsWithLogs(in: daemon.mount.cacheDirectory).isEmpty
    } catch {
      return error.code != ENOENT
    }
  }

  private func explain(_ error: ControlError, last: SyncProgress?, gaveUp: Bool) -> Int32 {
    let bytes = last.map { HumanText.bytes($0.remainingBytes) } ?? "an unknown amount"
    let place = HumanText.printable(daemon.mount.cacheDirectory)
    let ended = process.isGone
    let reason =
      gaveUp
      ? "the store does not answer"
      : ended ? "the daemon ended before it had finished" : HumanText.printable(error.message)
    let outlook =
      ended
      ? "the next mount carries on"
      : "its daemon (pid \(daemon.mount.pid)) goes on trying, and the next mount carries on"
    ProgressDisplay.write(
      "regionfs: unmounted, but \(bytes) not committed: \(reason). The changes are safe in \(place); "
        + "\(outlook).\n")
    return ExitStatus.partial
  }

  /// Says what is not committed, without waiting for it.
  func tellWhatStays() {
    var remaining: UInt64?
    do throws(ControlError) {
      var client = try ControlClient(socketPath: daemon.socketPath)
      let report = try client.status(timeout: .seconds(2))
      remaining = report.regions.reduce(0) { $0 &+ $1.dirtyBytes }
    } catch {
      // The daemon had nothing left to do and ended.
      if process.isGone || error.code == .noDaemon { return }
    }
    guard remaining != 0 else { return }
    let bytes = remaining.map(HumanText.bytes) ?? "an unknown amount"
    ProgressDisplay.write(
      "regionfs: \(bytes) not committed yet, safe in "
        + "\(HumanText.printable(daemon.mount.cacheDirectory)); the daemon (pid "
        + "\(daemon.mount.pid)) goes on pushing. Follow it with: regionfs umount "
        + "\(HumanText.printable(daemon.mount.mountpoint))\n")
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
