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

  func log(event: LogEvent) {
    var text = HumanText.printable(event.message.description)
    if let error = event.error { text += ": " + HumanText.printable("\(error)") }
    let all = metadata.merging(metadataProvider?.get() ?? [:]) { $1 }
      .merging(event.metadata ?? [:]) { $1 }
    for (key, value) in all.sorted(by: { $0.key < $1.key }) {
      text += " \(key)=\(HumanText.printable(value.description))"
    }
    let priority = Self.priority(event.level)
    let (format, descriptor) = LogSetup.state.withLock { ($0.format, $0.descriptor) }
    switch format {
    case .journal: ProgressDisplay.write("<\(priority)>\(label): \(text)\n", to: descriptor)
    case .plain:
      let now = HumanText.timestamp(unixSeconds: HumanText.nowUnixSeconds)
      let line = "\(now) \(event.level) \(label): \(text)\n"
      ProgressDisplay.write(line, to: descriptor)
    case .syslog:
      let line = "regionfs[\(getpid())] \(label): \(text)"
      // SAFETY: the format takes one C string, which lives through the call.
      unsafe line.withCString { line in
        unsafe withVaList([line]) { unsafe vsyslog(LOG_DAEMON | priority, "%s", $0) }
      }
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
