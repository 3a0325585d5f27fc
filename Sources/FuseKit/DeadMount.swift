import CFuse
import Glibc

extension MountTable {
  /// What `cleanUpDeadMount` found.
  public enum CleanUp: Sendable, Hashable {
    /// Nothing is mounted at the path.
    case notMounted
    /// The mount there answers; nothing was done.
    case alive(Entry)
    /// Something else is mounted there; nothing was done.
    case foreign(Entry)
    /// So many dead mounts, one upon the other, were detached. `below` is what is seen now, if it
    /// is a mount.
    case cleaned(count: Int, below: Entry?)
  }

  /// How many dead mounts upon each other are taken away in one call.
  private static let deepest = 64

  /// Detaches the mounts that daemons, killed, have left at a path: mounts of the given type whose
  /// statfs(2) says ENOTCONN. umount2(2) with MNT_DETACH, or `fusermount3 -u -z` without the right to
  /// that. A mount that answers, or is of another type, is never touched.
  ///
  /// Waits for an answer if a daemon is there that is slow. Throws if the path does not exist or
  /// may not be unmounted.
  public static func cleanUpDeadMount(
    at path: String, type: String = "fuse.regionfs"
  ) throws(FuseError) -> CleanUp {
    let path = try canonicalMountpoint(path)
    var count = 0
    while true {
      guard let entry = try current().entry(at: path) else {
        return count == 0 ? .notMounted : .cleaned(count: count, below: nil)
      }
      let isOurs = entry.type == type
      if isOurs, try isDead(path), count < deepest {
        try unmountTopmost(at: path, detach: true)
        count += 1
      } else if count > 0 {
        return .cleaned(count: count, below: entry)
      } else {
        return isOurs ? .alive(entry) : .foreign(entry)
      }
    }
  }

  /// Whether the daemon is gone. Asked by statfs(2), because for stat(2) the kernel may still have
  /// an answer of the dead daemon's. Other errors come from a daemon that is there.
  private static func isDead(_ path: String) throws(FuseError) -> Bool {
    var figures = statvfs()
    return unsafe statvfs(path, &figures) != 0 && errno == ENOTCONN
  }

  /// The absolute path without symbolic links, also of a dead mount, on which realpath(3) fails:
  /// a descriptor with O_PATH asks the daemon nothing, and procfs tells its path.
  static func canonicalMountpoint(_ path: String) throws(FuseError) -> String {
    let descriptor = try valueOrErrno("open", detail: path) {
      unsafe open(path, openPathFlag | O_CLOEXEC)
    }
    defer { close(descriptor) }
    var target = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let link = "/proc/self/fd/\(descriptor)"
    let count = try valueOrErrno("readlink", detail: link) {
      unsafe target.withUnsafeMutableBytes {
        // SAFETY: the array is not empty, so it has an address.
        unsafe readlink(
          link, $0.baseAddress.unsafelyUnwrapped.assumingMemoryBound(to: CChar.self), $0.count)
      }
    }
    return String(decoding: target[..<count], as: UTF8.self)
  }

  /// O_PATH of Linux, which Glibc's module does not show; the same on all its architectures that
  /// Swift runs on.
  private static let openPathFlag: Int32 = 0o10000000
}
