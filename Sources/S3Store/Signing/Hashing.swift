import CCrypto

/// SHA-256 and HMAC-SHA-256 of OpenSSL's libcrypto (docs/DEPENDENCIES.md says why that one).
enum Hashing {
  /// Bytes of a digest.
  static let digestLength = 32

  /// SHA-256 (FIPS 180-4). `SHA256`.
  static func sha256(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    unsafe [UInt8](unsafeUninitializedCapacity: digestLength) { target, count in
      // SAFETY: reads `bytes`, writes the 32 bytes that `target` has room for. An empty buffer may
      // have no address, which libcrypto allows with length 0.
      _ = unsafe SHA256(
        bytes.baseAddress?.assumingMemoryBound(to: UInt8.self), bytes.count, target.baseAddress)
      count = digestLength
    }
  }

  /// SHA-256 of an array.
  static func sha256(_ bytes: [UInt8]) -> [UInt8] {
    unsafe bytes.withUnsafeBytes { unsafe sha256($0) }
  }

  /// HMAC-SHA-256 (RFC 2104). `HMAC`.
  static func hmac(key: [UInt8], _ message: [UInt8]) -> [UInt8] {
    unsafe [UInt8](unsafeUninitializedCapacity: digestLength) { target, count in
      var length: UInt32 = 0
      // SAFETY: reads both arrays, writes the 32 bytes that `target` has room for.
      _ = unsafe HMAC(
        EVP_sha256(), key, Int32(key.count), message, message.count, target.baseAddress, &length)
      count = Int(length)
    }
  }

  /// HMAC-SHA-256 of a text's UTF-8.
  static func hmac(key: [UInt8], _ message: String) -> [UInt8] {
    hmac(key: key, Array(message.utf8))
  }

  /// Lower-case hexadecimal.
  static func hex(_ bytes: [UInt8]) -> String {
    let digits = Array("0123456789abcdef".utf8)
    var text: [UInt8] = []
    text.reserveCapacity(bytes.count * 2)
    for byte in bytes {
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
    return String(decoding: text, as: UTF8.self)
  }
}

/// Base64 (RFC 4648, section 4) of the few bytes of a checksum.
enum Base64 {
  private static let alphabet = Array(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  /// The text of `bytes`, padded.
  static func encode(_ bytes: [UInt8]) -> String {
    var text: [UInt8] = []
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let group = bytes[start..<min(start + 3, bytes.count)]
      var bits: UInt32 = 0
      for byte in group { bits = bits << 8 | UInt32(byte) }
      bits <<= UInt32(8 * (3 - group.count))
      for position in 0..<4 {
        let index = Int(bits >> UInt32(18 - 6 * position) & 63)
        text.append(position <= group.count ? alphabet[index] : UInt8(ascii: "="))
      }
    }
    return String(decoding: text, as: UTF8.self)
  }

  /// The text of a CRC as S3's checksum headers carry it: big-endian.
  static func encode(_ crc: UInt32) -> String {
    encode([UInt8(crc >> 24), UInt8(crc >> 16 & 255), UInt8(crc >> 8 & 255), UInt8(crc & 255)])
  }
}
