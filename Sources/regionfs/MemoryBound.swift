/// The most memory that the daemon should take, from what it has to do: the formula of
/// docs/ARCHITECTURE.md.
struct MemoryBound {
  /// The limits of all buffers of pulls.
  var buffers: UInt64
  /// The eviction's queue.
  var queue: UInt64 = 0
  /// Groups that may be committing.
  var writers: UInt64 = 0
  /// Inodes of the groups that are loaded.
  var inodes: UInt64 = 0
  /// Bytes of their logs that are not committed.
  var uncommitted: UInt64 = 0
  /// Cached chunks of regions that are open.
  var chunks: UInt64 = 0

  /// Program, threads, the store's client and the allocator's slack.
  private static let base: UInt64 = 160 << 20
  /// Four segments of a commit, each with its table.
  private static let writer: UInt64 = 40 << 20

  var bytes: UInt64 {
    Self.base + buffers + queue + writers * Self.writer + inodes * 1024 + uncommitted / 16
      + chunks * 256
  }
}
