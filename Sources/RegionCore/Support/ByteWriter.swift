/// Appends little-endian values to bytes: the writing half of every format here.
struct ByteWriter {
  /// What was written so far.
  private(set) var bytes: [UInt8]

  /// An empty writer with room for `capacity` bytes.
  init(capacity: Int = 0) {
    bytes = []
    bytes.reserveCapacity(capacity)
  }

  /// A writer that reuses the memory of `scratch`, whose content it drops.
  init(reusing scratch: consuming [UInt8]) {
    bytes = scratch
    bytes.removeAll(keepingCapacity: true)
  }

  var count: Int { bytes.count }

  mutating func integer<Value: FixedWidthInteger>(_ value: Value) {
    var rest = value
    for _ in 0..<Value.bitWidth / 8 {
      bytes.append(UInt8(truncatingIfNeeded: rest))
      rest >>= 8
    }
  }

  mutating func u8(_ value: UInt8) { bytes.append(value) }
  mutating func u16(_ value: UInt16) { integer(value) }
  mutating func u32(_ value: UInt32) { integer(value) }
  mutating func u64(_ value: UInt64) { integer(value) }
  mutating func random128(_ value: Random128) {
    integer(value.low)
    integer(value.high)
  }
  mutating func commit(_ value: CommitID) {
    integer(value.number)
    random128(value.nonce)
  }
  mutating func object(_ value: ObjectID) {
    integer(value.epoch)
    random128(value.random)
  }
  mutating func time(_ value: Timestamp) { integer(value.nanoseconds) }
  mutating func raw(_ value: some Sequence<UInt8>) { bytes.append(contentsOf: value) }

  /// Writes `count` reserved bytes: zero, and refused by readers if they are not.
  mutating func reserved(_ count: Int) {
    for _ in 0..<count { bytes.append(0) }
  }

  /// Reserved bytes up to a fixed length; a longer content is a mistake of this program.
  mutating func pad(to length: Int) {
    precondition(bytes.count <= length, "fixed-length format overflows")
    reserved(length - bytes.count)
  }

  /// Writes over four bytes that were written before.
  mutating func patch(_ value: UInt32, at offset: Int) {
    for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
  }
}
