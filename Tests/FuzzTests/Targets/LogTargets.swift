import Glibc
import Locks
import RegionTesting

@testable import RegionCore

/// The write log: one record, and the recovery of whole files.
extension FuzzTarget {
  static let logs: [FuzzTarget] = [record, recovery]

  private static let sequence: SequenceNumber = 9
  private static let chain: UInt32 = 0x1234_5678

  private struct Record: Equatable {
    var record: LogRecord
    var payload: [UInt8]
    /// What its mark says was durable.
    var synced: SequenceNumber = 0
  }

  private static let record = FuzzTarget(
    name: "log-record", longest: 16 << 10, golden: "log-record",
    reseal: { _ = Sealing.record(continuing: chain, fixLength: true, &$0) }
  ) { bytes throws(FuzzFinding) in
    try check(
      bytes, canonical: true,
      parse: { bytes throws(FormatError) in
        let found = try LogCodec.decodeRecord(
          bytes, expectedSequence: sequence, previousChain: chain)
        return Record(
          record: found.record, payload: Array(bytes[found.payloadOffset...]),
          synced: SyncMark.decode(bytes[3], before: sequence) ?? 0)
      }, encode: { try encode($0, sequence: sequence, chain: chain).bytes })
  }

  private static func encode(_ record: Record, sequence: SequenceNumber, chain: UInt32)
    throws(FormatError) -> (bytes: [UInt8], chain: UInt32)
  {
    // SAFETY: the payload outlives the call.
    let result = unsafe record.payload.withUnsafeBytes { payload in
      Result { () throws(FormatError) in
        unsafe try LogCodec.encodeHead(
          record.record, sequence: sequence, previousChain: chain, synced: record.synced,
          payload: payload)
      }
    }
    let (head, next) = try result.get()
    return (head + record.payload, next)
  }

  /// Up to three files of a log, each behind its length. What recovery accepts it must find again.
  private static let recovery = FuzzTarget(
    name: "log-recovery", longest: 16 << 10, examples: examples,
    words: ["RL\u{1}\0", "RL\u{2}\0"],
    reseal: { bytes in
      var files = split(bytes)
      for index in files.indices { sealFile(&files[index]) }
      bytes = join(files)
    }
  ) { bytes throws(FuzzFinding) in
    try LogDirectory.shared.filled(with: split(bytes), isRecoveredTwice)
  }

  private static func isRecoveredTwice(in directory: LogDirectory) throws(FuzzFinding) -> Bool {
    guard let first = try recovered(in: directory) else { return false }
    // A torn tail is gone now; all else must be as it was.
    guard let second = try recovered(in: directory) else {
      throw FuzzFinding("a recovered log cannot be recovered again")
    }
    guard first.entries == second.entries, first.next == second.next, second.torn == 0 else {
      throw FuzzFinding("a log is recovered as something else the second time")
    }
    return true
  }

  private struct Recovered {
    var entries: [Entry]
    var next: SequenceNumber
    var torn: UInt64

    struct Entry: Equatable {
      var sequence: SequenceNumber
      var record: LogRecord
      var place: UInt64?
    }
  }

  private static func recovered(in directory: LogDirectory) throws(FuzzFinding) -> Recovered? {
    do throws(LogRecoveryError) {
      guard let found = try WriteLog.recover(in: directory.path) else {
        return Recovered(entries: [], next: 0, torn: 0)
      }
      return Recovered(
        entries: found.log.entries.map {
          .init(sequence: $0.sequence, record: $0.record, place: $0.payload?.offset)
        }, next: found.log.nextSequence, torn: found.tornBytes)
    } catch {
      guard case .damaged = error else { throw FuzzFinding("\(error)") }
      return nil
    }
  }

  private static func split(_ bytes: [UInt8]) -> [[UInt8]] {
    var files: [[UInt8]] = []
    var rest = bytes[...]
    while rest.count >= 2, files.count < 3 {
      let length = Int(rest[rest.startIndex]) | Int(rest[rest.startIndex + 1]) << 8
      files.append(Array(rest.dropFirst(2).prefix(length)))
      rest = rest.dropFirst(2 + length)
    }
    return files
  }

