@testable import CurlKit
@testable import RegionCore
@testable import S3Store

/// What servers answer: XML, JSON, header lines, times.
extension FuzzTarget {
  static let storeAnswers: [FuzzTarget] = [
    xml, listAnswer, errorAnswer, credentialsAnswer, headers, times, percent,
  ]

  private static let listing = """
    <?xml version="1.0" encoding="UTF-8"?>
    <ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name>\
    <Prefix>p/</Prefix><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
    <Contents><Key>p/g%2Froot</Key><Size>3</Size></Contents><Contents><Key>p/a&amp;b</Key>\
    </Contents><NextContinuationToken>t&#x41;</NextContinuationToken></ListBucketResult>
    """
  private static let failure = """
    <Error><Code>SlowDown</Code><Message>Please &lt;wait&gt;
    a while</Message><Region>eu-west-1</Region></Error>
    """
  private static let tags = [
    "<Contents>", "</Contents>", "<Key>", "</Key>", "<Error>", "</Error>", "<Code>", "</Code>",
    "<IsTruncated>true</IsTruncated>", "<![CDATA[", "]]>", "<!--", "-->", "<?x ?>", "&amp;",
    "&#x10FFFF;", "&#0;", "&a;", "<!DOCTYPE a [", "<!ENTITY a \"b\">", "]>", "<a b=\"c\"/>",
    "xmlns:x=\"y\"", "%41", "%C3%A9", "+", "encoding=\"UTF-16\"", "\u{FEFF}",
  ]

  private static let xml = FuzzTarget(
    name: "xml", examples: [listing, failure, "<a:b/>"].map { [UInt8]($0) }, words: tags
  ) { bytes throws(FuzzFinding) in
    let isAccepted = try check(
      bytes, parse: { bytes throws(XMLError) in try XMLNode(parsing: bytes) },
      encode: { [UInt8]($0.document) })
    if isAccepted, let root = try? XMLNode(parsing: bytes), root.depth > XMLNode.depthLimit {
      throw FuzzFinding("nested deeper than the limit")
    }
    return isAccepted
  }

  private static let listAnswer = FuzzTarget(
    name: "list-answer", examples: [[UInt8](listing)], words: tags
  ) { bytes throws(FuzzFinding) in
    try check(
      bytes,
      parse: { bytes throws(XMLError) in
        let answer = try ListAnswer(parsing: bytes)
        for key in answer.objectKeys(below: "p/") where ObjectKey(key.text) == nil {
          throw XMLError(description: "no key: \(key)")
        }
        return answer
      })
  }

  /// The first bytes choose status and kind of request; header lines end at an empty line.
  private static let errorAnswer = FuzzTarget(
    name: "error-answer",
    examples: [
      [0, 1] + [UInt8]("Retry-After: 5\r\nDate: Fri, 24 May 2013 00:00:00 GMT\n\n" + failure),
      [9, 0] + [UInt8]("retry-after: Fri, 24 May 2013 00:00:00 GMT\n\n<html>"),
    ], words: tags + ["Retry-After:", "Date:", "x-amz-bucket-region:", "9223372036854775807"]
  ) { bytes throws(FuzzFinding) in
    guard bytes.count > 2 else { return false }
    let statuses = [503, 300, 301, 307, 400, 401, 403, 404, 409, 412, 416, 429, 500, 501, 507, 599]
    let status = statuses[Int(bytes[0]) % statuses.count]
    let operation = ["GET", "PUT", "LIST", "DELETE"][Int(bytes[1] & 3)]
    let (lines, body) = divided(bytes[2...])
    let meaning = {
      ErrorMeaning(
        status: status, headers: HTTPHeaders(bytes: lines), body: body, operation: operation,
        isConditional: bytes[1] & 4 != 0, source: "nobody", now: Timestamp(nanoseconds: 1 << 60))
    }
    let first = meaning()
    guard first == meaning() else { throw FuzzFinding("one answer has two meanings") }
    guard (first.retryAfter ?? .zero) >= .zero else { throw FuzzFinding("a wait before now") }
    guard !first.detail.contains("\n") || lines.contains(0x0A) else {
      throw FuzzFinding("a message of several lines")
    }
    // What callers do with it: wait, or give up because it is too long.
    _ = (first.retryAfter ?? .zero).wholeNanoseconds
    return !ErrorAnswer(body).code.isEmpty
  }

  private static func divided(_ bytes: ArraySlice<UInt8>) -> (lines: [UInt8], body: [UInt8]) {
    var previous: UInt8 = 0
    for (index, byte) in bytes.enumerated() {
      if byte == 0x0A, previous == 0x0A {
        return (Array(bytes.prefix(index)), Array(bytes.dropFirst(index + 1)))
      }
      previous = byte
    }
    return ([], Array(bytes))
  }

