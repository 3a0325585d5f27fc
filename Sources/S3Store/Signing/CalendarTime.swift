import RegionCore

/// A moment in UTC as calendar fields. The conversion is Howard Hinnant's `civil_from_days` and
/// `days_from_civil` (http://howardhinnant.github.io/date_algorithms.html).
struct CalendarTime: Hashable {
  var year: Int
  var month: Int
  var day: Int
  var hour: Int
  var minute: Int
  var second: Int

  /// The fields of a time.
  init(_ time: Timestamp) {
    let seconds = Int(time.seconds)
    let days = (seconds - Self.positive(seconds, 86400)) / 86400
    let rest = Self.positive(seconds, 86400)
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra =
      (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
    month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60)
  }

  private static func positive(_ value: Int, _ modulus: Int) -> Int {
    let rest = value % modulus
    return rest < 0 ? rest + modulus : rest
  }

  private init?(_ fields: [Int]) {
    guard fields.count == 6, (1970...9999).contains(fields[0]), (1...12).contains(fields[1]),
      (1...31).contains(fields[2]), (0...23).contains(fields[3]), (0...59).contains(fields[4]),
      (0...60).contains(fields[5])
    else { return nil }
    (year, month, day) = (fields[0], fields[1], fields[2])
    (hour, minute, second) = (fields[3], fields[4], fields[5])
  }

  /// The time of these fields; the end of `Timestamp` (in 2262) for later ones.
  var timestamp: Timestamp {
    let shiftedYear = month <= 2 ? year - 1 : year
    let era = (shiftedYear >= 0 ? shiftedYear : shiftedYear - 399) / 400
    let yearOfEra = shiftedYear - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
    let days = era * 146_097 + dayOfEra - 719_468
    let seconds = days * 86400 + hour * 3600 + minute * 60 + second
    let (nanoseconds, overflow) = Int64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    return Timestamp(nanoseconds: overflow ? .max : nanoseconds)
  }

  /// `20130524T000000Z`, as signatures write it (ISO 8601 basic).
  var basic: String { "\(date)T\(Self.digits(hour))\(Self.digits(minute))\(Self.digits(second))Z" }

  /// `20130524`.
  var date: String { Self.digits(year, 4) + Self.digits(month) + Self.digits(day) }

  private static func digits(_ value: Int, _ count: Int = 2) -> String {
    let text = String(value)
    return String(repeating: "0", count: max(0, count - text.count)) + text
  }

  /// A time such as `2013-05-24T00:00:00Z` or `2013-05-24T00:00:00.123+00:00` (RFC 3339, UTC only),
  /// as credentials write their end; nil if it is not one.
  static func parse(rfc3339 text: String) -> Timestamp? {
    guard text.hasSuffix("Z") || text.hasSuffix("+00:00") else { return nil }
    let parts = text.split { "-T:.Z+ ".contains($0) }
    return Self(parts.prefix(6).compactMap { Int($0) })?.timestamp
  }

  /// A time such as `Fri, 24 May 2013 00:00:00 GMT` (RFC 9110, IMF-fixdate); nil if it is not one.
  static func parse(httpDate text: String) -> Timestamp? {
    let months = [
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    let parts = text.split { " :".contains($0) }
    guard parts.count == 8, parts[7] == "GMT",
      let month = months.firstIndex(of: String(parts[2]))
    else { return nil }
    let fields = [
      Int(parts[3]), month + 1, Int(parts[1]), Int(parts[4]), Int(parts[5]), Int(parts[6]),
    ]
    return Self(fields.compactMap { $0 })?.timestamp
  }
}