  private static func join(_ files: [[UInt8]]) -> [UInt8] {
    files.flatMap { file in
      let file = file.prefix(0xFFFF)
      return [UInt8(truncatingIfNeeded: file.count), UInt8(truncatingIfNeeded: file.count >> 8)]
        + file
    }
  }

  /// Header and records as far as their lengths make sense.
  private static func sealFile(_ bytes: inout [UInt8]) {
    let length = LogCodec.fileHeaderLength
    Sealing.header(length: length, &bytes)
    guard bytes.count >= length,
      let header = try? LogCodec.decodeFileHeader(Array(bytes[..<length]))
    else { return }
    var (chain, at) = (header.chain, length)
    while let next = Sealing.record(at: at, continuing: chain, fixLength: false, &bytes) {
      (chain, at) = (next.chain, next.end)
    }
  }

  /// A log of two files with four records.
  private static let examples: [[UInt8]] = {
    var header = LogFileHeader(
      group: .zero, epoch: 1, writer: .zero, log: Random128(high: 5, low: 6),
      base: CommitID(number: 1, nonce: .zero), index: 0, firstSequence: 1, chain: 0)
    header.chain = LogCodec.initialChain(of: header.log)
    let time = Timestamp(nanoseconds: 5)
    let records: [Record] = [
      Record(
        record: .data(
          DataRecord(file: 2, size: 4096, time: time, runs: [PageRun(0..<1, isZero: false)])),
        payload: [UInt8](repeating: 7, count: 4096)),
      Record(record: .names([.remove(3)]), payload: []),
      Record(
        record: .data(
          DataRecord(file: 2, size: 9, time: time, runs: [PageRun(1..<9, isZero: true)])),
        payload: []),
      Record(record: .names([.remove(4), .remove(5)]), payload: []),
    ]
    var files: [[UInt8]] = []
    for pair in [records[..<2], records[2...]] {
      var bytes = LogCodec.encodeFileHeader(header)
      for record in pair {
        guard
          let (more, chain) = try? encode(
            record, sequence: header.firstSequence, chain: header.chain)
        else { return [] }
        bytes += more
        header.chain = chain
        header.firstSequence += 1
      }
      header.index += 1
      files.append(bytes)
    }
    return [join(files), join([files[0]]), join([files[0] + [0x52, 0x4C, 1]])]
  }()
}

/// The directory in which logs are recovered, one after the other.
final class LogDirectory: Sendable {
  static let shared = LogDirectory()
  let path: String
  private let turn = Lock(())

  private init() {
    let base = Environment.all["REGIONFS_FUZZ_DIRECTORY"] ?? "/tmp"
    var template = Array("\(base)/regionfs-fuzz-XXXXXX".utf8CString)
    // SAFETY: mkdtemp changes the template in place.
    guard unsafe mkdtemp(&template) != nil else { fatalError("mkdtemp in \(base): \(errno)") }
    path = String(
      decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: Unicode.UTF8.self)
    // Targets have no end, processes do.
    atexit { try? LocalDirectory.removeTree(LogDirectory.shared.path) }
  }

  /// Calls `body` while these files, and no others, are in it. Tests run side by side.
  func filled(
    with files: [[UInt8]], _ body: (LogDirectory) throws(FuzzFinding) -> Bool
  ) throws(FuzzFinding) -> Bool {
    try turn.withLock { (_) throws(FuzzFinding) in
      try fill(files)
      return try body(self)
    }
  }

  /// What the header says, if there is one.
  private func name(of bytes: [UInt8]) -> String? {
    guard
      let header = try? LogCodec.decodeFileHeader(Array(bytes.prefix(LogCodec.fileHeaderLength)))
    else { return nil }
    return WriteLog.name(header.log, header.index)
  }

  private func fill(_ files: [[UInt8]]) throws(FuzzFinding) {
    do throws(LocalError) {
      for name in try LocalDirectory.names(in: path) {
        try LocalDirectory.removeFile(path + "/" + name)
      }
      for (index, bytes) in files.enumerated() {
        let name = name(of: bytes) ?? WriteLog.name(.zero, UInt32(index))
        try LocalFile(path: path + "/" + name, flags: O_RDWR | O_CREAT).write(bytes, at: 0)
      }
    } catch {
      throw FuzzFinding("\(error)")
    }
  }
}
