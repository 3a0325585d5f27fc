import CFuse
import Glibc
import Locks

/// libfuse's own messages (`fuse_set_log_func`, one function per process). The last few are kept, so
/// that an error of a call that returns only -1 can say why; all go to standard error as they would
/// without this, except while an error that will quote them is being made.
enum LibfuseLog {
  private static let kept = 4
  private static let lines = Lock<[String]>([])

  /// Installs the function; again does nothing new.
  static func install() {
    lines.withLock { $0.removeAll() }
    unsafe fuse_set_log_func { _, format, arguments in
      guard let format = unsafe format, let arguments = unsafe arguments else { return }
      let text = unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 512) { buffer in
        // SAFETY: vsnprintf ends the text within the buffer.
        guard let base = buffer.baseAddress else { return "" }
        unsafe vsnprintf(base, buffer.count, format, arguments)
        return unsafe String(cString: base)
      }
      LibfuseLog.add(text)
    }
  }

  private static func add(_ text: String) {
    let line = text.last == "\n" ? String(text.dropLast()) : text
    lines.withLock { lines in
      if lines.count == kept { lines.removeFirst() }
      lines.append(line)
    }
  }

  /// The messages since the last call, on one line.
  static func take() -> String {
    lines.withLock { lines in
      defer { lines.removeAll() }
      return lines.joined(separator: "; ")
    }
  }
}
