import CFuse
import Glibc

/// One mount: `init` makes it, `run` serves it, and it ends when it was unmounted, by `unmount` or
/// by anyone else, and the last file in it was closed.
///
/// A session that runs goes on whether or not this object is kept. One that was never run is
/// unmounted when the object goes. No function here may be called from a callback of the
/// filesystem.
public final class FuseSession: Sendable {
  /// The mountpoint as the kernel names it: absolute, without symbolic links.
  public let mountpoint: String
  /// The mount's own numbers in mountinfo, for kernel tuning, `abort` and to recognise it again.
  public let mount: MountTable.Entry
  let core: SessionCore

  /// Mounts (libfuse `fuse_session_new`, `fuse_session_mount`) and answers INIT. From here on
  /// whoever opens a file in the mount waits for ``run()``; the time for ``MountTuning`` is now.
  ///
  /// As root this is mount(2), otherwise `fusermount3`. `source` is what mount(8) and df(1) show;
  /// the file system type is `fuse.` and `subtype`.
  ///
  /// Throws what went wrong; then nothing is mounted.
  public init(
    filesystem: any FuseFilesystem, source: String, subtype: String = "regionfs",
    mountpoint: String, options: SessionOptions = SessionOptions()
  ) throws(FuseError) {
    let path = try canonicalPath(mountpoint)
    core = try SessionCore(
      filesystem: filesystem, options: options,
      arguments: Self.arguments(source: source, subtype: subtype, options: options))
    try core.mount(at: path)
    guard let entry = try MountTable.current().entry(at: path) else {
      throw FuseError(operation: "/proc/self/mountinfo", errno: ENOENT, detail: path)
    }
    self.mountpoint = path
    mount = entry
    try core.interposeDevice()
    try core.shakeHands()
  }

  /// The requests whose callbacks have not returned now: what a watchdog looks at.
  public var loopWork: [LoopWork] { core.activity.current }

  /// Starts the threads that answer requests, and returns. Once.
  public func run() throws(FuseError) {
    try core.start()
  }

  /// Waits until the session is over: unmounted, all requests done, `destroy` called. Any number of
  /// threads may wait, also afterwards. (If the loop threads gave up, which the log tells, the mount
  /// is still there; it goes with this object.)
  public func waitUntilUnmounted() {
    core.ended.wait()
  }

  /// Whether it is over, as `waitUntilUnmounted` means it.
  public var isOver: Bool { core.ended.isOpen }

  /// The options as libfuse takes them.
  private static func arguments(
    source: String, subtype: String, options: SessionOptions
  ) -> [String] {
    var list = [
      "fsname=\(escaped(source))", "subtype=\(escaped(subtype))", "max_read=\(options.maxRead)",
    ]
    if options.allowOther { list.append("allow_other") }
    if options.defaultPermissions { list.append("default_permissions") }
    if options.readOnly { list.append("ro") }
    list += options.mountOptions
    // libfuse wants a program name first.
    return [subtype] + list.flatMap { ["-o", $0] }
  }

  /// `-o` values are split at commas; a backslash keeps the next character (libfuse `fuse_opt`).
  static func escaped(_ value: String) -> String {
    var result = ""
    for character in value {
      if character == "," || character == "\\" { result.append("\\") }
      result.append(character)
    }
    return result
  }
}

extension SessionCore {
  /// libfuse `fuse_session_mount`.
  func mount(at path: String) throws(FuseError) {
    guard let session = unsafe session else { return }
    let result = unsafe fuse_session_mount(session, path)
    if result != 0 {
      // libfuse returns -1 only; errno is the last call's, which for fusermount3 was another
      // process's.
      let code = errno
      throw FuseError(
        operation: "fuse_session_mount", errno: code == 0 ? EIO : code, detail: LibfuseLog.take())
    }
  }
}

/// realpath(3).
func canonicalPath(_ path: String) throws(FuseError) -> String {
  guard let resolved = unsafe realpath(path, nil) else {
    throw FuseError(operation: "realpath", errno: errno, detail: path)
  }
  // SAFETY: realpath allocated it with malloc.
  defer { unsafe free(resolved) }
  return unsafe String(cString: resolved)
}
