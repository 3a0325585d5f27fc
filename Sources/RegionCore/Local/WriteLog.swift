import Glibc

/// Where a page's bytes lie in the write log.
public struct LogLocation: Sendable {
  /// The log file; keeps it open for as long as somebody reads from it.
  let file: LocalFile
  /// Offset in it, in bytes.
  let offset: UInt64
}

/// One accepted record as memory keeps it until it is committed.
struct LogEntry: Sendable {
  /// Its place in the history.
  var sequence: SequenceNumber
  /// Bytes it takes in the log.
  var length: Int
  /// What it changed.
  var record: LogRecord
  /// Where a data record's payload lies.
  var payload: LogLocation?
}

/// The ordered, append-only log of a group's accepted changes, as files of about 64 MiB.
///
/// Not thread-safe by itself: the group's lock guards it. What was appended is never rewritten, so
/// a push reads from it without a lock.
final class WriteLog {
  /// Size at which the next record goes to a new file, in bytes.
  static let fileTarget: UInt64 = 64 << 20
  /// Appended bytes after which the disk begins to write them.
  private static let writebackStep: UInt64 = 4 << 20

  /// One file of the log.
  struct Segment {
    var file: LocalFile
    var index: UInt32
    var lastSequence: SequenceNumber
    var end: UInt64
    /// The disk was told to write what is before.
    var started: UInt64 = 0
  }

  let disk: any LocalDisk
  let directory: String
  let header: LogFileHeader
  var segments: [Segment] = []
  var nextSequence: SequenceNumber
  var chain: UInt32
  /// Records up to this one are durable: each record tells, so that after a power loss it is known
  /// what has to be there.
  var synced: SequenceNumber = 0
  /// Files with records that no `fdatasync` has covered.
  var unsynced: [LocalFile] = []
  /// Entries that no seal has taken yet, oldest first.
  var entries: [LogEntry] = []
  /// What the last append changed, so that it can be taken back.
  private var undo: (end: UInt64, chain: UInt32)?
  private var head: [UInt8] = []

  /// Begins a log in `directory`, which holds no log files, nor after a power loss.
  init(
    directory: String, header: LogFileHeader, on disk: any LocalDisk = HostDisk()
  ) throws(LocalError) {
    self.disk = disk
    self.directory = directory
    self.header = header
    nextSequence = header.firstSequence
    chain = header.chain
    try roll()
  }

  /// A log that goes on where the one with `header` begins, this time in boot `boot`.
  init(directory: String, continuing header: LogFileHeader, boot: UInt64, on disk: any LocalDisk) {
    self.disk = disk
    self.directory = directory
    var header = header
    header.boot = boot
    self.header = header
    nextSequence = header.firstSequence
    chain = header.chain
  }

  /// The newest record's number; one less than the first if there is none.
  var lastSequence: SequenceNumber { nextSequence - 1 }

  /// Bytes of all records that are still in files.
  var bytesOnDisk: UInt64 { segments.reduce(0) { $0 + $1.end } }

  /// Appends a record; when this returns it survives a crash of the daemon. On an error nothing was
  /// appended.
  func append(_ record: LogRecord, payload: UnsafeRawBufferPointer) throws(AppendError) {
    if let last = segments.last, last.end >= Self.fileTarget {
      do throws(LocalError) { try roll() } catch { throw .local(error) }
    }
    guard let at = segments.indices.last else { throw .tooLarge }
    let sequence = nextSequence
    let newChain: UInt32
    do throws(FormatError) {
      newChain = try unsafe LogCodec.encodeHead(
        record, sequence: sequence, previousChain: chain, synced: synced, payload: payload,
        into: &head)
    } catch {
      throw .tooLarge
    }
    let start = segments[at].end
    let file = segments[at].file
    let length = head.count + payload.count
    do throws(LocalError) {
      try unsafe file.write(head: head, body: payload, at: start)
    } catch {
      // A part may be there: cut it off, or the next record would follow garbage.
      try? file.truncate(to: start)
      throw .local(error)
    }
    undo = (start, chain)
    segments[at].end = start + UInt64(length)
    segments[at].lastSequence = sequence
    startWriteback(at)
    if unsynced.last !== file { unsynced.append(file) }
    chain = newChain
    nextSequence += 1
    let location =
      payload.count == 0 ? nil : LogLocation(file: file, offset: start + UInt64(head.count))
    entries.append(LogEntry(sequence: sequence, length: length, record: record, payload: location))
  }

  /// Why a record was not appended.
  enum AppendError: Error {
    /// It breaks a limit of the format.
    case tooLarge
    /// The disk refused.
    case local(LocalError)
  }

