import Glibc
import RegionTesting
import Testing

@testable import RegionCore

/// Reading a log back: torn tails, damage, and what the first fsync of a new life owes the old one.
@Suite struct RecoveryTests {
  private let scratch: Scratch
  private let directory: String
  private static let header = LogFileHeader(
    group: Random128(high: 1, low: 1), epoch: 1, writer: WriterID(high: 1, low: 2),
    log: LogID(high: 1, low: 3), base: CommitID(number: 0, nonce: Nonce(high: 1, low: 4)), index: 0,
    firstSequence: 1, chain: LogCodec.initialChain(of: LogID(high: 1, low: 3)))

  init() throws {
    scratch = try Scratch()
    directory = try scratch.directory("log")
  }

  /// Appends `count` records, of names and of data in turn; returns where each begins, and the end.
  @discardableResult
  private func append(_ count: Int, to log: WriteLog) throws -> [Int] {
    var places: [Int] = []
    for number in 0..<count {
      places.append(Int(log.segments.last?.end ?? 0))
      if number % 2 == 0 {
        let payload = IOBuffer((0..<4096).map { UInt8(truncatingIfNeeded: $0 + number) })
        let record = DataRecord(
          file: 2, size: 4096, time: Timestamp(nanoseconds: 1),
          runs: [PageRun(0..<1, isZero: false)])
        try unsafe log.append(.data(record), payload: payload.bytes)
      } else {
        try unsafe log.append(.names([.remove(3)]), payload: IOBuffer(capacity: 0).bytes)
      }
    }
    places.append(Int(log.segments.last?.end ?? 0))
    return places
  }

  private var path: String { directory + "/" + WriteLog.name(Self.header.log, 0) }

  private func bytes() throws -> [UInt8] {
    try #require(try LocalDirectory.contents(of: path, limit: 1 << 26))
  }

  private func replace(_ bytes: [UInt8]) throws {
    let file = try LocalFile(path: path, flags: O_RDWR | O_TRUNC)
    try file.write(bytes, at: 0)
  }

  @Test func everyRecordComesBack() throws {
    let log = try WriteLog(directory: directory, header: Self.header)
    try append(7, to: log)
    let found = try #require(try WriteLog.recover(in: directory))
    #expect(found.log.entries.map(\.record) == log.entries.map(\.record))
    #expect(found.log.entries.map(\.sequence) == Array(1...7))
    #expect(found.log.chain == log.chain && found.tornBytes == 0)
    #expect(found.log.entries[2].payload?.offset == log.entries[2].payload?.offset)
    // And it goes on.
    try append(2, to: found.log)
    #expect(try #require(try WriteLog.recover(in: directory)).log.entries.count == 9)
  }

