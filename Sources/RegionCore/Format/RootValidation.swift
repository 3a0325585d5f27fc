/// What must hold between the values of a root, whether it is written or read.
extension RootCodec {
  static func validate(_ root: Root) throws(FormatError) {
    try require(root.epoch >= 1, "epoch 0")
    try require(root.holder.utf8.count <= 255, "holder is longer than 255 bytes")
    try require((2...Limits.fileID).contains(root.nextFileID), "next inode number out of range")
    if case .held(.zero) = root.claim { throw error("claimed by no one") }
    try require(root.pendingDeletion.count <= Limits.pendingDeletions, "too many pending deletions")
    try require(root.snapshots.count <= Limits.rootPins, "too many snapshots")
    try require(root.clonePins.count <= Limits.rootPins, "too many clones")
    try validateHistory(root)
    try validateCheckpoint(root)
    try validateTail(root)
    var seen: Set<Root.PendingDeletion> = []
    for var deletion in root.pendingDeletion {
      try validate(deletion.object, in: root)
      deletion.droppedAt = Timestamp(nanoseconds: 0)  // One object is named once at any time.
      try require(seen.insert(deletion).inserted, "an object is to be deleted twice")
    }
  }

  private static func error(_ why: String) -> FormatError {
    FormatError(.invalid(why), what: frame.what)
  }

  private static func require(_ condition: Bool, _ why: @autoclosure () -> String)
    throws(FormatError)
  {
    guard condition else { throw error(why()) }
  }

  /// Objects are made under an epoch that was claimed.
  private static func validate(_ object: ObjectID, in root: Root) throws(FormatError) {
    try require((1...root.epoch).contains(object.epoch), "an object of an epoch that never was")
  }

  /// Newest first. Two roots of one commit number differ in their nonce (a claim changes no data).
  private static func validateHistory(_ root: Root) throws(FormatError) {
    try require(root.history.count <= Limits.rootHistory, "too many commits")
    var seen: Set<CommitID> = [root.commit]
    var newer = root.commit.number
    for commit in root.history {
      try require(commit.number <= newer, "history is not in order")
      try require(seen.insert(commit).inserted, "a commit is in the history twice")
      newer = commit.number
    }
  }

  private static func validateCheckpoint(_ root: Root) throws(FormatError) {
    guard let checkpoint = root.checkpoint else { return }
    try validate(checkpoint.object, in: root)
    try require(checkpoint.commit.number <= root.commit.number, "checkpoint of a future commit")
    try require(
      checkpoint.indexOffset >= UInt64(CheckpointCodec.headerLength), "checkpoint index's place")
    try require(checkpoint.indexOffset <= CheckpointCodec.objectLimit, "checkpoint index's place")
    try require(
      (1...UInt32(Limits.indexLength)).contains(checkpoint.indexLength), "checkpoint index's length"
    )
  }

  private static func validateTail(_ root: Root) throws(FormatError) {
    try require(root.tail.count <= Limits.tailSegments, "too many segments")
    var seen: Set<ObjectID> = []
    var last = root.checkpoint?.commit.number
    for (index, segment) in root.tail.enumerated() {
      try validate(segment.object, in: root)
      try require(seen.insert(segment.object).inserted, "a segment is named twice")
      let isAfter =
        index == 0 ? last.map { segment.commit > $0 } : last.map { segment.commit >= $0 }
      try require(isAfter ?? true, "segments are not in order")
      last = segment.commit
      try require(segment.commit <= root.commit.number, "segment of a future commit")
      try SegmentCodec.validatePlaces(
        tableOffset: segment.tableOffset, tableLength: segment.tableLength, length: segment.length,
        what: frame.what)
    }
  }
}
