import Glibc
import RegionTesting
import Testing

@testable import RegionCore

/// Values that checksums vouch for and no regionfs writes: what fuzzing found, and what it cannot.
@Suite struct HostileValueTests {
  /// The seconds of the earliest times, in nanoseconds, are none that fit.
  @Test func theEarliestTimeHasAFraction() {
    for nanoseconds in [Int64.min, .min + 1, -1, 0, 1, .max] {
      let time = Timestamp(nanoseconds: nanoseconds)
      #expect((0..<1_000_000_000).contains(time.fraction))
      #expect(time.seconds &* 1_000_000_000 &+ time.fraction == nanoseconds)
    }
  }

  @Test func durationsAreClampedToNanosecondsThatFit() {
    let last = Duration(
      secondsComponent: Int64(UInt64.max / 1_000_000_000),
      attosecondsComponent: 999_999_999_000_000_000)
    #expect(last.wholeNanoseconds == .max)
    #expect(Duration.seconds(-1).wholeNanoseconds == 0)
  }

  /// Two directories of a damaged store are inside each other: a rename must end.
  @Test func directoriesInsideEachOtherEndARename() throws {
    func directory(_ id: FileID, in parent: FileID) -> Inode {
      Inode(
        id: id, parent: parent, name: FileName("d\(id)"), kind: .directory, mode: 0o755, uid: 0,
        gid: 0, time: Timestamp(nanoseconds: 0))
    }
    let top = Inode(
      id: 1, parent: 0, name: nil, kind: .directory, mode: 0o755, uid: 0, gid: 0,
      time: Timestamp(nanoseconds: 0))
    let names = Namespace(
      inodes: [top, directory(2, in: 3), directory(3, in: 2), directory(4, in: 1)])
    #expect(names.path(of: 2) == nil)
    let name = try #require(FileName("d4"))
    let new = try #require(FileName("x"))
    #expect(throws: RegionError.invalid) {
      try names.rename(
        name, in: 1, to: new, in: 2, replacing: false, at: Timestamp(nanoseconds: 1))
    }
  }

  private func log(
    firstSequence: SequenceNumber, index: UInt32 = LogCodec.mostFiles, named: UInt32? = nil,
    _ more: [UInt8]
  ) throws -> (Scratch, String) {
    let scratch = try Scratch()
    let header = LogFileHeader(
      group: .zero, epoch: 1, writer: .zero, log: .zero,
      base: CommitID(number: 1, nonce: .zero), index: index, firstSequence: firstSequence,
      chain: 5)
    let path = scratch.file(WriteLog.name(header.log, named ?? index))
    try LocalFile(path: path, flags: O_RDWR | O_CREAT)
      .write(LogCodec.encodeFileHeader(header) + more, at: 0)
    return (scratch, path)
  }

  private func record(_ sequence: SequenceNumber, previousChain: UInt32) throws -> [UInt8] {
    try FormatUnderTest.encodeRecord(
      .names([.remove(2)]), payload: [], sequence: sequence, previousChain: previousChain)
  }

  /// No number follows the last one.
  @Test func theLastSequenceNumberIsNeverUsed() throws {
    #expect(throws: FormatError.self) { try record(.max, previousChain: 5) }
    for first: SequenceNumber in [UInt64.max, UInt64.max - 1] {
      let (scratch, _) = try log(firstSequence: first, [])
      let found = try #require(try WriteLog.recover(in: scratch.path))
      #expect(found.log.nextSequence == first)
    }
    // Whole records of it, behind a torn one that looks like the log's last.
    var bytes = try record(.max - 1, previousChain: 5)
    bytes[8] = 0xFF
    let (scratch, path) = try log(firstSequence: .max - 1, bytes)
    let found = try #require(try WriteLog.recover(in: scratch.path))
    #expect(found.tornBytes == UInt64(bytes.count))
    #expect(try LocalFile(path: path, flags: O_RDONLY).size() == 128)
  }

  /// The file to go on in would have been one that exists.
  @Test func aLogFileHasItsOwnNameAndANextOne() throws {
    for (index, name) in [(UInt32.max, UInt32.max), (7, 8), (8, 7)] as [(UInt32, UInt32)] {
      let bytes = try record(1, previousChain: 5)
      let (scratch, path) = try log(firstSequence: 1, index: index, named: name, bytes)
      #expect { try WriteLog.recover(in: scratch.path) } throws: { error in
        guard case .damaged(path, _) = error as? LogRecoveryError else { return false }
        return true
      }
      #expect(try LocalFile(path: path, flags: O_RDONLY).size() == UInt64(128 + bytes.count))
    }
  }

  /// A torn record whose content imitates heads of records, each as long as may be: telling them
  /// from real ones would take minutes. Recovery gives up soon, and then keeps everything.
  @Test func recoveryIsNotHeldUpByContentThatLooksLikeRecords() throws {
    let imitation = LogImitation.head(sequence: 2, bodyLength: 0)
    let long = LogImitation.head(sequence: 2, bodyLength: 2 << 20)
    // Each pair: a head without body, and one with a long body behind it that has to be read.
    let pairs = [[UInt8]](repeating: imitation + long, count: 60_000).flatMap { $0 }
    let rest = [UInt8](repeating: 0, count: 2 << 20 + 7)
    let (scratch, path) = try log(firstSequence: 1, pairs + rest)
    let size = try LocalFile(path: path, flags: O_RDONLY).size()
    #expect(throws: LogRecoveryError.self) { try WriteLog.recover(in: scratch.path) }
    #expect(try LocalFile(path: path, flags: O_RDONLY).size() == size)
  }
}

/// What looks like the head of a record.
private enum LogImitation {
  static func head(sequence: UInt8, bodyLength: UInt32) -> [UInt8] {
    let length = (0..<4).map { UInt8(truncatingIfNeeded: bodyLength >> (8 * $0)) }
    return [0x52, 0x4C, 1, 0] + length + [sequence, 0, 0, 0, 0, 0, 0, 0] + [9, 9, 9, 9]
  }
}
