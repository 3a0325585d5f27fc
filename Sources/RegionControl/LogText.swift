import FoundationEssentials

/// One event of a log, before it is text.
public struct LogEvent: Sendable {
  /// When, seconds since 1970-01-01 UTC.
  public var unixSeconds: Double
  /// The level's name as swift-log has it.
  public var level: String
  /// Which logger.
  public var label: String
  /// One line.
  public var message: String
  /// More, by key.
  public var fields: [String: String]

  /// An event; text of others becomes one printable line.
  public init(
    unixSeconds: Double, level: String, label: String, message: String,
    fields: [String: String] = [:]
  ) {
    self.unixSeconds = unixSeconds
    self.level = level
    self.label = label
    self.message = HumanText.printable(message)
    self.fields = fields.mapValues(HumanText.printable)
  }

  /// The message with its fields, without time and level.
  public var text: String {
    fields.sorted { $0.key < $1.key }.reduce(message) { $0 + " \($1.key)=\($1.value)" }
  }

  /// A line for people, without its newline.
  public var plain: String {
    "\(HumanText.timestamp(unixSeconds: unixSeconds)) \(level) \(label): \(text)"
  }

  /// A line for programs: one JSON object, without its newline.
  public var json: String {
    struct Object: Encodable {
      var time: String
      var level: String
      var label: String
      var message: String
      var fields: [String: String]?
    }
    let object = Object(
      time: HumanText.timestamp(unixSeconds: unixSeconds), level: level, label: label,
      message: message, fields: fields.isEmpty ? nil : fields)
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    // Strings only: nothing in it can fail to be encoded.
    guard let data = try? encoder.encode(object) else { return plain }
    return String(decoding: data, as: UTF8.self)
  }
}

/// Keeps lines that say the same again and again from filling a log. A value: the time is given.
///
/// Lines are the same if they differ in numbers only. Of each kind some get through in a minute; the
/// next one after that says how many did not.
public struct LogLimiter: Sendable {
  /// Lines of one kind that are written in `window`.
  public static let burst = 10
  /// Seconds.
  public static let window = 60.0
  /// Kinds that are remembered.
  static let kinds = 256

  private struct Kind {
    var since: Double
    var written: Int
    var left: Int
  }

  private var known: [String: Kind] = [:]
  /// Kinds that are remembered now.
  var count: Int { known.count }

  /// Nothing was written yet.
  public init() {}

  /// Whether a line is to be written.
  ///
  /// - Returns: how many lines like it were left out before; nil: leave this one out, too.
  public mutating func admit(_ message: String, now: Double) -> Int? {
    let key = Self.kind(of: message)
    guard var kind = known[key], now - kind.since < Self.window, now >= kind.since else {
      let left = known[key]?.left ?? 0
      forgetOldest()
      known[key] = Kind(since: now, written: 1, left: 0)
      return left
    }
    guard kind.written < Self.burst else {
      known[key]?.left += 1
      return nil
    }
    kind.written += 1
    known[key] = kind
    return 0
  }

  private mutating func forgetOldest() {
    guard known.count >= Self.kinds else { return }
    let oldest = known.min { ($0.value.since, $0.key) < ($1.value.since, $1.key) }
    if let oldest { known[oldest.key] = nil }
  }

  /// The message without what tells one event of its kind from the next: words with digits in them.
  static func kind(of message: String) -> String {
    message.split(separator: " ").map { word in
      word.contains(where: \.isNumber) ? "#" : String(word)
    }.joined(separator: " ")
  }
}
