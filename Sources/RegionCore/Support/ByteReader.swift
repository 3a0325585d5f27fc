/// Reads little-endian values from bytes that may be damaged or hostile: every step is checked
/// against what is left, and nothing is allocated from a length that was not.
struct ByteReader {
  private let bytes: ArraySlice<UInt8>
  private var position: Int
  /// What is being read, for errors.
  let what: String

  /// Reads `bytes` as `what`.
  init(_ bytes: ArraySlice<UInt8>, what: String) {
    self.bytes = bytes
    position = bytes.startIndex
    self.what = what
  }

  /// Bytes not read yet.
  var remaining: Int { bytes.endIndex - position }
  /// Bytes read so far.
  var consumed: Int { position - bytes.startIndex }

  /// An error about a value.
  func invalid(_ why: String) -> FormatError { FormatError(.invalid(why), what: what) }

  /// Throws `.invalid` unless `condition` holds.
  func require(_ condition: Bool, _ why: @autoclosure () -> String) throws(FormatError) {
    guard condition else { throw invalid(why()) }
  }

  mutating func integer<Value: FixedWidthInteger>(_ type: Value.Type) throws(FormatError) -> Value {
    let width = Value.bitWidth / 8
    guard remaining >= width else { throw FormatError(.truncated, what: what) }
    var value: Value = 0
    for index in 0..<width {
      value |= Value(truncatingIfNeeded: bytes[position + index]) << (8 * index)
    }
    position += width
    return value
  }

  mutating func u8() throws(FormatError) -> UInt8 { try integer(UInt8.self) }
  mutating func u16() throws(FormatError) -> UInt16 { try integer(UInt16.self) }
  mutating func u32() throws(FormatError) -> UInt32 { try integer(UInt32.self) }
  mutating func u64() throws(FormatError) -> UInt64 { try integer(UInt64.self) }
  mutating func random128() throws(FormatError) -> Random128 {
    let low = try u64()
    return Random128(high: try u64(), low: low)
  }
  mutating func commit() throws(FormatError) -> CommitID {
    CommitID(number: try u64(), nonce: try random128())
  }
  mutating func object() throws(FormatError) -> ObjectID {
    ObjectID(epoch: try u64(), random: try random128())
  }
  mutating func time() throws(FormatError) -> Timestamp {
    Timestamp(nanoseconds: try integer(Int64.self))
  }

  /// The next `count` bytes.
  mutating func raw(_ count: Int) throws(FormatError) -> [UInt8] {
    guard count >= 0, remaining >= count else { throw FormatError(.truncated, what: what) }
    defer { position += count }
    return [UInt8](bytes[position..<position + count])
  }

  /// Skips `count` reserved bytes, which must be zero: a later version may give them a meaning
  /// that must not be overlooked.
  mutating func reserved(_ count: Int) throws(FormatError) {
    guard remaining >= count else { throw FormatError(.truncated, what: what) }
    for index in position..<position + count where bytes[index] != 0 {
      throw invalid("reserved field is not zero")
    }
    position += count
  }

  /// A count of items that take at least `minimum` bytes each: refused beyond `limit`, and beyond
  /// what the remaining bytes can hold, so that it is safe to allocate for.
  func count(_ value: some BinaryInteger, limit: Int, minimum: Int, of items: String)
    throws(FormatError) -> Int
  {
    guard let count = Int(exactly: value), count <= limit else {
      throw invalid("too many \(items)")
    }
    guard count <= remaining / minimum else { throw FormatError(.truncated, what: what) }
    return count
  }

  /// Throws if anything is left.
  func finish() throws(FormatError) { try require(remaining == 0, "trailing bytes") }
}
