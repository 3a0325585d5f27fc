import Glibc
import RegionCore

/// The signals that wait for a thread which itself waits in a system call, from
/// `/proc/<thread>/status`.
struct PendingSignals {
  /// Its process is being killed: it waits only for our answer.
  let areFatal: Bool
  /// A signal waits that means "stop what you are doing", which the program handles.
  let askToStop: Bool

  private typealias Mask = UInt64

  private static func mask(_ signals: Int32...) -> Mask {
    signals.reduce(0) { $0 | 1 << Mask($1 - 1) }
  }

  /// What would not end a process that does not handle it.
  private static let harmless = mask(
    SIGCHLD, SIGCONT, SIGURG, SIGWINCH, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU)
  private static let stopping = mask(SIGHUP, SIGINT, SIGQUIT, SIGTERM)

  /// Looks. A thread that cannot be named here (0: it lives in a pid namespace that is none of ours)
  /// or is gone counts as being killed: who waits must not hang for ever.
  init(thread: Int32) {
    let text = thread > 0 ? Self.status(thread) : nil
    self.init(status: text ?? "SigPnd: \(String(Self.mask(SIGKILL), radix: 16))")
  }

  /// From the text of such a file.
  init(status text: String) {
    var masks: [Substring: Mask] = [:]
    for line in text.split(separator: "\n") where line.hasPrefix("Sig") || line.hasPrefix("Shd") {
      let words = line.split(whereSeparator: { $0 == ":" || $0 == "\t" || $0 == " " })
      if words.count == 2 { masks[words[0]] = Mask(words[1], radix: 16) }
    }
    let pending = (masks["SigPnd"] ?? 0) | (masks["ShdPnd"] ?? 0)
    let deliverable = pending & ~(masks["SigBlk"] ?? 0)
    let unhandled = deliverable & ~(masks["SigCgt"] ?? 0) & ~(masks["SigIgn"] ?? 0)
    // The kernel turns most fatal signals into SIGKILL for each thread; those that dump core wait.
    areFatal = pending & Self.mask(SIGKILL) != 0 || unhandled & ~Self.harmless != 0
    askToStop = deliverable & ~(masks["SigIgn"] ?? 0) & Self.stopping != 0
  }

  private static func status(_ thread: Int32) -> String? {
    guard let file = try? LocalFile(path: "/proc/\(thread)/status", flags: O_RDONLY) else {
      return nil
    }
    let buffer = IOBuffer(capacity: 8192)
    guard let count = try? unsafe file.read(into: buffer.memory, at: 0) else { return nil }
    buffer.count = count
    return String(decoding: buffer.array, as: UTF8.self)
  }
}
