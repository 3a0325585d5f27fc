/// A name at the top of the mount: `<prefix>/groups/<escaped name>`.
public struct GroupRecord: Hashable, Sendable {
  /// The group it names.
  public var group: GroupID
  /// The name.
  public var name: FileName
  /// What the group's top is, so that a listing needs no root.
  public var kind: InodeKind
  /// Raised by each rename: of two names of one group the higher one counts, the other is what a
  /// crash in the middle of a rename left.
  public var serial: UInt64
  /// A record.
  public init(group: GroupID, name: FileName, kind: InodeKind, serial: UInt64) {
    self.group = group
    self.name = name
    self.kind = kind
    self.serial = serial
  }
}
