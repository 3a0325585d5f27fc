import RegionControl

/// A report as one page for a browser: everything in it, no script, light or dark as the reader likes.
public struct StatusPage {
  private let reports: [StatusReport]
  private let now: Double
  private let refreshSeconds: Double?

  /// A page of these reports at a time; with `refreshSeconds` the browser loads it anew.
  public init(_ reports: [StatusReport], now: Double, refreshSeconds: Double? = nil) {
    self.reports = reports
    self.now = now
    self.refreshSeconds = refreshSeconds
  }

  /// The page.
  public var text: String {
    let time = HumanText.timestamp(unixSeconds: now)
    let refresh =
      refreshSeconds.map {
        "<meta http-equiv=\"refresh\" content=\"\(max(1, Int($0.rounded(.up))))\">\n"
      } ?? ""
    let mounts = reports.map(mount).joined()
    return """
      <!DOCTYPE html>
      <html lang="en">
      <head>
      <meta charset="utf-8">
      <meta name="viewport" content="width=device-width, initial-scale=1">
      <meta name="color-scheme" content="light dark">
      \(refresh)<title>regionfs</title>
      <style>\(PageStyle.text)</style>
      </head>
      <body>
      <h1>regionfs <small>\(time)</small></h1>
      \(mounts.isEmpty ? "<p>no mounts</p>" : mounts)
      <p class="legend">\(Self.legend)</p>
      </body>
      </html>

      """
  }

  private static var legend: String {
    ChunkCell.allCases.map { "<span><i class=\"\($0.name)\"></i>\($0.name)</span>" }.joined()
  }

  // MARK: Mounts

  private func mount(_ report: StatusReport) -> String {
    let mount = report.mount
    let dirty = report.regions.reduce(0) { $0 &+ $1.dirtyBytes }
    let store = report.store.reachable ? "reachable" : "<b class=\"alarm\">not reachable</b>"
    var facts = [
      ("store", store), ("state", mount.state.rawValue + (mount.readOnly ? ", read-only" : "")),
      ("not committed", HumanText.bytes(dirty)),
      ("oldest", HumanText.seconds(report.regions.compactMap(\.oldestUncommittedSeconds).max())),
      ("memory", HumanText.bytes(report.memory.residentBytes)),
      ("errors", "\(report.store.errors)"),
    ]
    if let throughput = report.store.throughput {
      facts.append(("in", chart(throughput.received, "pulling")))
      facts.append(("out", chart(throughput.sent, "pushing")))
    }
    let error = report.store.lastError.map {
      "<p class=\"alarm\">\(Self.escaped($0.message))</p>"
    }
    return """
      <section class="mount">
      <h2>\(Self.escaped(mount.storeAddress)) on \(Self.escaped(mount.mountpoint))</h2>
      \(Self.list(facts))\(error ?? "")
      \(report.regions.map(region).joined())</section>

      """
  }

  /// The last seconds as little columns.
  private func chart(_ history: [UInt64], _ style: String) -> String {
    let top = Double(max(1024, history.max() ?? 0))
    let bars = history.enumerated().filter { $0.element > 0 }.map { at, bytes in
      let height = max(1, Int((Double(bytes) / top * 20).rounded()))
      return "<rect x=\"\(at * 2)\" y=\"\(20 - height)\" width=\"2\" height=\"\(height)\"/>"
    }
    let rate = HumanText.rate(bytesPerSecond: history.last.map { Double($0) })
    return "<svg class=\"chart \(style)\" viewBox=\"0 0 \(ThroughputMeter.length * 2) 20\">"
      + bars.joined() + "</svg> \(rate)"
  }

  // MARK: Regions

  private func region(_ region: RegionStatus) -> String {
    let faults = region.faults
    let wait = [faults.medianWaitSeconds, faults.p99WaitSeconds].map {
      $0.map(Waits.text) ?? HumanText.none
    }
    let facts = [
      ("size", HumanText.bytes(region.sizeBytes)),
      ("here", "\(region.chunksPresent) of \(region.chunksTotal) chunks"),
      ("chunk", HumanText.bytes(region.chunkBytes)),
      ("pull left", HumanText.seconds(region.pull.secondsLeft)),
      ("not committed", HumanText.bytes(region.dirtyBytes)),
      ("push left", HumanText.seconds(region.pushSecondsLeft)),
      ("oldest", HumanText.seconds(region.oldestUncommittedSeconds)),
      ("reads", "\(faults.hits) hits, \(faults.misses) misses, \(faults.parked) waiting"),
      ("misses took", "p50 \(wait[0]), p99 \(wait[1])"), ("role", region.role.rawValue),
    ]
    let reason = region.roleReason.map { "<p class=\"alarm\">\(Self.escaped($0))</p>" } ?? ""
    return """
      <article>
      <h3>\(Self.escaped(region.name))</h3>
      \(Self.list(facts))\(reason)
      \(region.map.map(Self.picture) ?? "")</article>

      """
  }

