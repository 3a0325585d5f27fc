import Glibc

/// Why a log could not be read back.
enum LogRecoveryError: Error, CustomStringConvertible {
  /// The disk failed.
  case local(LocalError)
  /// Bytes that had been written completely are not what they should be.
  case damaged(path: String, FormatError)

  var description: String {
    switch self {
    case .local(let error): error.description
    case .damaged(let path, let error): "\(path): \(error)"
    }
  }
}

/// What was found of a log.
struct RecoveredLog {
  var log: WriteLog
  /// Bytes cut off at the end: records that were being written when the daemon or host stopped.
  var tornBytes: UInt64
  /// All that was ever appended is there: the host has not lost its power since.
  var isWhole: Bool
}

extension WriteLog {
  /// Opens the log whose files are in `directory`; nil if there is none. What may be torn is cut off
  /// and the cut synced; other damage throws and leaves all files.
  ///
  /// Within one boot of the host everything that was appended is there but for the last record. After
  /// a power loss (`boot` is not the log's) that holds only for what was synced: behind it the disk
  /// may have kept any sectors and lost others, so that whole records may follow torn ones. How far
  /// the syncs reached is known from the marks of the records behind the damage, wherever they are.
  ///
  /// `committed`: files whose records are all at or before that cut of that log are not needed.
  /// `continues` false: nothing will be appended, and no file begun in this boot, so that the next
  /// recovery still sees what this one does.
  static func recover(
    in directory: String, on disk: any LocalDisk = HostDisk(), boot: UInt64 = 0,
    committed: (log: LogID, cut: SequenceNumber) = (.zero, 0), continues: Bool = true
  ) throws(LogRecoveryError) -> RecoveredLog? {
    var files = try open(directory, disk)
    try removeCommitted(&files, committed, disk)
    guard let first = files.first else { return nil }
    let log = WriteLog(directory: directory, continuing: first.header, boot: boot, on: disk)
    let isSameBoot = files[files.count - 1].header.boot == boot
    var torn: UInt64 = 0
    for (position, file) in files.enumerated() {
      let later = files[(position + 1)...]
      guard let damage = try log.load(file, next: later.first) else { continue }
      guard !isLoss(damage, in: file, later, isSameBoot: isSameBoot) else {
        throw .damaged(path: file.file.path, damage.error)
      }
      torn = try local { () throws(LocalError) in try log.cut(at: damage, file, later) }
      break
    }
    if continues { try local { () throws(LocalError) in try log.goOn(isSameBoot: isSameBoot) } }
    return RecoveredLog(log: log, tornBytes: torn, isWhole: isSameBoot)
  }

  /// A log file as it was found.
  private struct Found {
    var file: LocalFile
    var size: UInt64
    var header: LogFileHeader
  }

  /// Where reading had to end.
  private struct Damage {
    var error: FormatError
    /// Where the record should begin that is not there.
    var offset: UInt64
    var reader: LogReader
  }

  private static func open(_ directory: String, _ disk: any LocalDisk) throws(LogRecoveryError)
    -> [Found]
  {
    let names = try local { () throws(LocalError) in try disk.names(in: directory) }
      .filter(isLogFile)
    var files: [Found] = []
    for name in names {
      let path = directory + "/" + name
      let file = try local { () throws(LocalError) in try disk.open(path, flags: O_RDWR) }
      let size = try local { () throws(LocalError) in try file.size() }
      let header: LogFileHeader
      do throws(FormatError) {
        let bytes = try read(file, 0..<min(size, UInt64(LogCodec.fileHeaderLength)))
        header = try LogCodec.decodeFileHeader(bytes)
      } catch {
        // The newest file may have been in the making: without a whole header it has no records.
        guard name == names.last, size <= UInt64(LogCodec.fileHeaderLength) else {
          throw .damaged(path: path, error)
        }
        try local { () throws(LocalError) in try disk.removeFile(path) }
        continue
      }
      guard name == Self.name(header.log, header.index) else {
        throw .damaged(path: path, FormatError(.invalid("it has another file's name"), what: "log"))
      }
      if let last = files.last,
        header.log != last.header.log || header.firstSequence < last.header.firstSequence
      {
        throw .damaged(
          path: path, FormatError(.invalid("it does not continue the file before"), what: "log"))
      }
      files.append(Found(file: file, size: size, header: header))
    }
    return files
  }

