import Glibc
import Locks
import Logging
import RegionControl
import RegionOptions

/// Where and how much the daemon logs; one for the process.
enum LogSetup {
  /// How a line is written.
  enum Format: Sendable {
    /// Time and level in words: a terminal or a file.
    case plain
    /// `<n>` before the message, as journald reads it from stderr (sd-daemon(3)).
    case journal
    /// syslog(3).
    case syslog
    /// One JSON object a line; `isSyslog` says where.
    case json(isSyslog: Bool)
  }

  struct State: Sendable {
    var level = Logger.Level.info
    var format = Format.plain
    /// Where plain and journal lines go.
    var descriptor = STDERR_FILENO
    /// The file of `-o log=`.
    var file: String?
    /// Events of a daemon that is not in the background yet, for its log; nil: they are written at once.
    var held: [RegionControl.LogEvent]?
    /// What was said again and again.
    var limiter = LogLimiter()
  }

  static let state = Lock(State())

  /// Takes level and format from options and environment and makes swift-log use them.
  ///
  /// - Throws: `ControlError` when the log file cannot be opened.
  static func bootstrap(_ configuration: MountConfiguration) throws(ControlError) {
    let environment = ProcessEnvironment.variables
    let name = configuration.options.logLevel?.rawValue ?? environment["REGIONFS_LOG"]
    let level = name.flatMap { Logger.Level(rawValue: $0.lowercased()) }
    state.withLock { state in
      state.level = level ?? .info
      if !configuration.foreground, configuration.options.logFile == nil { state.held = [] }
      switch configuration.options.logFormat {
      case .auto: state.format = isJournal(environment["JOURNAL_STREAM"]) ? .journal : .plain
      case .plain: state.format = .plain
      case .json: state.format = .json(isSyslog: false)
      }
    }
    LoggingSystem.bootstrap { label in StderrLogHandler(label: label) }
    if let file = configuration.options.logFile { try open(file) }
  }

  /// Changes the level of every logger (the control socket's `setLog`).
  ///
  /// - Throws: `ControlError` for an unknown one.
  static func setLevel(_ name: String) throws(ControlError) {
    guard let level = Logger.Level(rawValue: name.lowercased()) else {
      let known = Logger.Level.allCases.map(\.rawValue).joined(separator: ", ")
      throw ControlError(.failed, "unknown log level '\(name)'; known are \(known)")
    }
    state.withLock { $0.level = level }
  }

  /// The mount answers: from here on the daemon logs to its file or to syslog, and stderr (where
  /// the Swift runtime writes its last words) is the file or nothing.
  ///
  /// - Parameter cacheDirectory: where the log goes on a system without syslog.
  static func leaveTerminal(cacheDirectory: String) {
    // SAFETY: access reads the path only during the call.
    if state.withLock({ $0.file }) == nil, unsafe access("/dev/log", F_OK) != 0 {
      // Where that fails too there is nobody left to tell.
      try? open(cacheDirectory + "/regionfs.log")
    }
    let descriptor: Int32? = state.withLock { state in
      guard state.file == nil else { return state.descriptor }
      if case .json = state.format {
        state.format = .json(isSyslog: true)
      } else {
        state.format = .syslog
      }
      return nil
    }
    DaemonStarter.releaseStandardError(to: descriptor)
    let held = state.withLock { state in
      defer { state.held = nil }
      return state.held ?? []
    }
    for event in held { StderrLogHandler.write(event) }
  }

  /// Keeps an event for the log of a daemon that has not left the terminal yet; false: it is to be
  /// written. Warnings are both: whoever mounts wants to see them.
  static func holdsBack(_ event: RegionControl.LogEvent) -> Bool {
    state.withLock { state in
      guard state.held != nil else { return false }
      state.held?.append(event)
      return Logger.Level(rawValue: event.level) ?? .error < .warning
    }
  }

  /// Opens the log file again, after a rotation moved it away (for SIGHUP); false without one.
  ///
  /// - Throws: `ControlError`; the old file is then still in use.
  static func reopen() throws(ControlError) -> Bool {
    guard let file = state.withLock({ $0.file }) else { return false }
    try open(file)
    return true
  }

  private static func open(_ file: String) throws(ControlError) {
    // SAFETY: open reads the path only during the call.
    let number = unsafe Glibc.open(file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
    guard number >= 0 else {
      let text = unsafe String(cString: strerror(errno))
      throw ControlError(.system, "cannot open the log file \(file): \(text)")
    }
    state.withLock { state in
      if case .json = state.format {} else { state.format = .plain }
      state.file = file
      if state.descriptor == STDERR_FILENO {
        state.descriptor = number
      } else {
        // In one step, so that no line of another thread falls between.
        dup2(number, state.descriptor)
        _ = fcntl(state.descriptor, F_SETFD, FD_CLOEXEC)
        close(number)
      }
    }
  }

  /// JOURNAL_STREAM holds device and inode of the stream that journald reads (systemd.exec(5));
  /// they tell whether stderr still is that stream.
  private static func isJournal(_ text: String?) -> Bool {
    guard let parts = text?.split(separator: ":"), parts.count == 2 else { return false }
    var status = stat()
    // SAFETY: `status` is a local that outlives the call.
    guard unsafe fstat(STDERR_FILENO, &status) == 0 else { return false }
    return UInt64(parts[0]) == UInt64(status.st_dev) && UInt64(parts[1]) == UInt64(status.st_ino)
  }
}
