/// Sizes and durations as people write them in options.
public enum Quantities {
  /// Parses `FIRST:END`, two sizes of which each may be left out.
  ///
  /// - Returns: nil if the text is not that; what was left out is nil.
  public static func bounds(_ text: some StringProtocol) -> (first: UInt64?, end: UInt64?)? {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    let numbers = parts.map { bytes($0) }
    guard parts.count == 2, zip(parts, numbers).allSatisfy({ $0.isEmpty || $1 != nil }) else {
      return nil
    }
    return (numbers[0], numbers[1])
  }

  /// Parses a size in bytes: `65536`, `64k`, `256KiB`, `1M`, `2gb`. All suffixes are powers of 1024.
  ///
  /// - Returns: nil if the text is not a size or does not fit 63 bits.
  public static func bytes(_ text: some StringProtocol) -> UInt64? {
    let (digits, suffix) = split(text)
    guard let number = UInt64(digits) else { return nil }
    let shift: UInt64
    switch suffix.lowercased() {
    case "", "b": shift = 0
    case "k", "kb", "kib": shift = 10
    case "m", "mb", "mib": shift = 20
    case "g", "gb", "gib": shift = 30
    case "t", "tb", "tib": shift = 40
    default: return nil
    }
    let (bytes, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
    return overflow || bytes > UInt64(Int64.max) ? nil : bytes
  }

  /// Parses a duration: `5` (seconds), `5s`, `500ms`, `1m`, `1h`.
  ///
  /// - Returns: nil if the text is not a duration or is longer than 100 years.
  public static func duration(_ text: some StringProtocol) -> Duration? {
    let (digits, suffix) = split(text)
    guard let number = Int64(digits), number <= 3_155_760_000_000 else { return nil }
    let milliseconds: Int64
    switch suffix.lowercased() {
    case "", "s": milliseconds = 1000
    case "ms": milliseconds = 1
    case "m", "min": milliseconds = 60_000
    case "h": milliseconds = 3_600_000
    default: return nil
    }
    let (total, overflow) = number.multipliedReportingOverflow(by: milliseconds)
    return overflow || total > 3_155_760_000_000 ? nil : .milliseconds(total)
  }

  /// `262144` → `256k`: the short form that `bytes(_:)` reads back.
  public static func shortText(bytes: UInt64) -> String {
    for (shift, suffix) in [(40, "t"), (30, "g"), (20, "m"), (10, "k")] as [(UInt64, String)] {
      if bytes >= 1 << shift, bytes & ((1 << shift) - 1) == 0 {
        return "\(bytes >> shift)\(suffix)"
      }
    }
    return "\(bytes)"
  }

  private static func split<Text: StringProtocol>(
    _ text: Text
  ) -> (Text.SubSequence, Text.SubSequence) {
    let end = text.firstIndex { !($0.isASCII && $0.isNumber) } ?? text.endIndex
    return (text[..<end], text[end...])
  }
}

/// How many insertions, deletions, substitutions and swaps of neighbours turn `a` into `b`
/// (optimal string alignment distance).
func editDistance(_ a: [UInt8], _ b: [UInt8]) -> Int {
  var beforeLast = [Int](repeating: 0, count: b.count + 1)
  var last = Array(0...b.count)
  var row = beforeLast
  for i in a.indices {
    row[0] = i + 1
    for j in b.indices {
      let same = a[i] == b[j] ? 0 : 1
      row[j + 1] = min(last[j] + same, min(last[j + 1], row[j]) + 1)
      if i > 0, j > 0, a[i] == b[j - 1], a[i - 1] == b[j] {
        row[j + 1] = min(row[j + 1], beforeLast[j - 1] + 1)
      }
    }
    swap(&beforeLast, &last)
    swap(&last, &row)
  }
  return last[b.count]
}
