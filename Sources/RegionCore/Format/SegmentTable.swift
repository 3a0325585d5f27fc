/// A segment's table: the only encoding of what a commit changed. With all tables of a group's
/// segments its map can be rebuilt.
public struct SegmentTable: Hashable, Sendable {
  /// The group.
  public var group: GroupID
  /// The epoch of its writer.
  public var epoch: Epoch
  /// The commit it belongs to.
  public var commit: CommitNumber
  /// Nonce of the commit before, so that segments of attempts that never won are told apart.
  public var parent: Nonce
  /// Which of the commit's segments this is, from 0.
  public var index: UInt16
  /// How many segments the commit has.
  public var count: UInt16
  /// The changes. Within one commit no page and no inode is named twice.
  public var changes: [Change]

  /// One change.
  public enum Change: Hashable, Sendable {
    /// Pages with new content. `extent.source` is a unit of this very segment;
    /// `pageChecksums` has the CRC-32C of every page of the extent, as plain text.
    case data(FileID, Extent, pageChecksums: [UInt32])
    /// Pages that became zero.
    case zero(FileID, Range<PageIndex>)
    /// A name or attribute change.
    case name(NameChange)
  }

  /// A table with no changes yet.
  public init(
    group: GroupID, epoch: Epoch, commit: CommitNumber, parent: Nonce, index: UInt16, count: UInt16,
    changes: [Change] = []
  ) {
    self.group = group
    self.epoch = epoch
    self.commit = commit
    self.parent = parent
    self.index = index
    self.count = count
    self.changes = changes
  }
}
