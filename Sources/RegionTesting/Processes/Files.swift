import Glibc

/// The little about files that tests need outside the mount.
public enum Files {
  /// access(2): something is there.
  public static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

  /// A whole file.
  ///
  /// - Throws: `ProcessFailure`.
  public static func read(_ path: String) throws(ProcessFailure) -> [UInt8] {
    let descriptor = unsafe open(path, O_RDONLY)
    guard descriptor >= 0 else { throw ProcessFailure("open \(path): errno \(errno)") }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    while true {
      // SAFETY: read writes at most `buffer.count` bytes.
      let count = unsafe Glibc.read(descriptor, &buffer, buffer.count)
      guard count >= 0 else { throw ProcessFailure("read \(path): errno \(errno)") }
      if count == 0 { return bytes }
      bytes += buffer[..<count]
    }
  }

  /// Replaces or makes a file, mode 0600.
  ///
  /// - Throws: `ProcessFailure`.
  public static func write(_ path: String, _ bytes: [UInt8]) throws(ProcessFailure) {
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard descriptor >= 0 else { throw ProcessFailure("open \(path): errno \(errno)") }
    defer { close(descriptor) }
    var rest = bytes[...]
    while !rest.isEmpty {
      // SAFETY: the pointer is valid for `rest.count` bytes during the call.
      let count = unsafe rest.withUnsafeBytes {
        unsafe Glibc.write(descriptor, $0.baseAddress, $0.count)
      }
      guard count > 0 else { throw ProcessFailure("write \(path): errno \(errno)") }
      rest = rest.dropFirst(count)
    }
  }

  /// The files below a directory, as paths, in order.
  ///
  /// - Throws: `ProcessFailure`.
  public static func list(below directory: String) throws(ProcessFailure) -> [String] {
    let found = try ChildProcess.check(["find", directory, "-type", "f"])
    return found.output.split(separator: "\n").map(String.init).sorted()
  }
}
