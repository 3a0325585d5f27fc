/// Every limit of the formats and the engine in one place, with its reason.
///
/// A parser refuses what is beyond them, so that hostile or damaged input costs bounded memory.
public enum Limits {
  /// Largest region, in bytes: 8 TiB keeps page numbers in 31 bits.
  public static let regionSize: UInt64 = 8 << 40
  /// Largest page number plus one.
  public static let pageCount: UInt64 = regionSize >> Geometry.pageShift
  /// A file name: what Linux allows (NAME_MAX), in bytes.
  public static let nameLength = 255
  /// A symlink's target: Linux's PATH_MAX less its NUL, in bytes.
  public static let symlinkLength = 4095
  /// One extended attribute's name (XATTR_NAME_MAX), in bytes.
  public static let xattrNameLength = 255
  /// One extended attribute's value (XATTR_SIZE_MAX), in bytes.
  public static let xattrValueLength = 65_536
  /// All extended attributes of one inode together (XATTR_LIST_MAX bounds the names on Linux), in bytes.
  public static let xattrTotalLength = 131_072
  /// Largest epoch and commit number that are taken from a store: far beyond what can be reached by
  /// counting, and there is always a next one.
  public static let numberInUse: UInt64 = 1 << 62
  /// A root object: read before every claim, so it stays one small request, in bytes.
  public static let rootLength = 65_536
  /// Segments in a root between checkpoints.
  public static let tailSegments = 512
  /// Commits a root remembers, to tell a lost acknowledgement from a lost claim.
  public static let rootHistory = 64
  /// Objects pending deletion that a root names.
  public static let pendingDeletions = 256
  /// Snapshots and pins of clones that a root names (reserved; none are made yet).
  public static let rootPins = 128
  /// Target of a segment's payload, in bytes.
  public static let segmentTarget = 8 << 20
  /// Largest payload of a segment: the target plus one chunk and slack, in bytes.
  public static let segmentPayload = 24 << 20
  /// Largest table of a segment, in bytes. 64 B an extent and 4 B a page fit many times.
  public static let tableLength = 16 << 20
  /// Changes in one segment's table.
  public static let tableChanges = 1 << 18
  /// Segments of one commit.
  public static let commitSegments = 32
  /// Chunks in one map page: 1 GiB of region at the default chunk size.
  public static let chunksPerMapPage: UInt64 = 4096
  /// Extents in one chunk: each of its pages may have its own.
  public static let extentsPerChunk = 2048
  /// An encoded map page, in bytes.
  public static let mapPageLength = 32 << 20
  /// Inodes in one name page.
  public static let inodesPerNamePage: UInt64 = 512
  /// An encoded name page, in bytes: 512 inodes with the longest names and attributes.
  public static let namePageLength = 80 << 20
  /// An encoded checkpoint index, in bytes.
  public static let indexLength = 64 << 20
  /// Largest FileID: ids are never reused, and name pages are numbered in 31 bits.
  public static let fileID: UInt64 = 1 << 40
  /// Inodes in one group: the namespace is kept in memory.
  public static let inodes: UInt64 = 1 << 22
  /// A log record's body: 1 MiB of payload (max_write) with its runs, or names with attributes, in bytes.
  public static let recordLength = 4 << 20
  /// Runs in one data record.
  public static let recordRuns = 1024
  /// Name changes in one record (a rename touches three inodes).
  public static let recordNameChanges = 64
  /// A group's name record in the store, in bytes.
  public static let groupRecordLength = 4096
  /// The cache's list of names at the top, in bytes: half a million long names.
  public static let nameListLength = 64 << 20
  /// Chunks of a recorded trace: 2 GiB at the default chunk size, more than a program's start reads.
  public static let traceChunks = 8192
  /// Bytes of the chunks of a recorded trace: what it may have pulled.
  public static let traceBytes: UInt64 = 2 << 30
  /// A recorded trace, in bytes: a header, and 16 an entry of at least one chunk.
  public static let traceLength = 64 + 16 * traceChunks
  /// Starts in a row that pulled a chunk of a trace for nothing, after which it is dropped: a program
  /// that sometimes takes another way keeps its trace.
  public static let traceUnreadStarts: UInt8 = 4
  /// Requests that a start hint names: each mount with an empty cache makes all of them.
  public static let startHintEntries = 4
  /// One range of a start hint, in bytes: a chunk, unless chunks are larger than anybody needs at once.
  public static let startHintRange = 1 << 20
  /// A start hint, in bytes: a header, and 64 an entry.
  public static let startHintLength = 24 + 64 * startHintEntries
  /// A store's address with its endpoint, in bytes.
  public static let storeNameLength = 8192
  /// An object's version as stores give it, in bytes: they are some tens.
  public static let etagLength = 1024
}
