/// How the end of a message body is told (RFC 9112, section 6).
enum BodyFraming: Equatable {
  case none
  case fixed(Int)
  case chunked
  case untilClose
}

/// The start line and the few header fields that frame a message.
struct HTTPHead {
  /// The bytes as received, with the empty line.
  var bytes: [UInt8]
  /// Request: the method. Response: empty.
  var method = ""
  /// Request: the target. Response: empty.
  var target = ""
  /// Response: the status code. Request: 0.
  var status = 0
  var contentLength: Int?
  var isChunked = false
  var expectsContinue = false
  /// The bytes asked for, or answered, as the head says it; empty: all.
  var range = ""

  /// Parses a complete head; nil if it is not HTTP/1.
  init?(_ bytes: [UInt8]) {
    self.bytes = bytes
    let text = String(decoding: bytes, as: Unicode.UTF8.self)
    var lines = text.split(separator: "\r\n", omittingEmptySubsequences: true)[...]
    guard let start = lines.popFirst() else { return nil }
    let words = start.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
    guard words.count >= 2 else { return nil }
    if words[0].hasPrefix("HTTP/1.") {
      guard let code = Int(words[1]) else { return nil }
      status = code
    } else if words.count == 3, words[2].hasPrefix("HTTP/1.") {
      method = String(words[0])
      target = String(words[1])
    } else {
      return nil
    }
    for line in lines where !readField(line) { return nil }
  }

  /// How the request's body ends.
  var requestFraming: BodyFraming {
    if isChunked { return .chunked }
    return contentLength.map { $0 == 0 ? .none : .fixed($0) } ?? .none
  }

  /// How the body of this response to `method` ends.
  func responseFraming(to method: String) -> BodyFraming {
    if method == "HEAD" || status / 100 == 1 || status == 204 || status == 304 { return .none }
    if isChunked { return .chunked }
    return contentLength.map { $0 == 0 ? .none : .fixed($0) } ?? .untilClose
  }

  /// The same head announcing `length` body bytes.
  func announcing(length: Int) -> [UInt8] {
    let text = String(decoding: bytes, as: Unicode.UTF8.self)
    let lines = text.split(separator: "\r\n", omittingEmptySubsequences: true).map { line in
      line.lowercased().hasPrefix("content-length:") ? "Content-Length: \(length)" : String(line)
    }
    return Array((lines.joined(separator: "\r\n") + "\r\n\r\n").utf8)
  }

  /// Notes what a header line means for framing; false if it makes the head unusable.
  private mutating func readField(_ line: Substring) -> Bool {
    guard let colon = line.firstIndex(of: ":") else { return false }
    let name = line[..<colon].lowercased()
    let value = line[line.index(after: colon)...].drop(while: { $0 == " " })
    switch name {
    case "content-length":
      guard let length = Int(value), length >= 0 else { return false }
      contentLength = length
    case "range", "content-range": range = String(value)
    case "transfer-encoding": isChunked = value.lowercased().contains("chunked")
    case "expect": expectsContinue = value.lowercased().contains("100-continue")
    default: break
    }
    return true
  }
}
