/// What a record says about those before it, in one byte: up to which of them a sync had made
/// everything durable when it was appended.
///
/// 0: nothing is known. Else the distance to the record is at most 2^(mark - 1): rounded up, so that a
/// mark never claims more than was synced. After a power loss the marks tell what has to be there
/// (damage there is an error) from what need not be (a torn tail, whose records the disk may have
/// written in any order).
enum SyncMark {
  /// The mark of record `sequence` when records up to `synced` are durable.
  static func encode(_ synced: SequenceNumber, before sequence: SequenceNumber) -> UInt8 {
    guard synced >= 1, synced < sequence else { return 0 }
    let distance = sequence - synced
    let mark = UInt8(64 - (distance - 1).leadingZeroBitCount + 1)
    // Rounding must not lead before the first record.
    return mark <= 63 && UInt64(1) << UInt64(mark - 1) < sequence ? mark : 0
  }

  /// The last record that the mark of record `sequence` says is durable; 0 if none is known; nil if
  /// it is no mark of this record.
  static func decode(_ mark: UInt8, before sequence: SequenceNumber) -> SequenceNumber? {
    if mark == 0 { return 0 }
    guard mark <= 63 else { return nil }
    let distance = UInt64(1) << UInt64(mark - 1)
    return distance < sequence ? sequence - distance : nil
  }
}
