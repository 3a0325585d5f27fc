import FoundationEssentials
import RegionControl

/// Where the reports come from: one mount, one path under it, or all mounts of the user.
struct StatusSource {
  private enum Scope {
    case all
    case place(LocatedPath)
  }

  private let scope: Scope
  /// Daemons that did not answer properly, each told on stderr.
  let problems: [ControlError]

  /// - Throws: `ControlError` with code `noDaemon` if `path` is not on a regionfs mount.
  init(path: String?) throws(ControlError) {
    guard let path else {
      scope = .all
      problems = Self.findAll().problems
      for problem in problems {
        ProgressDisplay.write("regionfs-stat: \(HumanText.printable(problem.message))\n")
      }
      return
    }
    scope = .place(try LocatedPath(path, environment: ProcessInfo.processInfo.environment))
    problems = []
  }

  /// Asks anew, for maps of at most so many cells too.
  ///
  /// - Throws: `ControlError`, for a path also `notFound`.
  func reports(mapCells: Int? = nil) throws(ControlError) -> [StatusReport] {
    switch scope {
    case .place(let place): return [try Self.report(of: place, mapCells)]
    case .all:
      var reports: [StatusReport] = []
      for daemon in Self.findAll().daemons {
        do throws(ControlError) {
          var client = try ControlClient(socketPath: daemon.socketPath)
          reports.append(try client.status(mapCells: mapCells))
        } catch {
          // A daemon that ended since is simply no longer there.
          guard error.code == .noDaemon || error.code == .closed else { throw error }
        }
      }
      return reports
    }
  }

  private static func report(of place: LocatedPath, _ mapCells: Int?) throws(ControlError)
    -> StatusReport
  {
    var client = try ControlClient(socketPath: place.daemon.socketPath)
    let inside = place.inside.isEmpty ? nil : place.inside
    let report = try client.status(path: inside, mapCells: mapCells)
    if let inside, report.regions.isEmpty {
      throw ControlError(.notFound, "no region at \(place.entry.mountpoint)/\(inside)")
    }
    return report
  }

  private static func findAll() -> (daemons: [FoundDaemon], problems: [ControlError]) {
    var problems: [ControlError] = []
    let directories = ControlDirectory.searchPaths(
      environment: ProcessInfo.processInfo.environment)
    let daemons = ControlClient.findDaemons(in: directories, problems: &problems)
    return (daemons, problems)
  }
}

/// How far `--wait` is from its goal.
struct WaitState {
  /// There is nothing left to wait for.
  let isReached: Bool
  /// Why it will never be reached; nil: it may.
  let obstacle: String?
  /// One line of progress.
  let text: String

  init(goal: WaitGoal, reports: [StatusReport]) {
    let regions = reports.flatMap(\.regions)
    switch goal {
    case .committed:
      let left = regions.filter { !$0.isCommitted }
      isReached = left.isEmpty
      obstacle = left.first { $0.role == .lost }.map { region in
        "\(region.name) cannot be committed: \(region.roleReason ?? "its claim was lost")"
      }
      let bytes = left.reduce(0) { $0 &+ max($1.dirtyBytes, $1.uploadingBytes) }
      let oldest = left.compactMap(\.oldestUncommittedSeconds).max()
      text =
        "\(HumanText.bytes(bytes)) not committed, the oldest for \(HumanText.seconds(oldest))"
        + Self.storeProblem(reports)
    case .pulled:
      let left = regions.filter { !$0.isPulled }
      isReached = left.isEmpty
      obstacle = nil
      let chunks = left.reduce(0) { $0 &+ ($1.chunksTotal &- $1.chunksPresent) }
      let rate = left.reduce(0) { $0 + $1.pull.rateBytesPerSecond }
      let lazy = left.contains { $0.pull.mode == "lazy" } ? " (pull=lazy waits for readers)" : ""
      text =
        "\(chunks) chunks not here, pulling \(HumanText.rate(bytesPerSecond: rate))\(lazy)"
        + Self.storeProblem(reports)
    }
  }

  private static func storeProblem(_ reports: [StatusReport]) -> String {
    guard let store = reports.first(where: { !$0.store.reachable })?.store else { return "" }
    let reason = store.lastError.map { ": " + HumanText.printable($0.message) } ?? ""
    return "; store not reachable" + reason
  }
}
