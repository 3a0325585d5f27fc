import Glibc

/// Files of the system that are read whole.
enum SmallFile {
  /// The first `limit` bytes of a file; nil if it cannot be read.
  static func contents(of path: String, limit: Int) -> String? {
    // SAFETY: open reads the path during the call only.
    let number = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard number >= 0 else { return nil }
    defer { close(number) }
    var bytes: [UInt8] = []
    while bytes.count < limit {
      var part = [UInt8](repeating: 0, count: min(65_536, limit - bytes.count))
      // SAFETY: the array has the size that is passed.
      let count = unsafe read(number, &part, part.count)
      if count < 0 { return nil }
      if count == 0 { break }
      bytes += part[..<count]
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
