/// Nanoseconds on the monotonic clock, or a span of them.
typealias Nanoseconds = UInt64

/// A value given on the command line, in a rule or over the control channel that cannot be used.
struct UsageError: Error, CustomStringConvertible {
  let description: String
}

/// Numbers with the units that people write.
enum Units {
  /// "25ms", "1.5s", "200us", "80ns"; a bare number is milliseconds.
  static func duration(_ text: String) throws(UsageError) -> Nanoseconds {
    let units: [(String, Double)] = [("ns", 1), ("us", 1e3), ("ms", 1e6), ("s", 1e9)]
    for (suffix, scale) in units where text.hasSuffix(suffix) {
      return try scaled(String(text.dropLast(suffix.count)), by: scale, of: text)
    }
    return try scaled(text, by: 1e6, of: text)
  }

  /// Bits a second with decimal units ("100M", "1.5G"); "off" is no limit. Returns bytes a second.
  static func rate(_ text: String) throws(UsageError) -> UInt64? {
    if text == "off" { return nil }
    let units: [(String, Double)] = [("k", 1e3), ("K", 1e3), ("M", 1e6), ("G", 1e9)]
    var bits = Nanoseconds(0)
    if let (suffix, scale) = units.first(where: { text.hasSuffix($0.0) }) {
      bits = try scaled(String(text.dropLast(suffix.count)), by: scale, of: text)
    } else {
      bits = try scaled(text, by: 1, of: text)
    }
    guard bits >= 8 else { throw UsageError(description: "rate \(text) is below 8 bits a second") }
    return bits / 8
  }

  /// Bytes with binary units ("64K", "16M").
  static func size(_ text: String) throws(UsageError) -> Int {
    let units: [(String, Double)] = [("K", 1024), ("M", 1_048_576), ("G", 1_073_741_824)]
    for (suffix, scale) in units where text.hasSuffix(suffix) {
      return Int(try scaled(String(text.dropLast(suffix.count)), by: scale, of: text))
    }
    return Int(try scaled(text, by: 1, of: text))
  }

  private static func scaled(
    _ number: String, by scale: Double, of text: String
  ) throws(UsageError) -> UInt64 {
    guard let value = Double(number), value >= 0, value * scale < 9e18 else {
      throw UsageError(description: "\(text) is not a number with a known unit")
    }
    return UInt64(value * scale)
  }
}

/// The seeded generator behind every random choice, so that a run can be repeated (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
  }
}
