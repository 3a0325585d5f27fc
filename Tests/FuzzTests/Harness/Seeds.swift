import Foundation

/// What a campaign begins with: golden samples, examples, and what earlier campaigns found worth
/// keeping.
enum Seeds {
  private static let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

  /// Every valid input that is known for a target.
  static func all(for target: FuzzTarget) throws -> [[UInt8]] {
    try golden(target) + target.examples + corpus(target)
  }

  private static func golden(_ target: FuzzTarget) throws -> [[UInt8]] {
    guard let name = target.golden else { return [] }
    let file = tests.appendingPathComponent("RegionCoreTests/Golden/\(name).hex")
    return try String(contentsOf: file, encoding: .utf8).split(separator: "\n\n").map { sample in
      let digits = sample.utf8.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
      return stride(from: 0, to: digits.count - 1, by: 2).map {
        UInt8(digits[$0] << 4 | digits[$0 + 1])
      }
    }
  }

  /// `Corpus/<target>.base64`: an input a line. `scripts/fuzz` writes these files.
  static func corpus(_ target: FuzzTarget) throws -> [[UInt8]] {
    let file = tests.appendingPathComponent("FuzzTests/Corpus/\(target.name).base64")
    guard FileManager.default.fileExists(atPath: file.path) else { return [] }
    return try String(contentsOf: file, encoding: .utf8).split(separator: "\n").compactMap {
      Data(base64Encoded: String($0)).map(Array.init)
    }
  }
}
