import CChecksum

/// CRC-32C (Castagnoli), the checksum of every format here. Source: RFC 3720, appendix B.4.
public enum CRC32C {
  /// The CRC of `bytes`, continuing from `previous` (the CRC of what came before). ISA-L `crc32_iscsi`.
  public static func checksum(_ bytes: UnsafeRawBufferPointer, continuing previous: UInt32 = 0)
    -> UInt32
  {
    guard let start = bytes.baseAddress, bytes.count > 0 else { return previous }
    var crc = ~previous
    var offset = 0
    while offset < bytes.count {
      // `crc32_iscsi` takes an `int` length, so long input goes in pieces.
      let piece = min(bytes.count - offset, 1 << 30)
      // SAFETY: reads `piece` bytes inside `bytes`; the parameter is not const but is only read.
      crc = unsafe crc32_iscsi(
        UnsafeMutablePointer(mutating: (start + offset).assumingMemoryBound(to: UInt8.self)),
        Int32(piece), crc)
      offset += piece
    }
    return ~crc
  }

  /// The CRC of `bytes`, continuing from `previous`.
  public static func checksum(_ bytes: ArraySlice<UInt8>, continuing previous: UInt32 = 0) -> UInt32
  {
    unsafe bytes.withUnsafeBytes { unsafe checksum($0, continuing: previous) }
  }

  /// The CRC of `bytes`, continuing from `previous`.
  public static func checksum(_ bytes: [UInt8], continuing previous: UInt32 = 0) -> UInt32 {
    checksum(bytes[...], continuing: previous)
  }
}
