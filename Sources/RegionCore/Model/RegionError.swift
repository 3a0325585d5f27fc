/// Why an operation on a group or region was refused or failed. RegionFilesystem has the one table
/// that turns these into errnos.
public enum RegionError: Error, Sendable, Equatable {
  /// No such name, file or group.
  case notFound
  /// The name is taken.
  case exists
  /// A directory was needed.
  case notDirectory
  /// Something other than a directory was needed.
  case isDirectory
  /// The directory has entries.
  case notEmpty
  /// Source and target lie in different groups.
  case crossGroup
  /// A directory would become its own descendant, or an argument makes no sense.
  case invalid
  /// The name is too long or a symlink's target is.
  case nameTooLong
  /// Beyond the largest region.
  case tooLarge
  /// No space in the cache directory, or the log's limit is reached while the store takes nothing.
  case noSpace
  /// The mount or the group is read-only here.
  case readOnly
  /// The group is not claimed here just now: claim it and try again.
  case unclaimed
  /// Another daemon took the group over; uncommitted changes are kept in the cache.
  case stale
  /// Another daemon writes the group; its own words say who.
  case busy(holder: String)
  /// Not allowed on this kind of inode, or not supported at all.
  case notPermitted
  /// The kind of attribute or the mode is not supported.
  case unsupported
  /// No such extended attribute.
  case noAttribute
  /// Too many inodes, attributes too large.
  case limitReached
  /// The read or write was given up by its caller.
  case interrupted
  /// The bytes could not be had or kept; the log line has the details.
  case io
}
