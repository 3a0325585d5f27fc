import FuseKit
import RegionCore

/// Decides from what it is shown, about once a second, whether requests have been waiting too long
/// and whether that is to be reported. A value: no clock, no I/O, no lock.
public struct Watchdog: Sendable {
  /// How long a callback may keep its thread.
  public static let callbackLimit = Duration.seconds(5)
  /// Time between two reports of the same trouble.
  public static let reportInterval = Duration.seconds(60)

  /// How long a request may be parked.
  public let parkedLimit: Duration

  /// What goes on in the mount.
  public struct Sample: Sendable {
    /// Now.
    public var now: MonotonicTime
    /// Callbacks that have not returned.
    public var work: [LoopWork]
    /// Since when the oldest parked request waits.
    public var oldestParked: MonotonicTime?

    /// A sample.
    public init(now: MonotonicTime, work: [LoopWork], oldestParked: MonotonicTime?) {
      self.now = now
      self.work = work
      self.oldestParked = oldestParked
    }
  }

  /// What is wrong.
  public struct Verdict: Equatable, Sendable {
    /// Callbacks that have not returned for too long.
    public var stuck: [LoopWork] = []
    /// How long the oldest parked request has been waiting, if that is too long.
    public var overdue: Duration?
    /// A report is due.
    public var isReportDue = false
    /// What the last report told of is over.
    public var isOver = false

    /// Nothing is wrong.
    public var isQuiet: Bool { stuck.isEmpty && overdue == nil }
  }

  private var since: [LoopWork: MonotonicTime] = [:]
  private var lastReport: MonotonicTime?
  private var reportedStuck = Set<LoopWork>()

  /// A watchdog of a mount whose faults time out after `faultTimeout`.
  public init(faultTimeout: Duration) { parkedLimit = max(.seconds(10), faultTimeout / 2) }

  /// Looks at the mount.
  public mutating func look(at sample: Sample) -> Verdict {
    since = Dictionary(
      sample.work.map { ($0, since[$0] ?? sample.now) }, uniquingKeysWith: { first, _ in first })
    var verdict = Verdict()
    verdict.stuck = sample.work.filter {
      sample.now.since(since[$0] ?? sample.now) >= Self.callbackLimit
    }
    let waiting = sample.oldestParked.map { sample.now.since($0) }
    if let waiting, waiting >= parkedLimit { verdict.overdue = waiting }
    if verdict.isQuiet {
      verdict.isOver = lastReport != nil
      lastReport = nil
      reportedStuck = []
      return verdict
    }
    // A callback that hangs is worth a line at once, whatever was told before.
    let isNew = !reportedStuck.isSuperset(of: verdict.stuck)
    let isLongAgo = lastReport.map { sample.now.since($0) >= Self.reportInterval } ?? true
    if isNew || isLongAgo {
      verdict.isReportDue = true
      lastReport = sample.now
      reportedStuck.formUnion(verdict.stuck)
    }
    return verdict
  }
}

extension RegionFilesystem {
  /// Since when the oldest request waits that was parked until the store answers.
  public var oldestParked: MonotonicTime? { parking.oldest }

  /// Requests that are parked.
  public var parkedCount: Int { parking.count }

  /// What all groups and regions are doing, a line each: for reports of the watchdog.
  public func stateReport() -> [String] {
    snapshots().flatMap { name, group in
      [Self.line(name, group)]
        + group.regions.filter { $0.parked > 0 || $0.chunksPulling > 0 || $0.uncommittedBytes > 0 }
        .map { Self.line(name, $0) }
    }
  }

  private static func line(_ name: FileName?, _ group: GroupSnapshot) -> String {
    let oldest = group.oldestUncommitted.map { ", oldest change \(seconds($0))" } ?? ""
    let error = group.lastError.map { ", last error: \($0)" } ?? ""
    return "group \(name?.description ?? "\(group.id)"): \(group.role), commit \(group.commit), "
      + "\(group.uncommittedBytes) bytes uncommitted, \(group.bytesInUpload) in upload"
      + oldest + error
  }

  private static func line(_ name: FileName?, _ region: RegionSnapshot) -> String {
    let path = ([name].compactMap { $0 } + region.path).map(\.description).joined(separator: "/")
    let oldest = region.oldestParked.map { " (oldest \(seconds($0)))" } ?? ""
    let error = region.lastError.map { ", last error: \($0)" } ?? ""
    return "region \(path): \(region.parked) requests parked\(oldest), "
      + "\(region.chunksPulling) chunks pulling, "
      + "\(region.chunksPresent) of \(region.chunksTotal) present, "
      + "\(region.uncommittedBytes) bytes uncommitted\(error)"
  }

  private static func seconds(_ duration: Duration) -> String { "\(duration.components.seconds) s" }
}
