@testable import CurlKit
import RegionCore
import Testing

@testable import S3Store

/// What answers mean, without a network.
@Suite struct AnswerTests {
  static let now = CalendarTime.parse(rfc3339: "2024-02-29T12:00:00Z") ?? Timestamp(nanoseconds: 0)

  static func meaning(
    _ status: Int, _ code: String = "", operation: String = "GET", isConditional: Bool = false,
    headers: String = ""
  ) -> ErrorMeaning {
    let body =
      code.isEmpty
      ? ""
      : "<?xml version=\"1.0\"?><Error><Code>\(code)</Code><Message>m &amp; n</Message></Error>"
    return ErrorMeaning(
      status: status, headers: HTTPHeaders(bytes: Array(headers.utf8)), body: Array(body.utf8),
      operation: operation, isConditional: isConditional, source: "the test", now: now)
  }

  @Test(arguments: [
    (404, "NoSuchKey", StoreError.Kind.notFound), (404, "", .notFound),
    (404, "NoSuchBucket", .noSuchContainer), (400, "InvalidBucketName", .noSuchContainer),
    (412, "PreconditionFailed", .preconditionFailed),
    (409, "ConditionalRequestConflict", .conflict), (409, "OperationAborted", .conflict),
    (403, "SignatureDoesNotMatch", .accessDenied), (403, "InvalidAccessKeyId", .accessDenied),
    (401, "", .accessDenied), (400, "ExpiredToken", .accessDenied),
    (403, "RequestTimeTooSkewed", .clockSkew),
    (503, "SlowDown", .throttled), (429, "", .throttled), (400, "RequestLimitExceeded", .throttled),
    (503, "", .unavailable), (503, "ServiceUnavailable", .unavailable), (500, "", .unavailable),
    (502, "", .unavailable), (504, "", .unavailable), (408, "", .unavailable),
    (400, "RequestTimeout", .unavailable), (400, "InternalError", .unavailable),
    (400, "BadDigest", .unavailable), (400, "IncompleteBody", .unavailable),
    (501, "NotImplemented", .unsupported), (501, "", .unsupported),
    (507, "", .outOfSpace), (403, "QuotaExceeded", .outOfSpace), (400, "", .badRequest),
    (400, "AuthorizationHeaderMalformed", .badRequest), (405, "MethodNotAllowed", .badRequest),
    (301, "PermanentRedirect", .badRequest), (416, "InvalidRange", .damagedAnswer),
  ])
  func kinds(_ status: Int, _ code: String, _ kind: StoreError.Kind) {
    let meaning = Self.meaning(status, code)
    #expect(meaning.kind == kind)
    #expect(meaning.detail.hasPrefix("HTTP \(status)" + (code.isEmpty ? "" : " \(code): m & n")))
    #expect(meaning.credentialsExpired == (code == "ExpiredToken"))
  }

  @Test func operationsMatter() {
    #expect(Self.meaning(404, operation: "LIST").kind == .noSuchContainer)
    #expect(
      Self.meaning(404, "NoSuchKey", operation: "PUT", isConditional: true).kind
        == .preconditionFailed)
    #expect(
      Self.meaning(404, "NoSuchBucket", operation: "PUT", isConditional: true).kind
        == .noSuchContainer)
    #expect(Self.meaning(416, operation: "PUT").kind == .badRequest)
  }

  @Test func detailsSayWhatToDo() {
    let skew = Self.meaning(
      403, "RequestTimeTooSkewed", headers: "Date: Thu, 29 Feb 2024 13:00:00 GMT\r\n")
    #expect(skew.detail.contains("20240229T120000Z") && skew.detail.contains("13:00:00 GMT"))
    // Not every store has that code; a far clock explains a refused signature.
    let hidden = Self.meaning(
      403, "SignatureDoesNotMatch", headers: "Date: Thu, 29 Feb 2024 13:00:00 GMT\r\n")
    #expect(hidden.kind == .clockSkew)
    let near = Self.meaning(
      403, "SignatureDoesNotMatch", headers: "Date: Thu, 29 Feb 2024 12:10:00 GMT\r\n")
    #expect(near.kind == .accessDenied && near.detail.contains("signed with the test"))
    let region = Self.meaning(301, headers: "x-amz-bucket-region: eu-west-3\r\n")
    #expect(region.detail.contains("-o region=eu-west-3"))
    // What a hostile store calls a region may not begin a line of its own in the log.
    for name in ["\neu-west-3", "eu west", "", "x;y"] {
      let body = "<Error><Code>PermanentRedirect</Code><Region>\(name)</Region></Error>"
      let strange = ErrorMeaning(
        status: 301, headers: HTTPHeaders(bytes: []), body: Array(body.utf8), operation: "GET",
        isConditional: false, source: "the test", now: Self.now)
      #expect(strange.detail == "HTTP 301 PermanentRedirect")
    }
    #expect(Self.meaning(403, "AccessDenied").detail.contains("s3:ListBucket"))
  }

  @Test func retryAfterIsSecondsOrADate() {
    #expect(Self.meaning(503, "SlowDown", headers: "Retry-After: 7\r\n").retryAfter == .seconds(7))
    let date = "Retry-After: Thu, 29 Feb 2024 12:00:30 GMT\r\n"
    #expect(Self.meaning(503, headers: date).retryAfter == .seconds(30))
    #expect(Self.meaning(503, headers: "Retry-After: soon\r\n").retryAfter == nil)
    #expect(Self.meaning(503).retryAfter == nil)
  }

  @Test func bodiesThatAreNoErrorDocument() {
    #expect(ErrorAnswer(Array("<html><body>Bad gateway</body></html>".utf8)).code == "")
    #expect(ErrorAnswer(Array("not xml".utf8)) == ErrorAnswer([]))
    let sts =
      "<ErrorResponse xmlns=\"u\"><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>"
    #expect(ErrorAnswer(Array(sts.utf8)).code == "InvalidIdentityToken")
  }

  @Test func contentRanges() {
    #expect(ContentRange("bytes 0-9/100")?.range == 0..<10)
    #expect(ContentRange("bytes 90-99/100")?.total == 100)
    for bad in [
      "", "bytes */100", "bytes 0-9/*", "bytes 9-0/100", "bytes 0-100/100", "items 0-9/100",
      "bytes 0-9", "bytes 0-18446744073709551615/18446744073709551615", "bytes -1-9/100",
    ] {
      #expect(ContentRange(bad) == nil, "\(bad)")
    }
  }
}

