/// The header lines of an answer, kept as they came: parsing them all would cost an allocation
/// each, and callers look at a few.
public struct HTTPHeaders: Sendable {
  var bytes: [UInt8] = []

  /// The trimmed value of the first header called `name` (ASCII case is ignored), or nil.
  public subscript(name: String) -> String? {
    var wanted = name
    return wanted.withUTF8 { find(unsafe Array($0)) }
  }

  private func find(_ name: [UInt8]) -> String? {
    for line in bytes.split(separator: UInt8(ascii: "\n")) {
      guard line.count > name.count, line[line.startIndex + name.count] == UInt8(ascii: ":"),
        zip(line, name).allSatisfy({ Self.lowercase($0) == Self.lowercase($1) })
      else { continue }
      return Self.trimmed(line.dropFirst(name.count + 1))
    }
    return nil
  }

  private static func lowercase(_ byte: UInt8) -> UInt8 {
    (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) ? byte | 0x20 : byte
  }

  private static func trimmed(_ bytes: ArraySlice<UInt8>) -> String {
    let blank: Set<UInt8> = [0x20, 0x09, 0x0D]
    let rest = bytes.drop { blank.contains($0) }
    guard let last = rest.lastIndex(where: { !blank.contains($0) }) else { return "" }
    return String(decoding: rest[...last], as: UTF8.self)
  }

  /// All lines as (lower-cased name, trimmed value), in the order they came.
  public var all: [HTTPHeader] {
    bytes.split(separator: UInt8(ascii: "\n")).compactMap { line in
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return nil }
      let name = String(decoding: line[..<colon].map(Self.lowercase), as: UTF8.self)
      return HTTPHeader(name, Self.trimmed(line[(colon + 1)...]))
    }
  }
}

/// A complete answer.
public struct HTTPResponse: Sendable {
  /// The status, 100 ... 599.
  public var status: Int
  /// The header lines.
  public var headers: HTTPHeaders
  /// Bytes of the body that arrived.
  public var byteCount: Int
  /// The body, where it did not go to memory of the caller's: an answer to `.array`, or the first
  /// 64 KiB of an answer with status 300 or above.
  public var body: [UInt8]
  /// Connections that were opened for it: 0 if a kept one served.
  public var newConnections: Int
  /// From the start of the transfer to the first byte of the answer.
  public var timeToFirstByte: Duration
  /// From the start of the transfer to its end; time in the queue not counted.
  public var duration: Duration
}

/// Why there is no complete answer.
public struct HTTPError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What happened, as far as callers act on it.
  public enum Kind: String, Sendable, CaseIterable {
    /// The host's name has no address.
    case resolve
    /// No connection, or not in time.
    case connect
    /// The TLS handshake failed, or the certificate is not trusted.
    case tls
    /// Connected, but no byte went either way for the stall timeout.
    case stalled
    /// The connection broke; the request may have been carried out.
    case reset
    /// The body ended before its announced length.
    case shortBody
    /// The body is larger than its destination.
    case tooLarge
    /// The task was cancelled, or the client is shut down.
    case cancelled
    /// Anything else; `detail` says what.
    case other
  }

  /// What happened.
  public var kind: Kind
  /// The cause in libcurl's words.
  public var detail: String
  /// libcurl's `CURLcode`, 0 where the error is not libcurl's.
  public var code: Int

  /// An error.
  public init(_ kind: Kind, _ detail: String, code: Int = 0) {
    self.kind = kind
    self.detail = detail
    self.code = code
  }

  /// One line.
  public var description: String { detail }
}

extension HTTPError {
  /// Whether TLS failed because the peer's certificate, or the file of authorities, is not good:
  /// trying again does not help.
  public var isCertificateProblem: Bool {
    // CURLE_PEER_FAILED_VERIFICATION and CURLE_SSL_CACERT_BADFILE.
    kind == .tls && (code == 60 || code == 77)
  }
}
