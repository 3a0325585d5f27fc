/// A path that lies under a regionfs mount, with the daemon that serves it.
public struct LocatedPath: Sendable {
  /// The mount.
  public var entry: MountListEntry
  /// The path under it without a leading slash; empty for the mountpoint.
  public var inside: String
  /// Its daemon.
  public var daemon: FoundDaemon

  /// Finds the mount that holds `path` and its daemon.
  ///
  /// - Throws: `ControlError` with code `noDaemon` if the path is under no regionfs mount or its
  ///   daemon does not answer, `system`.
  public init(_ path: String, environment: [String: String]) throws(ControlError) {
    let resolved = resolvedPath(path)
    guard let found = try MountList.current().mount(holding: resolved),
      found.entry.type == MountListEntry.regionfsType
    else {
      throw ControlError(.noDaemon, "\(HumanText.printable(path)) is not on a regionfs mount")
    }
    var problems: [ControlError] = []
    let daemon = ControlClient.findDaemon(
      for: found.entry, environment: environment, problems: &problems)
    guard let daemon else {
      let reason = problems.first.map { " (\($0.message))" } ?? ""
      throw ControlError(
        .noDaemon,
        "no daemon answers for \(HumanText.printable(found.entry.mountpoint))\(reason); "
          + "unmount it and mount it again to carry on from its cache directory")
    }
    entry = found.entry
    inside = found.inside
    self.daemon = daemon
  }
}

extension MountListEntry {
  /// The file system type of our mounts.
  public static let regionfsType = "fuse.regionfs"
}
