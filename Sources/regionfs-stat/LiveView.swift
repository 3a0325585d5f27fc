import Glibc
import Locks
import RegionControl
import RegionView

/// `regionfs-stat --watch` on a terminal: a picture of all mounts that is drawn anew until `q`.
///
/// Reports come on a thread of their own, so that keys are answered while a daemon is slow.
struct LiveView {
  private let source: StatusSource
  private let interval: Double
  private let traits: TerminalTraits
  private let latest = Latest()

  /// What the reports' thread hands over.
  private final class Latest: Sendable {
    struct State {
      var reports: [StatusReport] = []
      var notice: String?
      /// Raised with each answer.
      var generation = 0
    }
    let state = Lock(State())
  }

  init(source: StatusSource, interval: Double, traits: TerminalTraits) {
    self.source = source
    self.interval = interval
    self.traits = traits
  }

  /// Draws until a key ends it.
  ///
  /// - Throws: `ControlError` if the first report cannot be had.
  func run() throws(ControlError) {
    let first = try source.reports(mapCells: ChunkMapStatus.cellLimit)
    latest.state.withLock { $0.reports = first }
    try startAsking()
    var hasKeys = Terminal.enter()
    defer { Terminal.leave() }
    var selection = 0
    var drawn: [String] = []
    while true {
      let state = latest.state.withLock { $0 }
      drawn = draw(state, selection, over: drawn)
      guard hasKeys else {
        usleep(100_000)
        continue
      }
      let count = max(1, Frame.regionCount(state.reports))
      let (keys, isOpen) = Self.keys(within: 100)
      hasKeys = isOpen
      for key in keys {
        switch key {
        case .quit: return
        case .up: selection = max(0, min(selection, count - 1) - 1)
        case .down: selection = min(count - 1, selection + 1)
        case .first: selection = 0
        case .last: selection = count - 1
        case .pause:
          Terminal.leave()
          // Stops here until the shell says go on.
          kill(0, SIGTSTP)
          hasKeys = Terminal.enter()
          drawn = []
        }
      }
    }
  }

  private func startAsking() throws(ControlError) {
    try DetachedThread.start { [source, interval, latest] in
      while true {
        usleep(UInt32(min(interval * 1e6, 4e9)))
        do throws(ControlError) {
          let reports = try source.reports(mapCells: ChunkMapStatus.cellLimit)
          latest.state.withLock { $0 = Latest.State(reports: reports, notice: nil) }
        } catch {
          // The last picture stays; the daemon may come again.
          latest.state.withLock { $0.notice = error.message }
        }
      }
    }
  }

  /// Draws the lines that changed; all of them after the size did.
  private func draw(_ state: Latest.State, _ selection: Int, over drawn: [String]) -> [String] {
    let size = Terminal.size
    var settings = FrameSettings(
      columns: size.columns, rows: size.rows, now: HumanText.nowUnixSeconds, glyphs: traits.glyphs)
    settings.selection = selection
    settings.notice = state.notice
    let painter = Painter(usesColor: traits.usesColor)
    let mark = "\(size.columns)x\(size.rows)"
    let lines = [mark] + Frame(state.reports, settings).lines.map(painter.paint)
    var text = ""
    let isNew = drawn.first != mark
    // Clear the screen (ECMA-48 ED); below, place the cursor (CUP) and clear a line's end (EL).
    if isNew { text += "\u{1B}[2J" }
    for row in 1..<max(lines.count, isNew ? 1 : drawn.count) {
      let line = row < lines.count ? lines[row] : ""
      if isNew || row >= drawn.count || drawn[row] != line {
        text += "\u{1B}[\(row);1H\(line)\u{1B}[0m\u{1B}[K"
      }
    }
    if !text.isEmpty { Output.print(text) }
    return lines
  }

  /// Keys that come within so many milliseconds, and whether more can come.
  private static func keys(within milliseconds: Int32) -> (keys: [Key], isOpen: Bool) {
    var item = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
    // SAFETY: one local element.
    guard unsafe poll(&item, 1, milliseconds) > 0 else { return ([], true) }
    var bytes = [UInt8](repeating: 0, count: 64)
    // SAFETY: the array has the size that is passed.
    let count = unsafe read(STDIN_FILENO, &bytes, bytes.count)
    guard count > 0 else { return ([], count < 0 && errno == EINTR) }
    return (Key.all(in: Array(bytes[..<count])), true)
  }
}
