import CurlKit
import RegionCore

/// Which operation on which object: what every error says.
struct Call {
  let operation: String
  /// Key or listing prefix, relative to the store's prefix.
  let name: String
  let object: String

  init(_ operation: String, _ name: String, in store: S3Store) {
    self.operation = operation
    self.name = name
    object = "\(store.address)/\(name)"
  }

  func error(_ kind: StoreError.Kind, _ detail: String, retryAfter: Duration? = nil) -> StoreError {
    StoreError(kind, operation: operation, object: object, detail: detail, retryAfter: retryAfter)
  }

  func error(_ meaning: ErrorMeaning) -> StoreError {
    error(meaning.kind, meaning.detail, retryAfter: meaning.retryAfter)
  }

  /// What a missing or broken answer means.
  func error(_ failure: HTTPError) -> StoreError {
    switch failure.kind {
    case .cancelled: return error(.cancelled, failure.detail)
    case .tooLarge: return error(.tooLarge, failure.detail)
    case .shortBody: return error(.damagedAnswer, failure.detail)
    case .tls where failure.isCertificateProblem:
      // Trying again does not help: the user has to name the authority.
      return error(
        .accessDenied, "\(failure.detail) (name the certificate authority's file with -o ca=)")
    case .resolve, .connect, .tls, .stalled, .reset, .other:
      return error(.unavailable, failure.detail)
    }
  }
}

/// A GET of an object: what is asked for, and whether the answer is exactly that.
struct ObjectGet {
  let call: Call
  let range: Range<UInt64>?
  /// Bytes that a right answer can have.
  let capacity: Int

  init(call: Call, range: Range<UInt64>?, capacity: Int) throws(StoreError) {
    self.call = call
    self.range = range
    guard let range else {
      self.capacity = capacity
      return
    }
    guard let count = Int(exactly: range.upperBound - range.lowerBound), count <= capacity else {
      throw call.error(.tooLarge, "a range of \(range.count) bytes for a buffer of \(capacity)")
    }
    guard count > 0 else { throw call.error(.badRequest, "an empty range") }
    self.capacity = count
  }

  var headers: [HTTPHeader] {
    guard let range else { return [HTTPHeader("x-amz-checksum-mode", "ENABLED")] }
    return [HTTPHeader("Range", "bytes=\(range.lowerBound)-\(range.upperBound - 1)")]
  }

  /// More bytes than a range has are not the caller's fault but a wrong answer.
  func judge(_ failure: StoreError) -> StoreError {
    guard failure.kind == .tooLarge, range != nil else { return failure }
    return call.error(.damagedAnswer, "\(failure.detail) of the range")
  }

  /// What the answer says about the object; throws unless its bytes are the ones asked for.
  func check(_ response: HTTPResponse) throws(StoreError) -> ObjectInfo {
    guard let etag = response.headers["etag"], !etag.isEmpty else {
      throw call.error(.damagedAnswer, "the answer has no ETag")
    }
    let length = try range.map { range throws(StoreError) in try totalLength(response, range) }
    return ObjectInfo(etag: ETag(etag), totalLength: length ?? UInt64(response.byteCount))
  }

  /// The object's length, from an answer whose range is `range`. Some stores send 200 with a
  /// Content-Range; one that knows no ranges sends the whole object with 200, which is right only
  /// if that is what was asked for.
  private func totalLength(_ response: HTTPResponse, _ range: Range<UInt64>) throws(StoreError)
    -> UInt64
  {
    guard UInt64(response.byteCount) == range.upperBound - range.lowerBound else {
      throw call.error(
        .damagedAnswer,
        "\(response.byteCount) bytes for range \(range.lowerBound)..<\(range.upperBound)")
    }
    guard let text = response.headers["content-range"] else {
      guard response.status == 200, range.lowerBound == 0 else {
        throw call.error(.damagedAnswer, "HTTP \(response.status) without Content-Range")
      }
      return UInt64(response.byteCount)
    }
    guard let answered = ContentRange(text), answered.range == range,
      answered.total >= range.upperBound
    else {
      throw call.error(
        .damagedAnswer, "Content-Range \(text) for range \(range.lowerBound)..<\(range.upperBound)")
    }
    return answered.total
  }

  /// Compares the bytes with the object's CRC32C where the store has sent one of the whole object
  /// (one of parts ends in their number).
  func verifyChecksum(_ response: HTTPResponse, of buffer: IOBuffer) throws(StoreError) {
    guard let expected = response.headers["x-amz-checksum-crc32c"], !expected.contains("-"),
      response.headers["x-amz-checksum-type"] != "COMPOSITE"
    else { return }
    let actual = Base64.encode(unsafe CRC32C.checksum(buffer.bytes))
    guard actual == expected else {
      buffer.count = 0
      throw call.error(.damagedAnswer, "CRC32C \(actual), but the store says \(expected)")
    }
  }
}

/// The header `Content-Range: bytes 0-9/100` (RFC 9110, section 14.4).
struct ContentRange: Equatable {
  var range: Range<UInt64>
  var total: UInt64

  /// nil if the text is no range of bytes with a known total.
  init?(_ text: String) {
    let parts = text.split(omittingEmptySubsequences: false) { " -/".contains($0) }
    guard parts.count == 4, parts[0] == "bytes", let first = UInt64(parts[1]),
      let last = UInt64(parts[2]), let total = UInt64(parts[3]), first <= last, last < total
    else { return nil }
    range = first..<last + 1
    self.total = total
  }
}
