import Glibc

/// Reads small files whole: profiles, tokens.
enum TextFile {
  /// Longest file that is read, in bytes: far beyond any real profile or token.
  static let limit = 1 << 20

  /// The file's text; nil if there is no such file.
  static func read(_ path: String) throws(CredentialsError) -> String? {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else {
      if errno == ENOENT || errno == ENOTDIR { return nil }
      throw failure(path, errno)
    }
    defer { close(descriptor) }
    var text: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 16 << 10)
    while true {
      // SAFETY: the array has `piece.count` bytes and is not touched meanwhile.
      let count = unsafe Glibc.read(descriptor, &piece, piece.count)
      if count < 0 && errno == EINTR { continue }
      guard count >= 0 else { throw failure(path, errno) }
      guard count > 0 else { return String(decoding: text, as: UTF8.self) }
      text += piece[..<count]
      guard text.count <= limit else {
        throw CredentialsError("\(path): longer than \(limit) bytes")
      }
    }
  }

  private static func failure(_ path: String, _ code: Int32) -> CredentialsError {
    CredentialsError("\(path): \(unsafe String(cString: strerror(code)))")
  }
}