@Suite struct XMLTests {
  @Test func elementsTextAndEntities() throws {
    let text =
      "<?xml version='1.0' encoding='UTF-8'?><n:A xmlns:n='x'><B>1 &lt;&apos;&#228;</B><B/>t<C><D/></C></n:A>"
    let node = try XMLNode(parsing: Array(text.utf8))
    #expect(node.name == "A" && node.text == "t")
    #expect(node["B"]?.text == "1 <'ä" && node.all("B").count == 2)
    #expect(node["C"]?["D"] != nil)
  }

  @Test(arguments: [
    "", "<a>", "<a></b>", "<a/><b/>", "text", "<a>\u{1}</a>", "<a>&nope;</a>",
    "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'><a/>",
    String(repeating: "<a>", count: 17) + String(repeating: "</a>", count: 17),
    "<a>" + String(repeating: "<b/>", count: XMLNode.elementLimit) + "</a>",
  ])
  func malformedOrDangerousTextIsRefused(_ text: String) {
    #expect(throws: XMLError.self) { try XMLNode(parsing: Array(text.utf8)) }
  }

  /// No prefix of a listing, and no listing with a byte changed, crashes or is endless.
  @Test func damagedListingsAreErrorsOrListings() {
    let whole = Array(Self.listing(["a", "b"], encoded: true, next: "t").utf8)
    for count in 0..<whole.count {
      #expect(throws: XMLError.self) { try ListAnswer(parsing: Array(whole[..<count])) }
    }
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<500 {
      var changed = whole
      changed[Int.random(in: 0..<whole.count, using: &generator)] = .random(in: 0...255)
      if let answer = try? ListAnswer(parsing: changed) { #expect(answer.keys.count <= 2) }
    }
  }

  static func listing(_ keys: [String], encoded: Bool, next: String?) -> String {
    let contents = keys.map { "<Contents><Key>\($0)</Key><Size>1</Size></Contents>" }.joined()
    let more = next.map { "<NextContinuationToken>\($0)</NextContinuationToken>" } ?? ""
    return """
      <?xml version="1.0" encoding="UTF-8"?>
      <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>\
      \(encoded ? "<EncodingType>url</EncodingType>" : "")\
      <IsTruncated>\(next != nil)</IsTruncated>\(more)\(contents)</ListBucketResult>
      """
  }

  @Test func listingsOfEveryDialect() throws {
    func keys(_ listed: [String], encoded: Bool, below base: String) throws -> [String] {
      try ListAnswer(parsing: Array(Self.listing(listed, encoded: encoded, next: nil).utf8))
        .objectKeys(below: base).map(\.text)
    }
    // AWS and MinIO write a blank as +, SeaweedFS writes + as it is.
    #expect(try keys(["a+b%2Bc/x"], encoded: true, below: "a b+c/") == ["x"])
    #expect(try keys(["a%20b+c/x"], encoded: true, below: "a b+c/") == ["x"])
    #expect(try keys(["a%2Fx", "a/y"], encoded: true, below: "a/") == ["x", "y"])
    // rclone does not encode.
    #expect(try keys(["a b+%2F&amp;&apos;/x"], encoded: false, below: "a b+%2F&'/") == ["x"])
    // Names that are not ours, and other prefixes, are passed over.
    #expect(
      try keys(["p/ok", "p/b%20d", "p/", "p//x", "q/x", "p/%FF"], encoded: true, below: "p/") == [
        "ok"
      ])
    let more = try ListAnswer(parsing: Array(Self.listing([], encoded: true, next: "n&amp;1").utf8))
    #expect(more.next == "n&1")
  }

  @Test func aListingThatGoesOnNeedsAToken() {
    let text = "<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>"
    #expect(throws: XMLError.self) { try ListAnswer(parsing: Array(text.utf8)) }
    #expect(throws: XMLError.self) { try ListAnswer(parsing: Array("<html/>".utf8)) }
  }
}
