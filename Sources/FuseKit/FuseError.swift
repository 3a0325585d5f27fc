import Glibc

/// A call of libfuse or of the system that failed.
public struct FuseError: Error, Sendable, Hashable, CustomStringConvertible {
  /// The C function, or the file that was written.
  public var operation: String
  /// errno(3).
  public var errno: Int32
  /// What else is known, in words; may be empty.
  public var detail: String

  /// A failure of `operation` with `errno`.
  public init(operation: String, errno: Int32, detail: String = "") {
    self.operation = operation
    self.errno = errno
    self.detail = detail
  }

  /// One line: the operation, the reason, the detail.
  public var description: String {
    let reason = "\(operation): \(describe(errno: errno))"
    return detail.isEmpty ? reason : "\(reason) (\(detail))"
  }
}

/// The text of an errno, by `strerror_r`.
func describe(errno: Int32) -> String {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 128) { buffer in
    // SAFETY: Glibc imports the XSI variant, which writes a NUL-terminated text within the length.
    guard let base = buffer.baseAddress, unsafe strerror_r(errno, base, buffer.count) == 0 else {
      return "errno \(errno)"
    }
    return unsafe String(cString: base)
  }
}

/// Runs a system call until it is not interrupted by a signal; -1 becomes the errno.
func valueOrErrno<Value: BinaryInteger>(
  _ operation: String, detail: @autoclosure () -> String = "", _ call: () -> Value
) throws(FuseError) -> Value {
  while true {
    let value = call()
    if value != -1 { return value }
    if errno != EINTR { throw FuseError(operation: operation, errno: errno, detail: detail()) }
  }
}
