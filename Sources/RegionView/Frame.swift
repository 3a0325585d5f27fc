import RegionControl

/// What is drawn where and how: everything that a frame depends on, but for the reports.
public struct FrameSettings: Sendable {
  /// Columns of the screen.
  public var columns: Int
  /// Lines of the screen.
  public var rows: Int
  /// Which region is looked at, counted through all mounts.
  public var selection = 0
  /// Seconds since 1970-01-01 UTC.
  public var now: Double
  /// The characters.
  public var glyphs: Glyphs
  /// A line about the view itself, such as why nothing new comes.
  public var notice: String?

  /// A screen of a size at a time.
  public init(columns: Int, rows: Int, now: Double, glyphs: Glyphs = .blocks) {
    self.columns = columns
    self.rows = rows
    self.now = now
    self.glyphs = glyphs
  }
}

/// One picture of all mounts for a terminal: a pure function of reports and settings.
public struct Frame {
  private let reports: [StatusReport]
  private let settings: FrameSettings
  private var glyphs: Glyphs { settings.glyphs }

  /// A picture of these reports.
  public init(_ reports: [StatusReport], _ settings: FrameSettings) {
    self.reports = reports
    self.settings = settings
  }

  /// Regions that can be looked at.
  public static func regionCount(_ reports: [StatusReport]) -> Int {
    reports.reduce(0) { $0 + $1.regions.count }
  }

  /// The lines, none wider than the screen and not more than it has.
  public var lines: [Line] {
    var top = header
    var bottom = [Line(" q quit  \(glyphs.arrows) choose a region", .faint)]
    if let notice = settings.notice {
      bottom.insert(Line(HumanText.printable(notice), .alarm), at: 0)
    }
    if let chosen {
      top.append(Line())
      // A third for the list, the rest for the map of the chosen one.
      let room = max(0, settings.rows - top.count - bottom.count)
      let table = RegionTable(reports, settings, chosen: chosen.index, rows: max(3, room / 3))
      top += table.lines
      top.append(Line())
      top += detail(chosen.region, rows: settings.rows - top.count - bottom.count)
    } else {
      top.append(Line(reports.isEmpty ? "no mounts" : "no regions are open", .faint))
    }
    let shown = top.prefix(max(0, settings.rows - bottom.count)) + bottom
    return shown.prefix(settings.rows).map { $0.clipped(to: settings.columns, glyphs) }
  }

  private var chosen: (index: Int, region: RegionStatus, report: StatusReport)? {
    let all = reports.flatMap { report in report.regions.map { (report, $0) } }
    guard !all.isEmpty else { return nil }
    let index = min(max(0, settings.selection), all.count - 1)
    return (index, all[index].1, all[index].0)
  }

  // MARK: The mount

  private var header: [Line] {
    guard let report = chosen?.report ?? reports.first else { return [] }
    let mount = report.mount
    var title = Line([
      Span("regionfs ", .strong),
      Span(HumanText.printable(mount.storeAddress)), Span(" on ", .faint),
      Span(HumanText.printable(mount.mountpoint), .strong),
    ])
    let isRunning = mount.state == .running && !mount.offline
    title.spans.append(
      Span(
        " " + mount.state.rawValue + (mount.offline ? ", OFFLINE" : ""), isRunning ? .faint : .alarm
      ))
    if mount.readOnly { title.spans.append(Span(", read-only", .alarm)) }
    return [title] + wrapped(facts(report))
      + (report.store.lastError.map { [errorLine($0, report.store.errors)] } ?? [])
  }

  private func facts(_ report: StatusReport) -> [Line] {
    let store = report.store
    var facts = [
      store.reachable ? Line("store reachable", .faint) : Line("store NOT REACHABLE", .alarm)
    ]
    if let throughput = store.throughput {
      facts.append(traffic("in ", throughput.received, .incoming))
      facts.append(traffic("out ", throughput.sent, .outgoing))
    }
    let dirty = report.regions.reduce(0) { $0 &+ $1.dirtyBytes }
    if dirty == 0 {
      facts.append(Line("all committed", .faint))
    } else {
      let oldest = report.regions.compactMap(\.oldestUncommittedSeconds).max()
      let left = report.regions.compactMap(\.pushSecondsLeft).max().map { ", \(seconds($0)) left" }
      facts.append(
        Line([
          Span(HumanText.bytes(dirty), .cell(.dirty)),
          Span(" to push, oldest \(seconds(oldest))\(left ?? "")"),
        ]))
    }
    facts.append(Line("memory \(HumanText.bytes(report.memory.residentBytes))", .faint))
    return facts
  }