  /// The map as rectangles, one for each run of equal cells in a row.
  private static func picture(_ map: ChunkMapStatus) -> String {
    guard let cells = map.cells, !cells.isEmpty else { return "" }
    // Few cells are large ones.
    let columns = cells.count > 1024 ? 128 : min(64, max(16, cells.count))
    let rows = (cells.count + columns - 1) / columns
    var text = "<svg class=\"map\" viewBox=\"0 0 \(columns * 8) \(rows * 8)\" role=\"img\">\n"
    var at = 0
    while at < cells.count {
      let rowEnd = min(cells.count, (at / columns + 1) * columns)
      let run = cells[at..<rowEnd].prefix { $0 == cells[at] }
      let first = UInt64(at) * map.chunksPerCell
      let last = min(map.chunks, UInt64(run.endIndex) * map.chunksPerCell)
      text +=
        "<rect class=\"\(cells[at].name)\" x=\"\(at % columns * 8)\" y=\"\(at / columns * 8)\" "
        + "width=\"\(run.count * 8)\" height=\"7\"><title>\(cells[at].name): chunks \(first) to "
        + "\(last &- 1)</title></rect>\n"
      at = run.endIndex
    }
    return text + "</svg>\n"
  }

  private static func list(_ facts: [(String, String)]) -> String {
    "<dl>" + facts.map { "<div><dt>\($0.0)</dt><dd>\($0.1)</dd></div>" }.joined() + "</dl>"
  }

  /// Text of others, which must not become markup.
  static func escaped(_ text: String) -> String {
    HumanText.printable(text).map { character in
      switch character {
      case "&": "&amp;"
      case "<": "&lt;"
      case ">": "&gt;"
      case "\"": "&quot;"
      default: String(character)
      }
    }.joined()
  }
}

/// The page's style sheet.
public enum PageStyle {
  /// Colours of a cell in a light and in a dark page.
  public static let colors: [(cell: ChunkCell, light: String, dark: String)] = [
    (.absent, "#e4e7eb", "#2b3036"), (.part, "#a9dfbf", "#1f5f3a"),
    (.present, "#2e9e5b", "#3fbf74"),
    (.pinned, "#2f6fde", "#6aa2ff"), (.pulling, "#16a5b8", "#35d0e4"),
    (.dirty, "#e6a700", "#ffc93c"), (.pushing, "#b33fc0", "#e07bea"),
  ]

  static var text: String {
    let light = colors.map { "--\($0.cell.name):\($0.light)" }.joined(separator: ";")
    let dark = colors.map { "--\($0.cell.name):\($0.dark)" }.joined(separator: ";")
    let cells = colors.map {
      ".\($0.cell.name){fill:var(--\($0.cell.name));background:var(--\($0.cell.name))}"
    }
    return """

      :root{--ink:#1b1f24;--paper:#fff;--faint:#667;--alarm:#c22;\(light)}
      @media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--paper:#14171a;--faint:#9aa;--alarm:#f66;\(dark)}}
      body{margin:2rem auto;padding:0 1rem;max-width:70rem;font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper)}
      h1 small,dt{color:var(--faint);font-weight:normal}
      h1 small{font-size:1rem}
      h2,h3{overflow-wrap:anywhere;margin:1.5rem 0 .5rem}
      dl{display:flex;flex-wrap:wrap;gap:.4rem 1.6rem;margin:.5rem 0}
      dt{font-size:.8rem}
      dd{margin:0;font-variant-numeric:tabular-nums}
      .alarm{color:var(--alarm)}
      svg.map{display:block;width:100%;margin:.5rem 0}
      svg.chart{width:120px;height:20px;vertical-align:middle;background:none}
      .legend span{margin-right:1.2rem;white-space:nowrap}
      .legend i{display:inline-block;width:.8em;height:.8em;margin-right:.4em;border-radius:2px}
      \(cells.joined(separator: "\n"))

      """
  }
}
