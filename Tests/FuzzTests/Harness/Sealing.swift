import RegionCore

/// Corrects checksums after a mutation.
enum Sealing {
  /// Of a frame: magic, version, length and CRC. The length is corrected too: else nearly every
  /// insertion ends there.
  static func frame(_ bytes: inout [UInt8]) {
    guard bytes.count >= 20 else { return }
    put(UInt32(bytes.count), at: 12, of: &bytes)
    checksum(0..<bytes.count, of: &bytes)
  }

  /// Of a frame that is followed by something else; its length stays what it says.
  static func header(length: Int, _ bytes: inout [UInt8]) {
    guard bytes.count >= length else { return }
    checksum(0..<length, of: &bytes)
  }

  private static func checksum(_ range: Range<Int>, of bytes: inout [UInt8]) {
    let start = range.lowerBound
    let crc = CRC32C.checksum(
      bytes[(start + 20)..<range.upperBound],
      continuing: CRC32C.checksum(bytes[start..<start + 16]))
    put(crc, at: start + 16, of: &bytes)
  }

  /// Of a log record at `start` that continues `chain`; the length stays unless `fixLength`.
  /// Returns its chain value and where the next begins.
  static func record(
    at start: Int = 0, continuing chain: UInt32, fixLength: Bool, _ bytes: inout [UInt8]
  ) -> (chain: UInt32, end: Int)? {
    guard bytes.count >= start + 20 else { return nil }
    if fixLength { put(UInt32(bytes.count - start - 20), at: start + 4, of: &bytes) }
    let end = start + 20 + Int(integer(at: start + 4, of: bytes))
    guard end <= bytes.count else { return nil }
    var head: [UInt8] = [0, 0, 0, 0]
    put(chain, at: 0, of: &head)
    let crc = CRC32C.checksum(
      bytes[(start + 20)..<end],
      continuing: CRC32C.checksum(
        bytes[start..<start + 16], continuing: CRC32C.checksum(head)))
    put(crc, at: start + 16, of: &bytes)
    return (crc, end)
  }

  static func put(_ value: UInt32, at offset: Int, of bytes: inout [UInt8]) {
    for index in 0..<4 { bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (8 * index)) }
  }

  static func integer(at offset: Int, of bytes: [UInt8]) -> UInt32 {
    (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << (8 * $1) }
  }
}