  private func traffic(_ name: String, _ history: [UInt64], _ ink: Ink) -> Line {
    let columns = settings.columns >= 120 ? 40 : settings.columns >= 80 ? 16 : 10
    let rate = HumanText.rate(bytesPerSecond: history.last.map { Double($0) })
    return Line([
      Span(name, .faint), Span(Sparkline.text(history, columns: columns, glyphs), ink),
      Span(" " + padded(glyphs.text(rate), 10)),
    ])
  }

  private func errorLine(_ error: ErrorStatus, _ count: UInt64) -> Line {
    let age = HumanText.seconds(max(0, settings.now - error.unixSeconds))
    return Line(
      "\(count) errors, the last \(age) ago: \(HumanText.printable(error.message))", .alarm)
  }

  // MARK: The chosen region

  private func detail(_ region: RegionStatus, rows: Int) -> [Line] {
    var lines = [
      Line([
        Span(HumanText.printable(region.name), .strong),
        Span("  \(HumanText.bytes(region.sizeBytes)), \(region.role.rawValue)", .faint),
      ])
    ]
    lines += wrapped(RegionFacts(region, settings).lines)
    if let reason = region.roleReason { lines.append(Line(HumanText.printable(reason), .alarm)) }
    if let error = region.faults.lastError { lines.append(errorLine(error, region.faults.errors)) }
    let legend = wrapped(MapView.legend(glyphs))
    guard let map = region.map, let cells = map.cells, !cells.isEmpty else {
      return lines + [Line("no map of its chunks", .faint)]
    }
    let room = rows - lines.count - legend.count
    guard room > 0 else { return lines }
    let picture = MapView.lines(cells, columns: settings.columns, rows: room, glyphs)
    return lines + picture + legend
  }

  /// Pieces, as many to a line as fit.
  private func wrapped(_ pieces: [Line]) -> [Line] {
    var lines: [Line] = []
    for piece in pieces {
      if let last = lines.last, last.width + 2 + piece.width <= settings.columns {
        lines[lines.count - 1] = last + Line("  ") + piece
      } else {
        lines.append(piece)
      }
    }
    return lines
  }

  private func seconds(_ value: Double?) -> String { glyphs.text(HumanText.seconds(value)) }

  private func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - DisplayWidth.of(text)))
  }
}

/// What is told of the chosen region beside its map.
private struct RegionFacts {
  private let region: RegionStatus
  private let settings: FrameSettings

  init(_ region: RegionStatus, _ settings: FrameSettings) {
    self.region = region
    self.settings = settings
  }

  private func seconds(_ value: Double?) -> String {
    settings.glyphs.text(HumanText.seconds(value))
  }

  var lines: [Line] {
    [chunks, pull, push, reads, waits].compactMap { $0 }.map { Line($0) }
  }

  private var chunks: String {
    let size = HumanText.bytes(region.chunkBytes)
    let each =
      region.map.map { $0.chunksPerCell > 1 ? ", \($0.chunksPerCell) to a cell" : "" } ?? ""
    return "\(region.chunksPresent)/\(region.chunksTotal) chunks of \(size) here\(each)"
  }

  private var pull: String? {
    let pull = region.pull
    guard pull.totalBytes > 0, pull.doneBytes < pull.totalBytes else { return nil }
    let rate = settings.glyphs.text(HumanText.rate(bytesPerSecond: pull.rateBytesPerSecond))
    return "pulling \(HumanText.bytes(pull.totalBytes - pull.doneBytes)) at \(rate), "
      + "\(seconds(pull.secondsLeft)) left"
  }

  private var push: String? {
    let commit = region.lastCommitNumber.map { "commit \($0)" }
    let age =
      region.lastCommitUnixSeconds.map { " \(seconds(max(0, settings.now - $0))) ago" } ?? ""
    guard region.dirtyBytes > 0 else { return commit.map { $0 + age } }
    let left = region.pushSecondsLeft.map { ", \(seconds($0)) left" } ?? ""
    return "\(HumanText.bytes(region.dirtyBytes)) to push for "
      + "\(seconds(region.oldestUncommittedSeconds))\(left)"
  }

  private var reads: String {
    let faults = region.faults
    var text = "\(faults.hits) hits, \(faults.misses) misses"
    if faults.parked > 0 {
      text += ", \(faults.parked) waiting for \(seconds(faults.oldestParkedSeconds))"
    }
    return text
  }

  private var waits: String? {
    guard let median = region.faults.medianWaitSeconds, let worst = region.faults.p99WaitSeconds
    else { return nil }
    return "misses took p50 \(Waits.text(median)), p99 \(Waits.text(worst))"
  }
}

/// Latencies, which may be far below a millisecond.
enum Waits {
  static func text(_ seconds: Double) -> String {
    if seconds < 0.001 { return "\(Int((seconds * 1e6).rounded()))us" }
    if seconds < 0.01 {
      let tenths = Int((seconds * 1e4).rounded())
      return "\(tenths / 10).\(tenths % 10)ms"
    }
    return HumanText.seconds(seconds)
  }
}
