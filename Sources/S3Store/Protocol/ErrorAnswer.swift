import CurlKit
import RegionCore

/// An S3 (or STS) error document: what it says, as far as it can be read.
struct ErrorAnswer: Equatable {
  /// S3's error code, e.g. `NoSuchKey`; empty if the body is no such document.
  var code = ""
  /// S3's words.
  var message = ""
  /// The region that a bucket is in, where the store says that ours is wrong.
  var region: String?

  /// Reads a body of any kind: proxies answer in HTML, HEAD-like answers not at all.
  init(_ body: [UInt8]) {
    guard let root = try? XMLNode(parsing: body) else { return }
    let error = root.name == "Error" ? root : root["Error"]
    code = error?["Code"]?.text ?? ""
    message = error?["Message"]?.text ?? ""
    region = error?["Region"]?.text
  }

  /// Code and message on one line.
  var words: String {
    let text = [code, message].filter { !$0.isEmpty }.joined(separator: ": ")
    return text.split(whereSeparator: \.isNewline).joined(separator: " ")
  }
}

/// What an answer with a status of 300 or above means. Pure, so that each case has a test.
struct ErrorMeaning: Equatable {
  var kind: StoreError.Kind
  var detail: String
  var retryAfter: Duration?
  /// New credentials may help.
  var credentialsExpired = false

  /// Clocks that differ more than this make AWS refuse a signature.
  static let skewLimit = Duration.seconds(900)

  private static let expired: Set<String> = [
    "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired",
  ]
  private static let slow: Set<String> = [
    "SlowDown", "SlowDownRead", "SlowDownWrite", "Throttling", "ThrottlingException",
    "RequestLimitExceeded", "TooManyRequests", "RequestThrottled", "BandwidthLimitExceeded",
  ]
  private static let full: Set<String> = [
    "QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "XMinioAdminBucketQuotaExceeded",
    "InsufficientCapacity", "EntityTooLargeForQuota",
  ]
  private static let again: Set<String> = [
    "RequestTimeout", "InternalError", "ServiceUnavailable", "BadDigest", "IncompleteBody",
    "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch",
  ]

  /// Judges an answer to `operation` that was signed with credentials of `source`, at `now` of our
  /// clock. `isConditional` for a PUT with a condition.
  init(
    status: Int, headers: HTTPHeaders, body: [UInt8], operation: String, isConditional: Bool,
    source: String, now: Timestamp
  ) {
    let answer = ErrorAnswer(body)
    let words = answer.words.isEmpty ? "" : " \(answer.words)"
    kind = Self.kind(status, answer.code, operation: operation, isConditional: isConditional)
    detail = "HTTP \(status)\(words)"
    retryAfter = headers["retry-after"].flatMap { Self.retryAfter($0, now: now) }
    credentialsExpired = Self.expired.contains(answer.code)
    if kind == .accessDenied || kind == .clockSkew {
      judgeClock(headers["date"], now: now)
    }
    if kind == .accessDenied { detail += Self.accessHint(status, answer, operation, source) }
    if let region = headers["x-amz-bucket-region"] ?? answer.region, (300...400).contains(status),
      S3Configuration.isRegion(region)
    {
      detail += " (the bucket is in region \(region): use -o region=\(region))"
    }
  }

  /// Other causes hide behind a refused signature; a clock far from the store's is one.
  private mutating func judgeClock(_ date: String?, now: Timestamp) {
    let server = date.flatMap { CalendarTime.parse(httpDate: $0) }
    let isFar =
      server.map { abs($0.seconds - now.seconds) > Self.skewLimit.components.seconds } ?? false
    guard kind == .clockSkew || isFar else { return }
    kind = .clockSkew
    detail +=
      " (this machine's clock says \(CalendarTime(now).basic), the store's \(date ?? "is unknown")"
      + ": set the clock)"
  }

  private static func accessHint(
    _ status: Int, _ answer: ErrorAnswer, _ operation: String, _ source: String
  ) -> String {
    let absent =
      operation == "GET" && answer.code == "AccessDenied"
      ? "; S3 answers this for absent objects too where s3:ListBucket is not allowed" : ""
    return " (signed with \(source)\(absent))"
  }

  private static func kind(
    _ status: Int, _ code: String, operation: String, isConditional: Bool
  ) -> StoreError.Kind {
    if code == "RequestTimeTooSkewed" { return .clockSkew }
    if code == "NoSuchBucket" || code == "InvalidBucketName" { return .noSuchContainer }
    if expired.contains(code) { return .accessDenied }
    if slow.contains(code) { return .throttled }
    if full.contains(code) { return .outOfSpace }
    if code == "NotImplemented" { return .unsupported }
    if again.contains(code) { return .unavailable }
    return kind(status, operation: operation, isConditional: isConditional)
  }

  private static func kind(_ status: Int, operation: String, isConditional: Bool)
    -> StoreError.Kind
  {
    switch status {
    case 401, 403: .accessDenied
    // AWS answers If-Match on an absent object so.
    case 404 where isConditional: .preconditionFailed
    case 404 where operation == "LIST": .noSuchContainer
    case 404: .notFound
    case 408: .unavailable
    case 409: .conflict
    case 412: .preconditionFailed
    case 416 where operation == "GET": .damagedAnswer
    case 429: .throttled
    case 501: .unsupported
    case 507: .outOfSpace
    case 500...: .unavailable
    default: .badRequest
    }
  }

  /// Seconds or a date (RFC 9110, section 10.2.3).
  private static func retryAfter(_ text: String, now: Timestamp) -> Duration? {
    if let seconds = Int(text) { return seconds >= 0 ? .seconds(seconds) : nil }
    guard let time = CalendarTime.parse(httpDate: text) else { return nil }
    return .seconds(max(0, time.seconds - now.seconds))
  }
}
