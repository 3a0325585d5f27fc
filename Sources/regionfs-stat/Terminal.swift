import Glibc
import RegionView

/// What the environment says about the terminal.
struct TerminalTraits {
  /// Colours may be used: `NO_COLOR` is unset or empty (no-color.org), and the terminal is not dumb.
  let usesColor: Bool
  /// The characters it can show.
  let glyphs: Glyphs
  /// The cursor can be moved.
  let isAddressable: Bool

  init(environment: [String: String], ascii: Bool) {
    let isDumb = (environment["TERM"] ?? "").isEmpty || environment["TERM"] == "dumb"
    isAddressable = !isDumb
    usesColor = !isDumb && (environment["NO_COLOR"] ?? "").isEmpty
    // As locale(7): the first of these that is set counts.
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { environment[$0] }
      .first { !$0.isEmpty }?.lowercased()
    let isUnicode = locale.map { $0.contains("utf-8") || $0.contains("utf8") } ?? false
    glyphs = ascii || isDumb || !isUnicode ? .ascii : .blocks
  }
}

/// The terminal in the hands of a view: alternate screen, no cursor, keys as they are pressed. What it
/// was before is restored by `leave`, and by a signal that ends the process, a crash included.
enum Terminal {
  /// Alternate screen, cursor off (xterm's private modes 1049 and 25).
  private static let enterText = "\u{1B}[?1049h\u{1B}[?25l\u{1B}[H\u{1B}[2J"
  private static let leaveText = Array("\u{1B}[0m\u{1B}[?25h\u{1B}[?1049l".utf8)

  // SAFETY: written before the handlers are installed, and by the main thread only; a handler reads.
  nonisolated(unsafe) private static var saved = termios()
  nonisolated(unsafe) private static var isEntered: sig_atomic_t = 0
  nonisolated(unsafe) private static var leaveBytes: UnsafeMutablePointer<UInt8>?

  /// Signals that end the process by default.
  private static let deadly = [
    SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE, SIGTRAP, SIGPIPE,
  ]

  /// Takes the terminal.
  ///
  /// - Returns: whether standard input gives keys one by one.
  static func enter() -> Bool {
    let hasKeys = unsafe tcgetattr(STDIN_FILENO, &saved) == 0
    if unsafe leaveBytes == nil {
      // A handler must not allocate, so what it writes is prepared. Never freed.
      let bytes = UnsafeMutablePointer<UInt8>.allocate(capacity: leaveText.count)
      // SAFETY: just allocated for as many.
      for (at, byte) in leaveText.enumerated() { unsafe (bytes + at).initialize(to: byte) }
      unsafe leaveBytes = bytes
    }
    unsafe isEntered = 1
    for number in deadly { _ = signal(number) { Terminal.restoreAndEnd($0) } }
    if hasKeys {
      var raw = unsafe saved
      // Ctrl-C and Ctrl-Z come as bytes too: the view ends or pauses in order.
      raw.c_lflag &= ~tcflag_t(ICANON | ECHO | ISIG)
      unsafe tcsetattr(STDIN_FILENO, TCSANOW, &raw)
    }
    Output.print(enterText)
    return hasKeys
  }

  /// Gives it back as it was.
  static func leave() {
    restore()
    for number in deadly { _ = signal(number, SIG_DFL) }
  }

  private static func restoreAndEnd(_ number: Int32) {
    restore()
    signal(number, SIG_DFL)
    raise(number)
  }

  /// Async-signal-safe: nothing but write(2) and tcsetattr(3), on what was prepared.
  private static func restore() {
    guard unsafe isEntered != 0 else { return }
    unsafe isEntered = 0
    if let bytes = unsafe leaveBytes { _ = unsafe write(STDOUT_FILENO, bytes, leaveText.count) }
    unsafe tcsetattr(STDIN_FILENO, TCSANOW, &saved)
  }

  /// Columns and rows (`TIOCGWINSZ`), 80 by 24 where the terminal does not tell.
  static var size: (columns: Int, rows: Int) {
    var size = winsize()
    // SAFETY: the request writes one winsize.
    guard unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0,
      size.ws_row > 0
    else { return (80, 24) }
    return (Int(size.ws_col), Int(size.ws_row))
  }
}

/// Keys that the view knows.
enum Key: Equatable {
  case quit, up, down, first, last, pause

  /// The keys in what a terminal sent; a sequence that is cut in two loses its key.
  static func all(in bytes: [UInt8]) -> [Key] {
    var keys: [Key] = []
    var rest = bytes[...]
    while let byte = rest.first {
      // Arrows and their kin: ESC [ or ESC O, then a letter.
      if byte == 0x1B, rest.count >= 3, [0x5B, 0x4F].contains(rest[rest.startIndex + 1]) {
        switch rest[rest.startIndex + 2] {
        case UInt8(ascii: "A"), UInt8(ascii: "D"): keys.append(.up)
        case UInt8(ascii: "B"), UInt8(ascii: "C"): keys.append(.down)
        case UInt8(ascii: "H"): keys.append(.first)
        case UInt8(ascii: "F"): keys.append(.last)
        default: break
        }
        rest = rest.dropFirst(3)
        continue
      }
      switch byte {
      case UInt8(ascii: "q"), UInt8(ascii: "Q"), 0x03, 0x04: keys.append(.quit)
      case UInt8(ascii: "k"): keys.append(.up)
      case UInt8(ascii: "j"): keys.append(.down)
      case UInt8(ascii: "g"): keys.append(.first)
      case UInt8(ascii: "G"): keys.append(.last)
      case 0x1A: keys.append(.pause)
      default: break
      }
      rest = rest.dropFirst()
    }
    return keys
  }
}
