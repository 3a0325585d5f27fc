import RegionTesting
import Testing

@testable import RegionCore

/// What the log alone makes of a disk that lost its power: small histories with every outcome that the
/// disk may choose, and damage that is none.
@Suite struct LogPowerLossTests {
  private static let log = LogID(high: 1, low: 3)
  private static let directory = "/cache/log"

  private static var header: LogFileHeader {
    var header = LogFileHeader(
      group: Random128(high: 1, low: 1), epoch: 1, writer: WriterID(high: 1, low: 2), log: log,
      base: CommitID(number: 0, nonce: Nonce(high: 1, low: 4)), index: 0, firstSequence: 1,
      chain: LogCodec.initialChain(of: log))
    header.boot = 1
    return header
  }

  /// A record of a bit more than a sector, so that it can be torn.
  private static func record(_ number: Int) -> LogRecord {
    .names([
      .set(
        Inode(
          id: 5, parent: 1, name: FileName("a"), kind: .symlink, mode: 0o700, uid: 0, gid: 0,
          time: Timestamp(nanoseconds: 0),
          target: [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: 450)))
    ])
  }

  private enum Step { case append, sync, roll }

  /// A log on a disk, and what of it is durable.
  private final class History: @unchecked Sendable {
    // Sound because one thread uses it.
    let disk = SimulatedDisk()
    var log: WriteLog
    var appended = 0
    var synced = 0
    /// The disk before each change, with what was durable then.
    var moments: [(disk: SimulatedDisk, synced: Int)] = []

    init() throws {
      try disk.createDirectory(LogPowerLossTests.directory)
      log = try WriteLog(
        directory: LogPowerLossTests.directory, header: LogPowerLossTests.header, on: disk)
      disk.onChange { [self] _ in moments.append((disk.copy(), synced)) }
    }

    func run(_ steps: [Step]) throws {
      for step in steps {
        switch step {
        case .append: try append()
        case .sync: try sync()
        case .roll: try log.roll()
        }
      }
      moments.append((disk.copy(), synced))
      disk.onChange(nil)
    }

    func append() throws {
      appended += 1
      try unsafe log.append(
        LogPowerLossTests.record(appended), payload: IOBuffer(capacity: 0).bytes)
    }

    func sync() throws {
      for file in log.takeUnsynced() { try file.syncData() }
      synced = appended
      log.synced = log.lastSequence
    }
  }

  /// Goes through all outcomes of a number of choices.
  private struct Outcomes {
    private var choices: [(taken: Int, most: Int)] = []
    private var position = 0

    mutating func choose(_ most: Int) -> Int {
      if position == choices.count { choices.append((0, most)) }
      defer { position += 1 }
      return choices[position].taken
    }

    /// Goes on to the next outcome; false after the last one.
    mutating func next() -> Bool {
      position = 0
      while let last = choices.last, last.taken == last.most { choices.removeLast() }
      guard !choices.isEmpty else { return false }
      choices[choices.count - 1].taken += 1
      return true
    }
  }

  private static func recover(_ disk: SimulatedDisk, boot: UInt64) throws -> WriteLog? {
    try WriteLog.recover(in: directory, on: disk, boot: boot)?.log
  }

  /// What was recovered is a prefix with everything that was durable, and goes on.
  private static func check(_ disk: SimulatedDisk, synced: Int) throws {
    guard let log = try recover(disk, boot: 2) else {
      #expect(synced == 0)
      return
    }
    let count = log.entries.count
    #expect(count >= synced)
    #expect(log.entries.map(\.record) == (1...max(1, count)).prefix(count).map(record))
    try unsafe log.append(record(count + 1), payload: IOBuffer(capacity: 0).bytes)
    for file in log.takeUnsynced() { try file.syncData() }
    let again = try recover(disk.afterPowerLoss { _, _ in 0 }, boot: 3)
    #expect(again?.entries.map(\.record) == (1...count + 1).map(record))
  }

  @Test func everyOutcomeOfSmallHistoriesIsAPrefixWithWhatWasSynced() throws {
    let histories: [[Step]] = [
      [.append, .append, .append], [.append, .sync, .append, .append],
      [.append, .roll, .append, .sync, .append], [.append, .append, .roll, .append],
      [.sync, .append, .roll, .roll, .append, .sync],
    ]
    var outcomes = 0
    for steps in histories {
      let history = try History()
      try history.run(steps)
      for moment in history.moments {
        var choices = Outcomes()
        repeat {
          outcomes += 1
          try Self.check(
            moment.disk.afterPowerLoss { _, most in choices.choose(most) }, synced: moment.synced)
        } while choices.next()
      }
    }
    print("\(outcomes) outcomes of a power loss")
    #expect(outcomes > 500)
  }

  @Test func damageOfWhatWasSyncedIsAnErrorAlsoAfterAPowerLoss() throws {
    let history = try History()
    try history.run([.append, .append, .append, .sync, .append, .append])
    let end = try #require(history.log.segments.first).end
    let first = UInt64(LogCodec.fileHeaderLength)
    let length = (end - first) / 5
    for at in stride(from: first, to: end, by: 37) {
      let disk = history.disk.afterPowerLoss { _, most in most }
      let file = try disk.open(
        Self.directory + "/" + WriteLog.name(Self.log, 0), flags: 2 /* O_RDWR */)
      let byte = IOBuffer(capacity: 1)
      byte.count = try unsafe file.read(into: byte.memory, at: at)
      try file.write([byte.array[0] ^ 0x20], at: at)
      if at < first + 3 * length {
        #expect(throws: LogRecoveryError.self, "byte \(at)") { try Self.recover(disk, boot: 2) }
        #expect(try file.size() == end)
      } else {
        let count = Int((at - first) / length)
        #expect(try Self.recover(disk, boot: 2)?.entries.count == count)
      }
      // Within one boot nothing whole may be behind it.
      guard at < first + 4 * length else { continue }
      let same = history.disk.afterPowerLoss { _, most in most }
      let other = try same.open(file.path, flags: 2)
      try other.write([byte.array[0] ^ 0x20], at: at)
      #expect(throws: LogRecoveryError.self) { try Self.recover(same, boot: 1) }
    }
  }

  /// Found by the simulated disk: of files that a commit had made superfluous an older one was there
  /// again, without its successor.
  @Test func aCommittedFileThatIsThereAgainIsPassedOver() throws {
    let history = try History()
    try history.run([.append, .roll, .append, .roll, .append, .sync])
    try history.disk.removeFile(Self.directory + "/" + WriteLog.name(Self.log, 1))
    let log = try #require(
      try WriteLog.recover(
        in: Self.directory, on: history.disk, boot: 1, committed: (Self.log, 2)))
    #expect(log.log.entries.map(\.sequence) == [3])
    #expect(try history.disk.names(in: Self.directory) == [WriteLog.name(Self.log, 2)])
  }

  @Test func marksNeverClaimMoreThanWasSynced() {
    for sequence in 1...300 as ClosedRange<UInt64> {
      for synced in 0...sequence {
        let mark = SyncMark.encode(synced, before: sequence)
        let known = SyncMark.decode(mark, before: sequence)
        #expect(known.map { $0 <= synced } == true)
        if sequence - synced <= 2, synced < sequence { #expect(known == synced) }
      }
    }
    #expect(SyncMark.decode(64, before: .max) == nil && SyncMark.decode(4, before: 8) == nil)
    #expect(SyncMark.decode(SyncMark.encode(1, before: .max), before: .max) == 0)
  }
}
