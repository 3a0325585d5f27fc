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
  /// Bytes cut off at the end: a record that was being written when the daemon or host stopped.
  var tornBytes: UInt64
}

extension WriteLog {
  /// Opens the log whose files are in `directory`; nil if there is none. A torn tail of the last
  /// file is cut off and the cut synced; damage in an earlier file throws.
  static func recover(in directory: String) throws(LogRecoveryError) -> RecoveredLog? {
    let names = try local { () throws(LocalError) in try LocalDirectory.names(in: directory) }
      .filter(isLogFile)
    var log: WriteLog?
    var torn: UInt64 = 0
    for (position, name) in names.enumerated() {
      let path = directory + "/" + name
      torn = try recoverFile(path, into: &log, isLast: position == names.count - 1)
    }
    guard let log else { return nil }
    if log.segments.isEmpty { try local { () throws(LocalError) in try log.roll() } }
    return RecoveredLog(log: log, tornBytes: torn)
  }

  private static func recoverFile(
    _ path: String, into log: inout WriteLog?, isLast: Bool
  ) throws(LogRecoveryError) -> UInt64 {
    let file = try local { () throws(LocalError) in try LocalFile(path: path, flags: O_RDWR) }
    let size = try local { () throws(LocalError) in try file.size() }
    let header: LogFileHeader
    do throws(FormatError) {
      let bytes = try read(file, 0..<min(size, UInt64(LogCodec.fileHeaderLength)))
      header = try LogCodec.decodeFileHeader(bytes)
    } catch {
      // The newest file may have been in the making: without a whole header it has no records.
      guard isLast, size <= UInt64(LogCodec.fileHeaderLength) else {
        throw .damaged(path: path, error)
      }
      try local { () throws(LocalError) in try LocalDirectory.removeFile(path) }
      return size
    }
    let current =
      log
      ?? WriteLog(
        directory: LocalDirectory.parent(of: path), header: header, next: header.firstSequence,
        chain: header.chain)
    guard header.log == current.header.log, header.firstSequence == current.nextSequence,
      header.chain == current.chain
    else {
      throw .damaged(
        path: path, FormatError(.invalid("it does not continue the file before"), what: "log"))
    }
    log = current
    return try current.load(file, header, size: size, isLast: isLast)
  }

  /// Reads the records of one file into `entries`; returns the bytes of a torn tail that was cut.
  private func load(
    _ file: LocalFile, _ header: LogFileHeader, size: UInt64, isLast: Bool
  ) throws(LogRecoveryError) -> UInt64 {
    var reader = LogReader(header)
    var offset = UInt64(LogCodec.fileHeaderLength)
    while offset < size {
      do throws(FormatError) {
        let headerEnd = min(size, offset + UInt64(LogCodec.recordHeaderLength))
        let head = try Self.read(file, offset..<headerEnd)
        let length = try reader.length(ofRecordWith: head[...])
        guard UInt64(length) <= size - offset else {
          throw FormatError(.truncated, what: "log record")
        }
        let bytes = try Self.read(file, offset..<offset + UInt64(length))
        let found = try reader.read(bytes[...])
        let payload =
          found.payloadOffset < length
          ? LogLocation(file: file, offset: offset + UInt64(found.payloadOffset)) : nil
        entries.append(
          LogEntry(
            sequence: reader.nextSequence - 1, length: length, record: found.record,
            payload: payload))
        offset += UInt64(length)
      } catch {
        // A torn record is the last thing in the log. Where whole ones follow, accepted changes
        // would be thrown away with it.
        guard isLast, try !Self.hasRecord(in: file, offset..<size, from: reader.nextSequence)
        else { throw .damaged(path: file.path, error) }
        break
      }
    }
    nextSequence = reader.nextSequence
    chain = reader.chain
    segments.append(
      Segment(file: file, index: header.index, lastSequence: nextSequence - 1, end: offset))
    // Nobody knows what of it is on the disk: the next fsync must not believe that all is.
    unsynced.append(file)
    guard offset < size else { return 0 }
    try Self.local { () throws(LocalError) in
      try file.truncate(to: offset)
      try file.sync()
    }
    return size - offset
  }

  /// Most bytes that are read to tell records from content that looks like them: a torn record may
  /// hold thousands of imitations, each of a whole record. Beyond it nothing is thrown away.
  private static let imitationLimit: UInt64 = 1 << 30

  /// Whether records of this log from number `sequence` on lie somewhere in `range`: a header whose
  /// successor continues it, or a later one whose record ends where the log does.
  private static func hasRecord(
    in file: LocalFile, _ range: Range<UInt64>, from sequence: SequenceNumber
  ) throws(LogRecoveryError) -> Bool {
    let window: UInt64 = 4 << 20
    var start = range.lowerBound
    var compared: UInt64 = 0
    while start < range.upperBound {
      let end = min(range.upperBound, start + window + UInt64(LogCodec.recordHeaderLength))
      let bytes: [UInt8]
      do throws(FormatError) {
        bytes = try read(file, start..<end)
      } catch {
        throw .damaged(path: file.path, error)
      }
      for at in bytes.indices {
        guard let header = plausible(bytes[at...], from: sequence) else { continue }
        let place = start + UInt64(at)
        let recordEnd = place + UInt64(LogCodec.recordHeaderLength + header.bodyLength)
        if header.sequence > sequence, recordEnd == range.upperBound { return true }
        let isContinued = isContinued(
          header, recordEnd, in: file, end: range.upperBound, compared: &compared)
        if isContinued || compared > imitationLimit { return true }
      }
      start += window
    }
    return false
  }

  /// The header at the slice's start, if it may be one of a later record of this log.
  private static func plausible(_ bytes: ArraySlice<UInt8>, from sequence: SequenceNumber)
    -> LogCodec.RecordHeader?
  {
    guard bytes.first == UInt8(LogCodec.magic & 0xFF), bytes.count >= LogCodec.recordHeaderLength,
      let header = try? LogCodec.decodeHeader(bytes.prefix(LogCodec.recordHeaderLength)),
      header.sequence >= sequence, header.sequence - sequence <= 1 << 24
    else { return nil }
    return header
  }

  /// Whether the record at `next` continues the one with `header`. Adds what it reads to `compared`.
  private static func isContinued(
    _ header: LogCodec.RecordHeader, _ next: UInt64, in file: LocalFile, end: UInt64,
    compared: inout UInt64
  ) -> Bool {
    let length = UInt64(LogCodec.recordHeaderLength)
    guard next + length <= end else { return false }
    do throws(FormatError) {
      let head = try LogCodec.decodeHeader(try read(file, next..<next + length))
      let nextEnd = next + length + UInt64(head.bodyLength)
      guard nextEnd <= end else { return false }
      compared += nextEnd - next
      _ = try LogCodec.decodeRecord(
        try read(file, next..<nextEnd), expectedSequence: header.sequence + 1,
        previousChain: header.chain)
      return true
    } catch {
      return false
    }
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
