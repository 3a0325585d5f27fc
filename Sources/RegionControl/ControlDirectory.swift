import Glibc

/// Where the sockets of daemons are.
///
/// One directory a user, mode 0700, so that the file system already keeps others out; the peer's
/// credentials are checked as well.
public enum ControlDirectory {
  /// Overrides every other place; for tests and unusual systems.
  public static let environmentName = "REGIONFS_RUNTIME_DIR"

  /// Makes (if needed) and checks the directory for a daemon of this process.
  ///
  /// - Returns: the first usable one of `/run/regionfs` (root) or `$XDG_RUNTIME_DIR/regionfs`, then
  ///   `/tmp/regionfs-<uid>`.
  /// - Throws: `ControlError` with code `unsafeDirectory` or `system`.
  public static func prepare(
    environment: [String: String], uid: UInt32 = getuid()
  ) throws(ControlError) -> String {
    var lastError = ControlError(.system, "no directory for control sockets")
    for path in candidates(environment: environment, uid: uid) {
      do throws(ControlError) {
        try makeAndCheck(path, uid: uid)
        return path
      } catch {
        lastError = error
      }
    }
    throw lastError
  }

  /// Every directory where a daemon of `uid` may have its socket, most likely first.
  public static func searchPaths(
    environment: [String: String], uid: UInt32 = getuid()
  ) -> [String] {
    var paths = candidates(environment: uid == getuid() ? environment : [:], uid: uid)
    if environment[environmentName] == nil, uid != 0, !paths.contains("/run/user/\(uid)/regionfs") {
      paths.append("/run/user/\(uid)/regionfs")
    }
    return paths
  }

  private static func candidates(environment: [String: String], uid: UInt32) -> [String] {
    if let path = environment[environmentName], path.hasPrefix("/") { return [path] }
    let fallback = "/tmp/regionfs-\(uid)"
    if uid == 0 { return ["/run/regionfs", fallback] }
    if let runtime = environment["XDG_RUNTIME_DIR"], runtime.hasPrefix("/") {
      return [runtime + "/regionfs", fallback]
    }
    return [fallback]
  }

  private static func makeAndCheck(_ path: String, uid: UInt32) throws(ControlError) {
    // SAFETY: mkdir reads the path only during the call.
    if unsafe mkdir(path, 0o700) != 0, errno != EEXIST {
      throw .system("mkdir", path)
    }
    try check(path, uid: uid)
  }

  /// Checks owner, kind and mode, without following a link.
  ///
  /// - Throws: `ControlError` with code `unsafeDirectory` or, where it is missing, `noDaemon`.
  public static func check(_ path: String, uid: UInt32) throws(ControlError) {
    var status = stat()
    // SAFETY: `status` is a local that outlives the call.
    guard unsafe lstat(path, &status) == 0 else {
      throw errno == ENOENT
        ? ControlError(.noDaemon, "\(path) does not exist") : .system("lstat", path)
    }
    guard status.st_mode & S_IFMT == S_IFDIR else {
      throw ControlError(.unsafeDirectory, "\(path) is not a directory; remove it")
    }
    guard status.st_uid == uid else {
      throw ControlError(
        .unsafeDirectory, "\(path) belongs to user \(status.st_uid), not to \(uid); remove it")
    }
    guard status.st_mode & 0o077 == 0 else {
      throw ControlError(
        .unsafeDirectory, "\(path) is open to other users; run: chmod 700 \(path)")
    }
  }

  /// The sockets in `path`, ordered by name; empty when there is no such directory.
  static func sockets(in path: String) -> [String] {
    guard let directory = unsafe opendir(path) else { return [] }
    // SAFETY: the stream is used and closed here only; the entry is valid until the next readdir.
    defer { unsafe closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name.hasSuffix(".sock") { names.append(path + "/" + name) }
    }
    return names.sorted()
  }
}

extension ControlError {
  /// The failure of a system call, from `errno`.
  package static func system(_ call: String, _ object: String, errno code: Int32 = errno) -> Self {
    // SAFETY: strerror's text is copied at once; at worst a parallel call garbles a message.
    let text = unsafe String(cString: strerror(code))
    return Self(.system, "\(call) \(object): \(text)")
  }
}
