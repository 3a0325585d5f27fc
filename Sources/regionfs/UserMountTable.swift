import Glibc
import RegionControl

/// util-linux's private table `/run/mount/utab`.
///
/// umount(8) takes a short cut for mounts that are not in it and calls no `umount.<type>` helper, so
/// that nothing would wait for the drain.
enum UserMountTable {
  private static let mountPaths = ["/usr/bin/mount", "/bin/mount"]
  private static let umountPaths = ["/usr/bin/umount", "/bin/umount"]
  private static let path = "/run/mount/utab"

  /// An entry that another program is making: it takes longer than the mount.
  struct Addition: Sendable {
    fileprivate var source: String
    fileprivate var program: pid_t
  }

  /// Begins to make the entry of a mount that will be there soon, if it gets this `source`.
  static func begin(source: String, mountpoint: String) -> Addition? {
    // Left by a daemon that was killed; a second one of the same name would stay for ever.
    remove(mountpoint: mountpoint)
    // `mount -f -i -t fuse.regionfs -o _netdev`
    guard let mount = Subprocess.firstExecutable(of: mountPaths) else { return nil }
    let arguments = [
      "mount", "-f", "-i", "-c", "-t", MountListEntry.regionfsType, "-o", "_netdev", source,
      mountpoint,
    ]
    return Subprocess.start(mount, arguments: arguments).map {
      Addition(source: source, program: $0)
    }
  }

  /// Waits for the entry of a mount that is there now, and sees to it that it is the right one.
  ///
  /// Failure only costs the progress display of a plain umount(8), so it is no error.
  static func end(_ addition: Addition?, mountpoint: String) {
    if let addition { _ = Subprocess.wait(for: addition.program, timeout: .seconds(5)) }
    // The source must be the same text as in mountinfo, or libmount does not join the two.
    guard let entry = entry(at: mountpoint) else { return remove(mountpoint: mountpoint) }
    guard entry.source != addition?.source,
      let other = begin(source: entry.source, mountpoint: mountpoint)
    else { return }
    _ = Subprocess.wait(for: other.program, timeout: .seconds(5))
  }

  /// Removes what a mount left that was not unmounted by umount(8); nothing while one is mounted.
  static func removeStale(mountpoint: String) {
    if entry(at: mountpoint) == nil { remove(mountpoint: mountpoint) }
  }

  /// `umount --fake` takes one entry out and needs no mount.
  private static func remove(mountpoint: String) {
    guard let umount = Subprocess.firstExecutable(of: umountPaths) else { return }
    for _ in 0..<count(mountpoint: mountpoint) {
      _ = Subprocess.run(
        umount, ["--fake", "-i", "-c", "--", mountpoint], timeout: .seconds(5))
    }
  }

  private static func entry(at mountpoint: String) -> MountListEntry? {
    (try? MountList.current())?.entries.last {
      $0.mountpoint == mountpoint && $0.type == MountListEntry.regionfsType
    }
  }

  /// Entries with this target; at most 64 are looked for.
  private static func count(mountpoint: String) -> Int {
    guard let table = SmallFile.contents(of: path, limit: 1 << 20) else { return 0 }
    let target = "TARGET=" + mountpoint
    let entries = table.split(separator: "\n").filter { line in
      MountListEntry.fields(of: line).contains { MountListEntry.unescaped($0) == target }
    }
    return min(64, entries.count)
  }
}