  private static let credentialsAnswer: FuzzTarget = {
    let client = Result { try HTTPClient() }
    return FuzzTarget(
      name: "credentials-answer", longest: 2048,
      examples: [
        """
        {"AccessKeyId":"A","SecretAccessKey":"S","Token":"T","Expiration":"2026-01-01T00:00:00Z"}
        """, #"{"Code":"NoSuchRole","Message":"\u0041"}"#,
      ].map { [UInt8]($0) },
      words: [
        "\"Expiration\":", "null", "\"\\uD800\"", "1e999", "{", "}", "[", "]", "\"Token\":",
        "-0", "1970-01-01T00:00:00+00:00",
      ]
    ) { bytes throws(FuzzFinding) in
      guard case .success(let client) = client else { throw FuzzFinding("no HTTP client") }
      let service = CredentialsService(client: client, name: "test")
      return try check(
        bytes,
        parse: { bytes throws(CredentialsError) in
          try service.credentials(json: bytes, source: "test")
        })
    }
  }()

  private static let headers = FuzzTarget(
    name: "http-headers", longest: 1024,
    examples: [[UInt8]("ETag: \"a\"\r\nContent-Length: 5\r\nX:\r\n")],
    words: ["etag:", "ETag :", "\r\n", ":", "content-range: bytes 0-1/2"]
  ) { bytes throws(FuzzFinding) in
    let headers = HTTPHeaders(bytes: bytes)
    let all = headers.all
    for header in all.prefix(8) {
      // The first of that name counts; a name with blanks around it is none that is asked for.
      let first = all.first { $0.name == header.name }
      guard header.name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else { continue }
      guard headers[header.name] == first?.value else {
        throw FuzzFinding("\(header.name) is found as another value than it is listed with")
      }
    }
    return headers["etag"] != nil
  }

  private static let times = FuzzTarget(
    name: "time", longest: 80,
    examples: [
      "2013-05-24T00:00:00Z", "2013-05-24T00:00:00.123+00:00", "Fri, 24 May 2013 00:00:00 GMT",
    ].map { [UInt8]($0) }, words: ["9999", "Feb", "GMT", "+00:00", "1969", "-", "T", ":60"]
  ) { bytes throws(FuzzFinding) in
    try check(
      bytes,
      optional: {
        CalendarTime.parse(rfc3339: $0.text) ?? CalendarTime.parse(httpDate: $0.text)
      },
      encode: { time in
        let fields = CalendarTime(time)
        let text = fields.basic
        guard text.utf8.count == 16 else { throw FuzzFinding("\(text) is no time") }
        // Whole seconds come back; the end of what a timestamp holds stands for all that is later.
        guard time == Timestamp(nanoseconds: .max) || fields.timestamp == time else {
          throw FuzzFinding("\(time) is written as \(text)")
        }
        return time == Timestamp(nanoseconds: .max) ? bytes : [UInt8](extended(text))
      })
  }

  /// `20130524T010203Z` with its punctuation.
  private static func extended(_ basic: String) -> String {
    let marks: [Int: String] = [4: "-", 6: "-", 11: ":", 13: ":"]
    return basic.enumerated().map { (marks[$0.offset] ?? "") + String($0.element) }.joined()
  }

  private static let percent = FuzzTarget(
    name: "percent-encoding", longest: 512, examples: [[UInt8]("a%2Fb%C3%A9+")],
    words: ["%", "%2F", "%C3%A9", "+", "%zz"]
  ) { bytes throws(FuzzFinding) in
    for plusIsSpace in [true, false] {
      _ = try check(
        bytes, optional: { PercentEncoding.decode($0.text, plusIsSpace: plusIsSpace) },
        encode: { [UInt8](PercentEncoding.encode($0)) })
    }
    return PercentEncoding.decode(bytes.text) != nil
  }
}

extension XMLNode {
  fileprivate var depth: Int { 1 + (children.map(\.depth).max() ?? 0) }

  /// The element as a document of its own; what is text between its children comes first.
  fileprivate var document: String {
    // With a prefix, which readers drop: what is left of a name may begin with a digit.
    let tag = name.contains(":") ? name : "_:" + name
    return "<\(tag)>\(Self.escaped(text))\(children.map(\.document).joined())</\(tag)>"
  }

  private static func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "<": result += "&lt;"
      case ">": result += "&gt;"
      case "&": result += "&amp;"
      case "\r": result += "&#13;"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
