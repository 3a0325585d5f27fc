import RegionControl

/// util-linux's private table `/run/mount/utab`.
///
/// umount(8) takes a short cut for mounts that are not in it and calls no `umount.<type>` helper, so
/// that nothing would wait for the drain.
enum UserMountTable {
  private static let mountPaths = ["/usr/bin/mount", "/bin/mount"]

  /// Adds an entry for a mount that is there already: `mount -f -i -t fuse.regionfs -o _netdev`.
  ///
  /// Failure only costs the progress display of a plain umount(8), so it is no error.
  static func add(mountpoint: String) {
    guard let mount = Subprocess.firstExecutable(of: mountPaths),
      let list = try? MountList.current(),
      // The source must be the same text as in mountinfo, or libmount does not join the two.
      let entry = list.entries.last(where: {
        $0.mountpoint == mountpoint && $0.type == MountListEntry.regionfsType
      })
    else { return }
    let arguments = [
      "-f", "-i", "-c", "-t", MountListEntry.regionfsType, "-o", "_netdev", entry.source,
      entry.mountpoint,
    ]
    _ = Subprocess.run(mount, arguments, timeout: .seconds(5))
  }
}
