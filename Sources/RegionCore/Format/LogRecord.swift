/// The header of one file of a write log.
public struct LogFileHeader: Hashable, Sendable {
  /// The group.
  public var group: GroupID
  /// The epoch of the claim that the log belongs to.
  public var epoch: Epoch
  /// The identity of the cache directory that writes it.
  public var writer: WriterID
  /// The log, which may span many files.
  public var log: LogID
  /// The root's newest commit when the log was begun: it may be replayed only on that commit or on
  /// commits of its own.
  public var base: CommitID
  /// Which of the log's files this is, from 0.
  public var index: UInt32
  /// The sequence number of the first record in it.
  public var firstSequence: SequenceNumber
  /// The chain value that the first record continues (the last record's checksum of the file before).
  public var chain: UInt32
  /// Half of the id of the host's boot during which the file was begun: after another one, what was
  /// not synced may be lost in any order. 0: not known.
  public var boot: UInt64 = 0
  /// Every record of the log up to this one was synced before the file was begun.
  public var synced: SequenceNumber = 0

  /// A header.
  public init(
    group: GroupID, epoch: Epoch, writer: WriterID, log: LogID, base: CommitID, index: UInt32,
    firstSequence: SequenceNumber, chain: UInt32
  ) {
    self.group = group
    self.epoch = epoch
    self.writer = writer
    self.log = log
    self.base = base
    self.index = index
    self.firstSequence = firstSequence
    self.chain = chain
  }
}

/// One accepted request, as the log keeps it.
public enum LogRecord: Hashable, Sendable {
  /// Data of one file changed. Whole pages only: a partial write logs the merged page.
  case data(DataRecord)
  /// Names or attributes changed, all in one step.
  case names([NameChange])

  /// The file whose data the record changes, if it changes data.
  var dataFile: FileID? {
    if case .data(let record) = self { record.file } else { nil }
  }
}

/// A change of one file's data and size.
public struct DataRecord: Hashable, Sendable {
  /// The file.
  public var file: FileID
  /// Its size after the change, in bytes.
  public var size: UInt64
  /// The time of the change.
  public var time: Timestamp
  /// Pages that changed: in order, not overlapping. The payload holds the pages of the `bytes` runs
  /// one after another.
  public var runs: [PageRun]

  /// A record.
  public init(file: FileID, size: UInt64, time: Timestamp, runs: [PageRun]) {
    self.file = file
    self.size = size
    self.time = time
    self.runs = runs
  }

  /// Pages whose bytes the payload holds.
  public var payloadPages: UInt64 {
    runs.reduce(0) { $0 + ($1.isZero ? 0 : UInt64($1.pages.count)) }
  }
}

/// Consecutive pages that changed in one way.
public struct PageRun: Hashable, Sendable {
  /// The pages; never empty.
  public var pages: Range<PageIndex>
  /// Whether they became zero (else their bytes are in the payload).
  public var isZero: Bool
  /// A run.
  public init(_ pages: Range<PageIndex>, isZero: Bool) {
    self.pages = pages
    self.isZero = isZero
  }
}