  @Test(arguments: [4, 5]) func aTornTailIsCutAtEveryByte(count: Int) throws {
    let log = try WriteLog(directory: directory, header: Self.header)
    let places = try append(count, to: log)
    let whole = try bytes()
    let last = places[count - 1]
    for end in last..<whole.count where end < last + 90 || end > whole.count - 30 || end % 41 == 0 {
      try replace(Array(whole[..<end]))
      let found = try #require(try WriteLog.recover(in: directory))
      #expect(found.log.entries.count == count - 1, "cut at \(end - last)")
      #expect(found.tornBytes == UInt64(end - last))
      #expect(try bytes().count == last)
    }
    // Zeros or rubbish where the last record should be are a torn tail, too.
    for fill in [UInt8(0), 0x52, 0xFF] {
      try replace(whole[..<last] + [UInt8](repeating: fill, count: whole.count - last))
      #expect(try #require(try WriteLog.recover(in: directory)).log.entries.count == count - 1)
    }
    try append(1, to: try #require(try WriteLog.recover(in: directory)).log)
    #expect(try #require(try WriteLog.recover(in: directory)).log.entries.count == count)
  }

  @Test func damageBeforeTheTailRefusesAndDiscardsNothing() throws {
    let log = try WriteLog(directory: directory, header: Self.header)
    let places = try append(5, to: log)
    let whole = try bytes()
    for at in 0..<places[4]
    where at < 160 || at % 37 == 0 || places.contains(where: { abs($0 - at) < 40 }) {
      var damaged = whole
      damaged[at] ^= 0x10
      try replace(damaged)
      #expect(throws: LogRecoveryError.self, "byte \(at)") { try WriteLog.recover(in: directory) }
      #expect(try bytes() == damaged)
    }
  }

  @Test func damageInAnEarlierFileRefuses() throws {
    let log = try WriteLog(directory: directory, header: Self.header)
    try append(3, to: log)
    try log.roll()
    try append(2, to: log)
    #expect(try #require(try WriteLog.recover(in: directory)).log.entries.count == 5)
    let whole = try bytes()
    try replace(Array(whole.dropLast(10)))
    #expect(throws: LogRecoveryError.self) { try WriteLog.recover(in: directory) }
    try replace(whole)
    // A file without a whole header was in the making and holds nothing.
    let next = try LocalFile(
      path: directory + "/" + WriteLog.name(Self.header.log, 2), flags: O_RDWR | O_CREAT)
    try next.write([1, 2, 3], at: 0)
    #expect(try #require(try WriteLog.recover(in: directory)).log.entries.count == 5)
  }

  @Test func recordsOfAFormerLifeAreSyncedByTheFirstFsync() throws {
    let log = try WriteLog(directory: directory, header: Self.header)
    try append(3, to: log)
    try log.roll()
    try append(1, to: log)
    let found = try #require(try WriteLog.recover(in: directory))
    #expect(found.log.takeUnsynced().map(\.path) == found.log.segments.map(\.file.path))
    #expect(found.log.takeUnsynced().isEmpty)
  }

  @Test func aDroppedFileCanStillBeReadByASealedPush() throws {
    let log = try WriteLog(directory: directory, header: Self.header)
    try append(3, to: log)
    let taken = log.takeEntries(limit: 1 << 30)
    let recipe = Recipe(
      entries: taken,
      before: [
        2: Inode(
          id: 2, parent: 1, name: FileName("f"), kind: .file, mode: 0, uid: 0, gid: 0,
          time: Timestamp(nanoseconds: 0))
      ])
    try log.roll()
    try append(1, to: log)
    try log.drop(through: 3)
    #expect(try LocalDirectory.names(in: directory).count == 1)
    let builder = SegmentBuilder(
      group: Self.header.group, geometry: .standard, epoch: 1, commit: 1, parent: .random())
    let plans = SegmentBuilder.plan(recipe, geometry: .standard)
    let segment = try builder.build(
      plans[0], as: ObjectID(epoch: 1, random: .random()), index: 0, count: 1)
    guard case .data(_, let extent, _) = segment.table.changes[0],
      case .unit(let unit, _) = extent.source
    else {
      Issue.record("no data")
      return
    }
    let stored = segment.body.array(Int(unit.offset)..<Int(unit.range.upperBound))
    #expect(stored == (0..<4096).map { UInt8(truncatingIfNeeded: $0 + 2) })
  }

  @Test func aRecordTakenBackIsGone() throws {
    let log = try WriteLog(directory: directory, header: Self.header)
    try append(3, to: log)
    let chain = log.chain
    try append(1, to: log)
    try log.takeBackLast()
    #expect(log.chain == chain && log.lastSequence == 3)
    try append(2, to: log)
    #expect(try #require(try WriteLog.recover(in: directory)).log.entries.count == 5)
  }

  @Test func takingEntriesRespectsTheLimitButNeverStopsAtNothing() throws {
    let log = try WriteLog(directory: directory, header: Self.header)
    try append(6, to: log)
    #expect(log.takeEntries(limit: 1).count == 1)
    #expect(log.takeEntries(limit: 5000).map(\.sequence) == [2, 3, 4])
    #expect(log.takeEntries(limit: 1 << 20).map(\.sequence) == [5, 6])
    #expect(log.takeEntries(limit: 1 << 20).isEmpty)
  }
}
