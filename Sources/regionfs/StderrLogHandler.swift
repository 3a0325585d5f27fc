import Glibc
import Logging
import RegionControl

/// swift-log's lines on stderr or syslog: one line an event, written by one call.
struct StderrLogHandler: LogHandler {
  let label: String
  var metadata: Logger.Metadata = [:]
  var metadataProvider: Logger.MetadataProvider?
  private var ownLevel: Logger.Level?

  init(label: String) { self.label = label }

  var logLevel: Logger.Level {
    get { ownLevel ?? LogSetup.state.withLock { $0.level } }
    set { ownLevel = newValue }
  }

  subscript(metadataKey key: String) -> Logger.Metadata.Value? {
    get { metadata[key] }
    set { metadata[key] = newValue }
  }

  func log(event: Logging.LogEvent) {
    guard let line = line(event), !LogSetup.holdsBack(line) else { return }
    Self.write(line)
  }

  /// Writes an event to where the log is now.
  static func write(_ line: RegionControl.LogEvent) {
    let (format, descriptor) = LogSetup.state.withLock { ($0.format, $0.descriptor) }
    let priority = priority(Logger.Level(rawValue: line.level) ?? .error)
    switch format {
    case .journal: write("<\(priority)>\(line.label): \(line.text)", to: descriptor)
    case .plain: write(line.plain, to: descriptor)
    case .json(isSyslog: false): write(line.json, to: descriptor)
    case .json(isSyslog: true): tellSyslog(line.json, priority)
    case .syslog: tellSyslog("\(line.label): \(line.text)", priority)
    }
  }

  /// What is to be written of an event; nil: nothing, for it was said too often.
  private func line(_ event: Logging.LogEvent) -> RegionControl.LogEvent? {
    var text = event.message.description
    if let error = event.error { text += ": \(error)" }
    let now = HumanText.nowUnixSeconds
    if event.level >= .warning {
      let left = LogSetup.state.withLock { $0.limiter.admit(text, now: now) }
      guard let left else { return nil }
      if left > 0 { text += " (\(left) more like this were left out)" }
    }
    let fields = metadata.merging(metadataProvider?.get() ?? [:]) { $1 }
      .merging(event.metadata ?? [:]) { $1 }
    return RegionControl.LogEvent(
      unixSeconds: now, level: event.level.rawValue, label: label, message: text,
      fields: fields.mapValues(\.description))
  }

  private static func write(_ line: String, to descriptor: Int32) {
    ProgressDisplay.write(line + "\n", to: descriptor)
  }

  private static func tellSyslog(_ text: String, _ priority: Int32) {
    let line = "regionfs[\(getpid())] \(text)"
    // SAFETY: the format takes one C string, which lives through the call.
    unsafe line.withCString { line in
      unsafe withVaList([line]) { unsafe vsyslog(LOG_DAEMON | priority, "%s", $0) }
    }
  }

  /// The numbers of syslog(3).
  private static func priority(_ level: Logger.Level) -> Int32 {
    switch level {
    case .trace, .debug: LOG_DEBUG
    case .info: LOG_INFO
    case .notice: LOG_NOTICE
    case .warning: LOG_WARNING
    case .error: LOG_ERR
    case .critical: LOG_CRIT
    }
  }
}
