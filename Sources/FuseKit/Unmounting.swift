import CFuse
import Glibc

extension FuseSession {
  /// What to do about files that are still open in the mount.
  public enum UnmountMode: Sendable {
    /// Fails with EBUSY if there are any.
    case ifUnused
    /// Takes the mount out of sight at once; the session goes on until the last file is closed.
    case detach
  }

  /// Unmounts by umount2(2), or by `fusermount3 -u` without the right to that. No error if the
  /// mount is gone already.
  ///
  /// Dirty pages are written back when the last descriptor or mapping of a file goes, and the kernel
  /// may ask the filesystem meanwhile: hold no lock that it takes. (libfuse's
  /// `fuse_session_unmount` is not used because it closes the device first, which cuts all that
  /// short.) READs that are parked when the last file is closed are forgotten by the kernel.
  ///
  /// Throws EBUSY also if something else was mounted on top.
  public func unmount(_ mode: UnmountMode = .detach) throws(FuseError) {
    let table = try MountTable.current()
    guard table.entries.contains(where: { $0.id == mount.id && $0.device == mount.device }) else {
      return
    }
    guard table.entry(at: mountpoint)?.id == mount.id else {
      throw FuseError(
        operation: "umount2", errno: EBUSY, detail: "another mount covers \(mountpoint)")
    }
    try unmountTopmost(at: mountpoint, detach: mode == .detach)
  }

  /// Ends the session by force: every request, waiting or to come, fails, **dirty pages are lost**,
  /// and the loop threads leave. The last resort, for a session that does not end although all
  /// parked replies were answered. The mountpoint stays, dead, until it is unmounted.
  ///
  /// Writes `/sys/fs/fuse/connections/N/abort`; where that file system is not mounted, umount2(2)
  /// with MNT_FORCE does the same.
  public func abort() throws(FuseError) {
    let path = "/sys/fs/fuse/connections/\(mount.device.minor)/abort"
    do throws(FuseError) {
      try writeFile(path, "1")
    } catch {
      guard error.errno == ENOENT else { throw error }
      let table = try MountTable.current()
      guard table.entry(at: mountpoint)?.id == mount.id else { throw error }
      // Aborts first and unmounts then; that the unmounting fails with EBUSY is no matter here.
      let result = unsafe umount2(mountpoint, Int32(MNT_FORCE | UMOUNT_NOFOLLOW))
      if result != 0 && errno != EBUSY {
        throw FuseError(operation: "umount2(MNT_FORCE)", errno: errno, detail: mountpoint)
      }
    }
  }

}

/// Unmounts what is topmost at `path`, which is canonical.
func unmountTopmost(at path: String, detach: Bool) throws(FuseError) {
  let flags = UMOUNT_NOFOLLOW | (detach ? MNT_DETACH : 0)
  if unsafe umount2(path, Int32(flags)) == 0 { return }
  let failure = FuseError(operation: "umount2", errno: errno, detail: path)
  guard failure.errno == EPERM else { throw failure }
  try runFusermount(["-u"] + (detach ? ["-z"] : []) + ["--", path])
}

/// Runs `fusermount3`, which may unmount what its user has mounted.
private func runFusermount(_ arguments: [String]) throws(FuseError) {
  let vector = ["fusermount3"] + arguments
  var process = pid_t()
  // SAFETY: the vector is valid during the call; `environ` is the process's own.
  let result = unsafe vector.withCStrings {
    unsafe posix_spawnp(&process, "fusermount3", nil, nil, $0, environ)
  }
  if result != 0 {
    throw FuseError(operation: "posix_spawnp", errno: result, detail: "fusermount3")
  }
  var status: Int32 = 0
  let waited = process
  _ = try valueOrErrno("waitpid") { unsafe waitpid(waited, &status, 0) }
  if status != 0 {
    // It has said why on standard error.
    throw FuseError(operation: "fusermount3", errno: EBUSY, detail: vector.joined(separator: " "))
  }
}

/// Replaces the content of a file of sysfs by one write(2).
func writeFile(_ path: String, _ text: String) throws(FuseError) {
  let descriptor = try valueOrErrno("open", detail: path) {
    unsafe open(path, O_WRONLY | O_CLOEXEC)
  }
  defer { close(descriptor) }
  let bytes = Array(text.utf8)
  let count = try valueOrErrno("write", detail: path) {
    unsafe bytes.withUnsafeBytes { unsafe write(descriptor, $0.baseAddress, $0.count) }
  }
  if count != bytes.count { throw FuseError(operation: "write", errno: EIO, detail: path) }
}