  /// Files that a commit made superfluous and that are there again, or still, some of them.
  private static func removeCommitted(
    _ files: inout [Found], _ committed: (log: LogID, cut: SequenceNumber), _ disk: any LocalDisk
  ) throws(LogRecoveryError) {
    while files.count > 1, files[0].header.log == committed.log,
      files[1].header.firstSequence <= committed.cut + 1
    {
      let file = files.removeFirst().file
      try local { () throws(LocalError) in try disk.removeFile(file.path) }
    }
  }

  /// Reads the records of one file into `entries`. Returns where that ended before its end, or that
  /// the next file does not continue it.
  private func load(_ found: Found, next: Found?) throws(LogRecoveryError) -> Damage? {
    let (file, header) = (found.file, found.header)
    var reader = LogReader(header)
    var offset = UInt64(LogCodec.fileHeaderLength)
    var damage: Damage?
    if header.firstSequence != nextSequence || header.chain != chain {
      throw .damaged(
        path: file.path, FormatError(.invalid("it does not continue the file before"), what: "log"))
    }
    while offset < found.size, damage == nil {
      do throws(FormatError) {
        let (record, length, payload) = try Self.record(in: found, at: offset, &reader)
        let location = payload.map { LogLocation(file: file, offset: offset + UInt64($0)) }
        entries.append(
          LogEntry(
            sequence: reader.nextSequence - 1, length: length, record: record, payload: location))
        offset += UInt64(length)
      } catch {
        damage = Damage(error: error, offset: offset, reader: reader)
      }
    }
    nextSequence = reader.nextSequence
    chain = reader.chain
    synced = max(synced, reader.synced)
    segments.append(
      Segment(file: file, index: header.index, lastSequence: nextSequence - 1, end: offset))
    // Nobody knows what of it is on the disk: the next fsync must not believe that all is.
    unsynced.append(file)
    if damage == nil, let next,
      next.header.firstSequence != nextSequence || next.header.chain != chain
    {
      let error = FormatError(.invalid("the file after does not continue it"), what: "log")
      damage = Damage(error: error, offset: offset, reader: reader)
    }
    return damage
  }

  /// The record at `offset`, its length, and where in it the payload begins (nil: it has none).
  private static func record(
    in found: Found, at offset: UInt64, _ reader: inout LogReader
  ) throws(FormatError) -> (LogRecord, length: Int, payload: Int?) {
    let headerEnd = min(found.size, offset + UInt64(LogCodec.recordHeaderLength))
    let head = try read(found.file, offset..<headerEnd)
    let length = try reader.length(ofRecordWith: head[...])
    guard UInt64(length) <= found.size - offset else {
      throw FormatError(.truncated, what: "log record")
    }
    let bytes = try read(found.file, offset..<offset + UInt64(length))
    let record = try reader.read(bytes[...])
    return (record.record, length, record.payloadOffset < length ? record.payloadOffset : nil)
  }

  // MARK: Judging damage

  /// Whether the damage takes away what must be there.
  private static func isLoss(
    _ damage: Damage, in file: Found, _ later: ArraySlice<Found>, isSameBoot: Bool
  ) -> Bool {
    var behind = Behind(from: damage.reader.nextSequence, synced: damage.reader.synced)
    behind.search(file, from: damage.offset)
    for file in later {
      behind.isSomethingWhole = true
      behind.note(synced: file.header.synced)
      behind.search(file, from: UInt64(LogCodec.fileHeaderLength))
    }
    // In one boot only the last record can be torn: whole ones behind it were accepted.
    return behind.isTooMuch || behind.synced >= damage.reader.nextSequence
      || isSameBoot && behind.isSomethingWhole
  }

  /// What is found of a log behind a damaged place.
  private struct Behind {
    /// The first record that is missing.
    let missing: SequenceNumber
    /// Records up to this one had been synced.
    private(set) var synced: SequenceNumber
    /// There are whole records.
    var isSomethingWhole = false
    private var compared: UInt64 = 0

    /// Most bytes that are read to tell records from content that looks like them: a torn record may
    /// hold thousands of imitations, each of a whole record. Beyond it nothing is thrown away.
    private static let imitationLimit: UInt64 = 1 << 30

