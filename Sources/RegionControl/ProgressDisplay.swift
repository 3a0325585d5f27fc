import Glibc

/// Shows how a wait goes on, on stderr: nothing if it is over within its patience, a second unless
/// told; one line that is redrawn on a terminal; a line every five seconds elsewhere.
public struct ProgressDisplay {
  private let start = ContinuousClock.now
  private let isTerminal: Bool
  private var lastShown: ContinuousClock.Instant?
  private var drawn = false

  private let patience: Duration

  /// A display that has shown nothing yet.
  ///
  /// - Parameter isShy: where there is no terminal it says nothing for the first five seconds: nobody is
  ///   looking, and what comes first is often an error.
  public init(isShy: Bool = false) {
    isTerminal = isatty(STDERR_FILENO) == 1
    patience = isShy && !isTerminal ? .seconds(5) : .seconds(1)
  }

  /// How long it has been shown for.
  public var elapsed: Duration { start.duration(to: .now) }

  /// Takes note of a new state of things and shows it when it is time to.
  public mutating func update(_ text: @autoclosure () -> String) {
    let now = ContinuousClock.now
    guard start.duration(to: now) > patience else { return }
    let pause: Duration = isTerminal ? .milliseconds(200) : .seconds(5)
    if let lastShown, lastShown.duration(to: now) < pause { return }
    lastShown = now
    // Return to the first column, clear to the end of the line (ECMA-48 EL).
    Self.write(isTerminal ? "\r\u{1B}[K" + text() : text() + "\n")
    drawn = isTerminal
  }

  /// Ends the redrawn line, so that the next text starts on its own.
  public mutating func finish() {
    if drawn { Self.write("\n") }
    drawn = false
  }

  /// Writes to a descriptor (`write`), stderr unless told; where that fails there is no one to tell.
  public static func write(_ text: String, to descriptor: Int32 = STDERR_FILENO) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      // SAFETY: the pointer is used during the call only.
      let count = unsafe rest.withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      if count <= 0 {
        if count < 0, errno == EINTR { continue }
        return
      }
      rest = rest.dropFirst(count)
    }
  }
}

extension SyncProgress {
  /// One line for people.
  public var text: String {
    if !storeReachable {
      return "\(HumanText.bytes(remainingBytes)) left; store not reachable"
        + (problem.map { ": " + HumanText.printable($0) } ?? "")
    }
    var line = "\(HumanText.bytes(remainingBytes)) left"
    if let rate = rateBytesPerSecond, rate >= 1 {
      line += " at \(HumanText.rate(bytesPerSecond: rate))"
      line += ", \(HumanText.seconds(Double(remainingBytes) / rate)) to go"
    }
    if let problem { line += "; " + HumanText.printable(problem) }
    return line
  }
}
