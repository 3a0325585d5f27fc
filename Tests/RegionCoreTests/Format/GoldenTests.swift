import Foundation
import RegionCore
import Testing

/// The formats as they were first released, byte for byte. After a deliberate change of a format
/// (with a new version number), write them again with `REGIONFS_WRITE_GOLDEN=1 swift test`.
@Suite struct GoldenTests {
  static let directory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().appendingPathComponent("Golden")

  @Test(arguments: FormatUnderTest.all)
  func matchesTheGoldenFile(_ format: FormatUnderTest) throws {
    let file = Self.directory.appendingPathComponent("\(format.name).hex")
    let samples = try (42..<45 as Range<UInt64>).map(format.sample)
    let text = samples.map(Self.dump).joined(separator: "\n")
    if ProcessInfo.processInfo.environment["REGIONFS_WRITE_GOLDEN"] != nil {
      try text.write(to: file, atomically: true, encoding: .utf8)
    }
    let golden = try String(contentsOf: file, encoding: .utf8)
    #expect(text == golden, "\(format.name) is encoded differently than before")
    let parsed = try golden.split(separator: "\n\n").map { try Self.parse(String($0)) }
    #expect(try parsed.map(format.recode) == samples)
  }

  /// 32 bytes a line in hexadecimal.
  private static func dump(_ bytes: [UInt8]) -> String {
    stride(from: 0, to: bytes.count, by: 32).map { start in
      bytes[start..<min(start + 32, bytes.count)].map { byte in
        (byte < 16 ? "0" : "") + String(byte, radix: 16)
      }.joined() + "\n"
    }.joined()
  }

  private static func parse(_ text: String) throws -> [UInt8] {
    let digits = text.filter { !$0.isNewline }.map { $0 }
    return try stride(from: 0, to: digits.count, by: 2).map { index in
      try #require(UInt8(String(digits[index..<index + 2]), radix: 16))
    }
  }
}
