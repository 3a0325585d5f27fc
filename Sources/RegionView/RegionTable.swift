import RegionControl

/// The list of regions, with as many columns as the screen is wide and the chosen one in sight.
struct RegionTable {
  /// A column: its title, and its text for a region.
  private struct Column: Sendable {
    var title: String
    /// Columns of the screen from which on it is shown.
    var from: Int
    var text: @Sendable (RegionStatus) -> String
  }

  private let reports: [StatusReport]
  private let settings: FrameSettings
  private let chosen: Int
  private let rows: Int

  init(_ reports: [StatusReport], _ settings: FrameSettings, chosen: Int, rows: Int) {
    self.reports = reports
    self.settings = settings
    self.chosen = chosen
    self.rows = rows
  }

  private static let columns: [Column] = [
    Column(title: "SIZE", from: 60) { HumanText.bytes($0.sizeBytes) },
    Column(title: "HERE", from: 0) { region in
      guard region.chunksTotal > 0, !region.isPulled else { return "100%" }
      return "\(min(99, region.chunksPresent * 100 / region.chunksTotal))%"
    },
    Column(title: "LEFT", from: 100) { region in
      HumanText.seconds(
        region.pull.doneBytes < region.pull.totalBytes ? region.pull.secondsLeft : nil)
    },
    Column(title: "DIRTY", from: 0) {
      $0.dirtyBytes == 0 ? HumanText.none : HumanText.bytes($0.dirtyBytes)
    },
    Column(title: "OLDEST", from: 70) { HumanText.seconds($0.oldestUncommittedSeconds) },
    Column(title: "HIT", from: 140) { "\($0.faults.hits)" },
    Column(title: "MISS", from: 120) { "\($0.faults.misses)" },
    Column(title: "WAITING", from: 100) { "\($0.faults.parked)" },
    Column(title: "P50", from: 80) {
      $0.faults.medianWaitSeconds.map(Waits.text) ?? HumanText.none
    },
    Column(title: "P99", from: 80) { $0.faults.p99WaitSeconds.map(Waits.text) ?? HumanText.none },
    Column(title: "ERRORS", from: 140) { "\($0.faults.errors)" },
    Column(title: "COMMIT", from: 140) {
      $0.lastCommitNumber.map(String.init) ?? HumanText.none
    },
    Column(title: "ROLE", from: 70) { $0.role.rawValue },
  ]

  var lines: [Line] {
    let all = reports.flatMap { report in
      report.regions.map { (report.mount.mountpoint, $0) }
    }
    // As many as fit, the chosen one among them, and not moving about more than it must.
    let room = max(1, rows - 1)
    let first = min(max(0, chosen - room + 1), max(0, all.count - room))
    let shown = all[first..<min(first + room, all.count)]
    let columns = Self.columns.filter { $0.from <= settings.columns }
    let texts = shown.map { _, region in columns.map { settings.glyphs.text($0.text(region)) } }
    let widths = columns.indices.map { at in
      ([columns[at].title] + texts.map { $0[at] }).map(DisplayWidth.of).max() ?? 0
    }
    let rest = widths.reduce(0) { $0 + $1 + 2 }
    let nameWidth = max(8, settings.columns - rest - 2)
    let title =
      "  "
      + fitted(first > 0 || shown.count < all.count ? "REGION (\(all.count))" : "REGION", nameWidth)
      + zip(columns, widths).map { "  " + right($0.title, $1) }.joined()
    let isAlone = reports.count < 2
    return [Line(title, .faint)]
      + zip(shown.indices, zip(shown, texts)).map { index, row in
        let ((mountpoint, region), cells) = row
        let name = HumanText.printable(isAlone ? region.name : mountpoint + "/" + region.name)
        let isChosen = index == chosen
        let text =
          fitted(name, nameWidth) + zip(cells, widths).map { "  " + right($0, $1) }.joined()
        let ink: Ink = region.role == .lost ? .alarm : isChosen ? .strong : .plain
        return Line([
          Span(isChosen ? settings.glyphs.chosen + " " : "  ", .strong), Span(text, ink),
        ])
      }
  }

  /// Exactly as wide; the end of a path says more than its beginning.
  private func fitted(_ text: String, _ width: Int) -> String {
    let columns = DisplayWidth.of(text)
    if columns <= width { return text + String(repeating: " ", count: width - columns) }
    let mark = settings.glyphs.ellipsis
    let tail = DisplayWidth.prefix(
      of: String(text.reversed()), columns: width - DisplayWidth.of(mark))
    let kept = mark + String(tail.reversed())
    return kept + String(repeating: " ", count: width - DisplayWidth.of(kept))
  }

  private func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - DisplayWidth.of(text))) + text
  }
}
