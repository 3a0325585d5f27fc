import FoundationEssentials
import Glibc

/// How both tools write quantities for people.
public enum HumanText {
  /// What stands where there is nothing.
  public static let none = "–"

  /// `1536` → `1.5 KiB`: IEC units, three digits at most.
  public static func bytes(_ count: UInt64) -> String {
    guard count >= 1024 else { return "\(count) B" }
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var value = Double(count) / 1024
    var unit = 0
    // 1023.95 would be written as 1024.0.
    while value >= 1023.95, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    return "\(fixed(value, digits: value < 99.95 ? 1 : 0)) \(units[unit])"
  }

  /// `1536.0` → `1.5 KiB/s`; anything that is no speed → none.
  public static func rate(bytesPerSecond: Double?) -> String {
    guard let bytesPerSecond, bytesPerSecond >= 1, bytesPerSecond < 1e18 else { return none }
    return bytes(UInt64(bytesPerSecond)) + "/s"
  }

  /// `75.3` → `1m15s`; two units at most; nil → none.
  public static func seconds(_ value: Double?) -> String {
    guard let value, value >= 0, value < 1e12 else { return none }
    if value < 1 { return "\(Int((value * 1000).rounded()))ms" }
    if value < 9.95 { return "\(fixed(value, digits: 1))s" }
    let whole = Int(value.rounded())
    switch whole {
    case ..<60: return "\(whole)s"
    case ..<3600: return "\(whole / 60)m\(twoDigits(whole % 60))s"
    case ..<86_400: return "\(whole / 3600)h\(twoDigits(whole / 60 % 60))m"
    default: return "\(whole / 86_400)d\(twoDigits(whole / 3600 % 24))h"
    }
  }

  /// Text of others for a terminal: control characters, which could move the cursor or hide text,
  /// become visible escapes.
  public static func printable(_ text: String) -> String {
    var result = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator:
        result.append(contentsOf: "\\u{\(String(scalar.value, radix: 16))}".unicodeScalars)
      default: result.append(scalar)
      }
    }
    return String(result)
  }

  /// Seconds since 1970-01-01 UTC by the host's clock.
  public static var nowUnixSeconds: Double {
    var time = timespec()
    // SAFETY: `time` is a local that outlives the call.
    _ = unsafe clock_gettime(CLOCK_REALTIME, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }

  /// `2026-01-31T12:00:00.123Z` (RFC 3339, UTC).
  public static func timestamp(unixSeconds: Double) -> String {
    Date(timeIntervalSince1970: unixSeconds)
      .formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
  }

  /// A number with `digits` (0 or 1) decimals.
  static func fixed(_ value: Double, digits: Int) -> String {
    guard digits > 0 else { return "\(Int(value.rounded()))" }
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
  }

  private static func twoDigits(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }
}