    var isTooMuch: Bool { compared > Self.imitationLimit }

    init(from missing: SequenceNumber, synced: SequenceNumber) {
      self.missing = missing
      self.synced = synced
    }

    mutating func note(synced: SequenceNumber) { self.synced = max(self.synced, synced) }

    /// Looks for records of this log from `start` on: a header whose successor continues it, or the
    /// last one, which ends where the file does.
    mutating func search(_ found: Found, from start: UInt64) {
      if start == UInt64(LogCodec.fileHeaderLength) {
        follow(LogReader(found.header), at: start, in: found)
      }
      let window: UInt64 = 4 << 20
      var start = start
      while start < found.size {
        let end = min(found.size, start + window + UInt64(LogCodec.recordHeaderLength))
        guard let bytes = try? WriteLog.read(found.file, start..<end) else { return }
        for at in bytes.indices {
          guard let header = plausible(bytes[at...]) else { continue }
          let next =
            start + UInt64(at) + UInt64(LogCodec.recordHeaderLength + header.bodyLength)
          if header.sequence > missing, next == found.size { isSomethingWhole = true }
          follow(LogReader(after: header), at: next, in: found)
        }
        start += window
      }
    }

    /// The header at the slice's start, if it may be one of a later record of this log.
    private func plausible(_ bytes: ArraySlice<UInt8>) -> LogCodec.RecordHeader? {
      guard bytes.first == UInt8(LogCodec.magic & 0xFF), bytes.count >= LogCodec.recordHeaderLength,
        let header = try? LogCodec.decodeHeader(bytes.prefix(LogCodec.recordHeaderLength)),
        header.sequence >= missing, header.sequence - missing <= 1 << 24
      else { return nil }
      return header
    }

    /// Notes the record at `offset`, if it is the one that `reader` expects. One is enough: those
    /// behind it are found by themselves.
    private mutating func follow(_ reader: LogReader, at offset: UInt64, in found: Found) {
      var reader = reader
      let bodyStart = offset + UInt64(LogCodec.recordHeaderLength)
      guard bodyStart <= found.size, !isTooMuch,
        let head = try? LogCodec.decodeHeader(WriteLog.read(found.file, offset..<bodyStart)),
        UInt64(head.bodyLength) <= found.size - bodyStart
      else { return }
      compared += UInt64(head.bodyLength)
      guard (try? WriteLog.record(in: found, at: offset, &reader)) != nil
      else { return }
      isSomethingWhole = true
      note(synced: reader.synced)
    }
  }

  // MARK: Going on

  /// Ends the log before the damage. Returns the bytes that are gone.
  private func cut(at damage: Damage, _ found: Found, _ later: ArraySlice<Found>)
    throws(LocalError) -> UInt64
  {
    for file in later.reversed() { try disk.removeFile(file.file.path) }
    if !later.isEmpty { try disk.syncDirectory(directory) }
    guard damage.offset < found.size else { return later.reduce(0) { $0 + $1.size } }
    try found.file.truncate(to: damage.offset)
    try found.file.sync()
    return later.reduce(found.size - damage.offset) { $0 + $1.size }
  }

  /// Makes the log ready for appending. In another boot everything is synced, and a new file says so.
  private func goOn(isSameBoot: Bool) throws(LocalError) {
    if segments.isEmpty { return try roll() }
    guard !isSameBoot else { return }
    for file in takeUnsynced() { try file.syncData() }
    synced = lastSequence
    try roll()
  }

  private static func read(_ file: LocalFile, _ range: Range<UInt64>) throws(FormatError)
    -> [UInt8]
  {
    let buffer = IOBuffer(capacity: range.count)
    do throws(LocalError) {
      buffer.count = try unsafe file.read(
        into: buffer.memory.prefixBytes(range.count), at: range.lowerBound)
    } catch {
      throw FormatError(.invalid(error.description), what: "log")
    }
    guard buffer.count == range.count else { throw FormatError(.truncated, what: "log") }
    return buffer.array
  }

  private static func local<Value>(_ body: () throws(LocalError) -> Value)
    throws(LogRecoveryError) -> Value
  {
    do throws(LocalError) { return try body() } catch { throw .local(error) }
  }
}
