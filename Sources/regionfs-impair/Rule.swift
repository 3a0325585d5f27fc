/// What happens to an exchange (one request and its response) that a rule picked.
enum Action {
  /// The proxy answers by itself; the request never reaches the server.
  case status(code: Int, retryAfter: Int?)
  /// The connection is reset when the request head has arrived; the server sees nothing of it.
  case resetRequest
  /// The connection is reset after `after` bytes of the request body (default: half of it).
  case resetRequestBody(after: Int?)
  /// The request is carried out, then the connection is reset instead of any byte of the answer.
  case resetResponse
  /// The connection is reset after `after` bytes of the response body (default: half of it).
  case resetResponseBody(after: Int?)
  /// The request is swallowed and nothing ever comes back; the connection stays open.
  case blackhole
  /// The response body ends early with an orderly close.
  case truncate(after: Int?)
  /// The response body ends early and Content-Length says so: a well-formed wrong answer.
  case shorten(after: Int?)
  /// One bit of the response body is inverted.
  case flip(at: Int?)
  /// One bit of the request body is inverted.
  case flipRequest(at: Int?)
  /// The response body stops after `after` bytes, for `duration` or for ever.
  case stall(after: Int?, duration: Nanoseconds?)
  /// The response starts `duration` later.
  case delay(duration: Nanoseconds)
}

/// One line of the fault plan: which requests, how often, and what befalls them.
///
/// Written as `match=PUT .*root,action=reset-request,skip=1,count=2,probability=0.5`. `match` is a
/// regular expression searched in "METHOD target"; without it every request matches.
struct Rule {
  /// As it was written.
  let text: String
  let action: Action
  /// Requests that matched, also those skipped or spared by chance.
  var matched = 0
  /// Requests that the action was chosen for.
  private(set) var taken = 0
  /// Times that the action really took place (a bit flip needs a body to flip a bit of).
  var fired = 0

  private let pattern: Regex<AnyRegexOutput>?
  private let skip: Int
  private let count: Int
  private let probability: Double

  init(_ text: String) throws(UsageError) {
    let fields = try Rule.fields(of: text)
    self.text = text
    action = try Rule.action(fields)
    skip = try Rule.integer(fields, "skip") ?? 0
    count = try Rule.integer(fields, "count") ?? Int.max
    probability = try Rule.probability(fields)
    do {
      pattern = try fields["match"].map { try Regex($0) }
    } catch {
      throw UsageError(description: "rule \(text): match is not a regular expression: \(error)")
    }
  }

  /// Says whether the action befalls this request, and counts it.
  mutating func picks(_ request: String, using generator: inout SeededGenerator) -> Bool {
    if let pattern, request.firstMatch(of: pattern) == nil { return false }
    matched += 1
    guard matched > skip, taken < count else { return false }
    if probability < 1, Double.random(in: 0..<1, using: &generator) >= probability { return false }
    taken += 1
    return true
  }

  private static let keys: Set<String> = [
    "match", "action", "skip", "count", "probability", "status", "retry-after", "after", "at",
    "for",
  ]

  /// Splits at commas that a known key follows, so that patterns may contain commas.
  private static func fields(of text: String) throws(UsageError) -> [String: String] {
    var fields: [String: String] = [:]
    var current: String?
    for piece in text.split(separator: ",", omittingEmptySubsequences: false) {
      let parts = piece.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      if parts.count == 2, keys.contains(String(parts[0])) {
        current = String(parts[0])
        fields[String(parts[0])] = String(parts[1])
      } else if let key = current, key == "match" {
        fields[key, default: ""] += "," + piece
      } else {
        throw UsageError(description: "rule \(text): do not know \"\(piece)\"")
      }
    }
    return fields
  }

  private static func integer(
    _ fields: [String: String], _ key: String
  ) throws(UsageError) -> Int? {
    guard let text = fields[key] else { return nil }
    guard let value = Int(text), value >= 0 else {
      throw UsageError(description: "\(key)=\(text) is not a whole number")
    }
    return value
  }

  private static func probability(_ fields: [String: String]) throws(UsageError) -> Double {
    guard let text = fields["probability"] else { return 1 }
    guard let value = Double(text), (0...1).contains(value) else {
      throw UsageError(description: "probability=\(text) is not between 0 and 1")
    }
    return value
  }

  private static func action(_ fields: [String: String]) throws(UsageError) -> Action {
    let after = try fields["after"].map { (text) throws(UsageError) in try Units.size(text) }
    let at = try fields["at"].map { (text) throws(UsageError) in try Units.size(text) }
    let span = try fields["for"].map { (text) throws(UsageError) in try Units.duration(text) }
    switch fields["action"] ?? "" {
    case "status":
      let code = try integer(fields, "status") ?? 503
      return .status(code: code, retryAfter: try integer(fields, "retry-after"))
    case "reset-request": return .resetRequest
    case "reset-request-body": return .resetRequestBody(after: after)
    case "reset-response": return .resetResponse
    case "reset-response-body": return .resetResponseBody(after: after)
    case "blackhole": return .blackhole
    case "truncate": return .truncate(after: after)
    case "shorten": return .shorten(after: after)
    case "flip": return .flip(at: at)
    case "flip-request": return .flipRequest(at: at)
    case "stall": return .stall(after: after, duration: span)
    case "delay":
      guard let span else { throw UsageError(description: "action=delay needs for=DURATION") }
      return .delay(duration: span)
    case let other:
      throw UsageError(
        description: "action=\(other) is not known; there are status, reset-request, "
          + "reset-request-body, reset-response, reset-response-body, blackhole, truncate, "
          + "shorten, flip, flip-request, stall and delay")
    }
  }
}
