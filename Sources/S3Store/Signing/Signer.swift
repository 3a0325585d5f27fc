import CurlKit
import RegionCore

/// AWS Signature Version 4. Pure: the same request, credentials and time give the same signature.
/// Source: AWS, "Signature Version 4 signing process", with S3's exceptions (the path is encoded
/// once and not normalised; `x-amz-content-sha256` is always there). Checked against golden vectors
/// of another implementation (Tests/S3StoreTests/golden).
struct Signer: Sendable {
  /// What is signed. The wire must carry exactly `encodedPath` and `encodedQuery`.
  struct Request: Sendable {
    var method: String
    /// As the `Host` header has it.
    var host: String
    /// Percent-encoded, beginning with `/`.
    var encodedPath: String
    /// Names and values, not encoded.
    var query: [(name: String, value: String)] = []
    var headers: [HTTPHeader] = []
    /// Hex SHA-256 of the body, or `unsignedPayload`.
    var payloadHash: String
  }

  /// Stands for the body's hash where TLS protects the body.
  static let unsignedPayload = "UNSIGNED-PAYLOAD"
  /// The hash of no bytes.
  static let emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  private static let algorithm = "AWS4-HMAC-SHA256"

  var credentials: Credentials
  var region: String
  var service = "s3"

  /// All headers to send: those of the request, those that signing adds, and `Authorization`.
  func sign(_ request: Request, at time: Timestamp) -> [HTTPHeader] {
    let moment = CalendarTime(time)
    var headers = request.headers
    headers.append(HTTPHeader("Host", request.host))
    headers.append(HTTPHeader("x-amz-content-sha256", request.payloadHash))
    headers.append(HTTPHeader("x-amz-date", moment.basic))
    if let token = credentials.sessionToken {
      headers.append(HTTPHeader("x-amz-security-token", token))
    }
    let canonical = CanonicalHeaders(headers)
    let signature = signature(
      request.method, path: request.encodedPath,
      query: Self.encodedQuery(request.query), headers: canonical,
      payloadHash: request.payloadHash, moment: moment)
    let value =
      "\(Self.algorithm) Credential=\(credentials.accessKey)/\(scope(moment)), "
      + "SignedHeaders=\(canonical.names), Signature=\(signature)"
    headers.append(HTTPHeader("Authorization", value))
    return headers
  }

  /// The query of a URL that anyone may use until it expires, `seconds` from `time` (1 ... 604,800).
  func presignedQuery(_ request: Request, at time: Timestamp, seconds: Int) -> String {
    let moment = CalendarTime(time)
    let headers = CanonicalHeaders([HTTPHeader("Host", request.host)] + request.headers)
    var query = request.query
    query.append(("X-Amz-Algorithm", Self.algorithm))
    query.append(("X-Amz-Credential", "\(credentials.accessKey)/\(scope(moment))"))
    query.append(("X-Amz-Date", moment.basic))
    query.append(("X-Amz-Expires", String(seconds)))
    query.append(("X-Amz-SignedHeaders", headers.names))
    if let token = credentials.sessionToken { query.append(("X-Amz-Security-Token", token)) }
    let encoded = Self.encodedQuery(query)
    let signature = signature(
      request.method, path: request.encodedPath, query: encoded, headers: headers,
      payloadHash: Self.unsignedPayload, moment: moment)
    return "\(encoded)&X-Amz-Signature=\(signature)"
  }

  /// Names and values encoded, then sorted by bytes: by name, then by value.
  static func encodedQuery(_ query: [(name: String, value: String)]) -> String {
    query.map { (PercentEncoding.encode($0.name), PercentEncoding.encode($0.value)) }
      .sorted { $0.0 == $1.0 ? Self.precedes($0.1, $1.1) : Self.precedes($0.0, $1.0) }
      .map { "\($0.0)=\($0.1)" }
      .joined(separator: "&")
  }

  private static func precedes(_ a: String, _ b: String) -> Bool {
    a.utf8.lexicographicallyPrecedes(b.utf8)
  }

  private func scope(_ moment: CalendarTime) -> String {
    "\(moment.date)/\(region)/\(service)/aws4_request"
  }

  private func signature(
    _ method: String, path: String, query: String, headers: CanonicalHeaders, payloadHash: String,
    moment: CalendarTime
  ) -> String {
    let request = [method, path, query, headers.block, headers.names, payloadHash]
      .joined(separator: "\n")
    let toSign = [
      Self.algorithm, moment.basic, scope(moment),
      Hashing.hex(Hashing.sha256(Array(request.utf8))),
    ].joined(separator: "\n")
    var key = Hashing.hmac(key: Array("AWS4\(credentials.secretKey)".utf8), moment.date)
    for part in [region, service, "aws4_request"] { key = Hashing.hmac(key: key, part) }
    return Hashing.hex(Hashing.hmac(key: key, toSign))
  }
}

/// Headers as the canonical request has them: names in lower case, sorted *by name* (sorting whole
/// lines would put `a-b:` before `a:`), values trimmed with inner blanks collapsed, equal names
/// joined by commas in the order given.
private struct CanonicalHeaders {
  /// One line each, every line ended.
  let block: String
  /// Names joined by semicolons.
  let names: String

  init(_ headers: [HTTPHeader]) {
    var values: [String: [String]] = [:]
    for header in headers {
      values[header.name.lowercased(), default: []].append(Self.collapsed(header.value))
    }
    let sorted = values.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
    block = sorted.map { "\($0.key):\($0.value.joined(separator: ","))\n" }.joined()
    names = sorted.map(\.key).joined(separator: ";")
  }

  private static func collapsed(_ value: String) -> String {
    value.split { $0 == " " || $0 == "\t" }.joined(separator: " ")
  }
}