  /// A sync that comes after much was appended finds most of it on the disk.
  private func startWriteback(_ at: Int) {
    let segment = segments[at]
    guard segment.end >= segment.started + Self.writebackStep else { return }
    segment.file.startWriteback(segment.started..<segment.end)
    segments[at].started = segment.end
  }

  /// Takes back the record that was appended last, because it could not be applied.
  func takeBackLast() throws(LocalError) {
    guard let undo, let at = segments.indices.last, let entry = entries.last else { return }
    try segments[at].file.truncate(to: undo.end)
    segments[at].end = undo.end
    segments[at].started = min(segments[at].started, undo.end)
    segments[at].lastSequence = entry.sequence - 1
    chain = undo.chain
    nextSequence = entry.sequence
    entries.removeLast()
    self.undo = nil
  }

  /// Hands out the entries that were not sealed yet, as many as `limit` payload bytes allow (always
  /// at least one if there is one).
  func takeEntries(limit: Int) -> [LogEntry] {
    var bytes = 0
    var count = 0
    while count < entries.count, count == 0 || bytes + entries[count].length <= limit {
      bytes += entries[count].length
      count += 1
    }
    let taken = Array(entries[..<count])
    entries.removeFirst(count)
    undo = nil
    return taken
  }

  /// Files to `fdatasync` so that everything appended so far is durable.
  func takeUnsynced() -> [LocalFile] {
    defer { unsynced = [] }
    return unsynced
  }

  /// Drops whole files whose records are all at or before `cut`.
  func drop(through cut: SequenceNumber) throws(LocalError) {
    try dropOld(through: cut)
    if let last = segments.last, last.lastSequence <= cut, last.end >= Self.fileTarget / 8 {
      // Even the newest file is committed: go on in a fresh one, so that this one can go. A small
      // one stays: recovery passes over what is committed, and a new file costs two syncs.
      do throws(LocalError) {
        try roll()
      } catch {
        guard error.isOutOfSpace else { throw error }
        try restart()
      }
    }
    try dropOld(through: cut)
  }

  private func dropOld(through cut: SequenceNumber) throws(LocalError) {
    while segments.count > 1, segments[0].lastSequence <= cut {
      let file = segments.removeFirst().file
      unsynced.removeAll { $0 === file }
      try disk.removeFile(file.path)
    }
  }

  /// Begins the only file again, all of whose records are committed: the disk has no room for another,
  /// and would never get any if this one stayed. A crash in the middle leaves records behind the new
  /// header that are older than it, which is a torn tail.
  private func restart() throws(LocalError) {
    guard let at = segments.indices.last, at == 0 else { return }
    var fileHeader = header
    fileHeader.index = segments[at].index
    fileHeader.firstSequence = nextSequence
    fileHeader.chain = chain
    fileHeader.synced = synced
    let file = segments[at].file
    let bytes = LogCodec.encodeFileHeader(fileHeader)
    try file.write(bytes, at: 0)
    try file.syncData()
    try file.truncate(to: UInt64(bytes.count))
    try file.sync()
    undo = nil
    unsynced.removeAll { $0 === file }
    segments[at].end = UInt64(bytes.count)
    segments[at].started = 0
  }

  func roll() throws(LocalError) {
    let index = (segments.last?.index).map { $0 + 1 } ?? header.index
    var fileHeader = header
    fileHeader.index = index
    fileHeader.firstSequence = nextSequence
    fileHeader.chain = chain
    fileHeader.synced = synced
    let path = directory + "/" + Self.name(header.log, index)
    let file = try disk.open(path, flags: O_RDWR | O_CREAT | O_EXCL)
    do throws(LocalError) {
      try file.write(LogCodec.encodeFileHeader(fileHeader), at: 0)
      try file.syncData()
      try disk.syncDirectory(directory)
    } catch {
      // Without it the next attempt finds the name free.
      try? disk.removeFile(path)
      throw error
    }
    undo = nil
    segments.append(
      Segment(
        file: file, index: index, lastSequence: nextSequence - 1,
        end: UInt64(LogCodec.fileHeaderLength)))
  }

  /// Whether a file's name is one that `name` makes.
  static func isLogFile(_ name: String) -> Bool {
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    return parts.count == 2 && LogID(parts[0]) != nil && parts[1].count == 10
  }

  /// `<log>.<index, 10 digits>`: names sort in order of index.
  static func name(_ log: LogID, _ index: UInt32) -> String {
    let digits = String(index)
    return "\(log)." + String(repeating: "0", count: max(0, 10 - digits.count)) + digits
  }
}
