/// The only mutable object of a group: `<prefix>/g/<uuid>/root`, replaced by compare-and-swap.
public struct Root: Hashable, Sendable {
  /// Who may write.
  public enum Claim: Hashable, Sendable {
    /// Nobody; the next writer claims a higher epoch.
    case free
    /// The daemon with this cache directory.
    case held(WriterID)
  }

  /// The group.
  public var group: GroupID
  /// Chunk size and with it the geometry, fixed when the group was made.
  public var geometry: Geometry
  /// The current epoch: raised by every claim.
  public var epoch: Epoch
  /// Who holds that epoch.
  public var claim: Claim
  /// Words about the holder for EBUSY messages: host, mountpoint. At most 255 bytes of UTF-8.
  public var holder: String
  /// The newest commit; its nonce is fresh for each attempt to write a root.
  public var commit: CommitID
  /// Wall time of that commit, for people.
  public var committedAt: Timestamp
  /// Former commits, newest first, at most 64, without `commit`.
  public var history: [CommitID]
  /// The log whose changes the newest commits hold; zero before the first.
  public var log: LogID
  /// How far into that log: every record up to this one is committed.
  public var cut: SequenceNumber
  /// The next FileID to hand out in this group (ids are never reused).
  public var nextFileID: FileID
  /// The map and names up to some commit; nil before the first checkpoint.
  public var checkpoint: CheckpointReference?
  /// Segments committed since the checkpoint, oldest first; later ones override earlier ones.
  public var tail: [SegmentReference]
  /// Objects that nothing refers to since `droppedAt`; deleted by the writer after a grace time.
  public var pendingDeletion: [PendingDeletion]
  /// Reserved: snapshots of this group. Empty in version 1.
  public var snapshots: [CommitID]
  /// Reserved: groups cloned from this one, whose objects may not be deleted. Empty in version 1.
  public var clonePins: [GroupID]

  /// Where a checkpoint's index lies.
  public struct CheckpointReference: Hashable, Sendable {
    /// The `map/` object.
    public var object: ObjectID
    /// Where the index lies in it, in bytes.
    public var indexOffset: UInt64
    /// The index's length, in bytes.
    public var indexLength: UInt32
    /// CRC-32C of the index.
    public var indexChecksum: UInt32
    /// The commit it contains everything up to.
    public var commit: CommitID
    /// Refers to an index.
    public init(
      object: ObjectID, indexOffset: UInt64, indexLength: UInt32, indexChecksum: UInt32,
      commit: CommitID
    ) {
      self.object = object
      self.indexOffset = indexOffset
      self.indexLength = indexLength
      self.indexChecksum = indexChecksum
      self.commit = commit
    }
  }

  /// Where a segment's table lies.
  public struct SegmentReference: Hashable, Sendable {
    /// The `seg/` object.
    public var object: ObjectID
    /// The commit it belongs to.
    public var commit: CommitNumber
    /// Length of the whole object, in bytes.
    public var length: UInt32
    /// Where the table starts, in bytes.
    public var tableOffset: UInt32
    /// The table's length, in bytes.
    public var tableLength: UInt32
    /// CRC-32C of the table.
    public var tableChecksum: UInt32
    /// Where in the object the table is, in bytes.
    var tableRange: Range<UInt64> {
      UInt64(tableOffset)..<UInt64(tableOffset) + UInt64(tableLength)
    }
    /// Refers to a segment.
    public init(
      object: ObjectID, commit: CommitNumber, length: UInt32, tableOffset: UInt32,
      tableLength: UInt32, tableChecksum: UInt32
    ) {
      self.object = object
      self.commit = commit
      self.length = length
      self.tableOffset = tableOffset
      self.tableLength = tableLength
      self.tableChecksum = tableChecksum
    }
  }

  /// An object nothing refers to any more.
  public struct PendingDeletion: Hashable, Sendable {
    /// `seg/` or `map/`.
    public var isSegment: Bool
    /// The object.
    public var object: ObjectID
    /// When the commit that dropped it was made.
    public var droppedAt: Timestamp
    /// Names an object to delete later.
    public init(isSegment: Bool, object: ObjectID, droppedAt: Timestamp) {
      self.isSegment = isSegment
      self.object = object
      self.droppedAt = droppedAt
    }
  }

  /// The root of an empty group, commit 0 of epoch 1.
  public init(
    group: GroupID, geometry: Geometry, claim: Claim, holder: String, nonce: Nonce, log: LogID,
    time: Timestamp
  ) {
    self.group = group
    self.geometry = geometry
    epoch = 1
    self.claim = claim
    self.holder = holder
    commit = CommitID(number: 0, nonce: nonce)
    committedAt = time
    history = []
    self.log = log
    cut = 0
    nextFileID = 2
    checkpoint = nil
    tail = []
    pendingDeletion = []
    snapshots = []
    clonePins = []
  }
}

extension Root {
  /// Puts a checkpoint in the place of the tail and of the one before, which is to be deleted unless
  /// the new one's `index` still refers to it.
  mutating func install(
    _ reference: CheckpointReference, index: CheckpointIndex, at time: Timestamp
  ) {
    if let old = checkpoint, !index.refers(to: old.object) {
      let dropped = PendingDeletion(isSegment: false, object: old.object, droppedAt: time)
      pendingDeletion = Array((pendingDeletion + [dropped]).suffix(Limits.pendingDeletions))
    }
    checkpoint = reference
    tail = []
  }
}
