import Glibc

/// A temporary directory of one test, removed with everything in it at the end.
public final class Scratch: Sendable {
  /// Its absolute path.
  public let path: String

  /// Makes it.
  ///
  /// - Throws: `ProcessFailure`.
  public init() throws(ProcessFailure) {
    var template = Array("/tmp/regionfs-test-XXXXXX".utf8CString)
    // SAFETY: mkdtemp changes the template in place and returns it.
    guard unsafe mkdtemp(&template) != nil else { throw ProcessFailure("mkdtemp: errno \(errno)") }
    path = String(
      decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: Unicode.UTF8.self)
  }

  deinit {
    // --one-file-system: a mount that could not be removed must not be emptied.
    _ = try? ChildProcess.run(["rm", "-rf", "--one-file-system", path])
  }

  /// A directory inside, made if it is not there.
  ///
  /// - Throws: `ProcessFailure`.
  public func directory(_ name: String) throws(ProcessFailure) -> String {
    let directory = path + "/" + name
    if unsafe mkdir(directory, 0o700) != 0, errno != EEXIST {
      throw ProcessFailure("mkdir \(directory): errno \(errno)")
    }
    return directory
  }

  /// A path inside that nothing is made at.
  public func file(_ name: String) -> String { path + "/" + name }
}

/// Where the programs under test are.
public enum Products {
  /// The path of a product: beside the running test bundle, or in `REGIONFS_BIN` (a directory).
  public static func path(_ name: String) -> String {
    if let directory = Environment.all["REGIONFS_BIN"] { return directory + "/" + name }
    var buffer = [CChar](repeating: 0, count: 4096)
    // SAFETY: readlink writes at most `buffer.count` bytes.
    let count = unsafe readlink("/proc/self/exe", &buffer, buffer.count)
    let path = String(
      decoding: buffer[..<max(0, count)].map { UInt8(bitPattern: $0) }, as: Unicode.UTF8.self)
    return path.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/" + name
  }
}
