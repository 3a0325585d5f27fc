/// The address of a service: scheme, host, port, and a path that goes before everything.
public struct S3Endpoint: Hashable, Sendable, CustomStringConvertible {
  /// Whether the scheme is https.
  public var isTLS: Bool
  /// Lower case; an IPv6 address with its brackets.
  public var host: String
  /// nil for the scheme's own port.
  public var port: Int?
  /// Empty, or beginning with `/` and not ending with it.
  public var path: String

  /// Parses `http://…` or `https://…`; nil if it is neither, or has a query, user or fragment.
  public init?(_ text: String) {
    guard let mark = text.firstRange(of: "://") else { return nil }
    switch text[..<mark.lowerBound].lowercased() {
    case "http": isTLS = false
    case "https": isTLS = true
    default: return nil
    }
    let rest = text[mark.upperBound...]
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    guard let (host, port) = Self.authority(rest[..<slash]) else { return nil }
    guard !rest.contains(where: { "?#@".contains($0) || $0.isWhitespace }) else { return nil }
    self.host = host
    self.port = port == (isTLS ? 443 : 80) ? nil : port
    path = String(rest[slash...])
    while path.hasSuffix("/") { path.removeLast() }
  }

  private static func authority(_ text: Substring) -> (String, Int?)? {
    var host = text
    var port: Int?
    let afterBracket = text.lastIndex(of: "]").map { text.index(after: $0) } ?? text.startIndex
    if let colon = text[afterBracket...].lastIndex(of: ":") {
      guard let number = Int(text[text.index(after: colon)...]), (1...65535).contains(number) else {
        return nil
      }
      port = number
      host = text[..<colon]
    }
    let allowed = host.utf8.allSatisfy { byte in
      byte > 0x20 && byte < 0x7F && !"\"<>\\^`{|}%".utf8.contains(byte)
    }
    // Brackets enclose an IPv6 address and stand nowhere else; only there are further colons.
    let isBracketed = host.first == "[" && host.last == "]"
    let inner = isBracketed ? host.dropFirst().dropLast() : host
    guard !inner.isEmpty, allowed, !inner.contains(where: { "[]".contains($0) }),
      isBracketed || !inner.contains(":")
    else { return nil }
    return (host.lowercased(), port)
  }

  /// The endpoint of S3 in a region of AWS.
  public static func aws(region: String) -> Self {
    Self(isTLS: true, host: "s3.\(region).\(domain(region))", port: nil, path: "")
  }

  /// The domain of AWS's services in a region.
  static func domain(_ region: String) -> String {
    region.hasPrefix("cn-") ? "amazonaws.com.cn" : "amazonaws.com"
  }

  init(isTLS: Bool, host: String, port: Int?, path: String) {
    self.isTLS = isTLS
    self.host = host
    self.port = port
    self.path = path
  }

  /// As the `Host` header has it.
  var authority: String { port.map { "\(host):\($0)" } ?? host }

  /// The URL, without a slash at its end.
  public var description: String { "\(isTLS ? "https" : "http")://\(authority)\(path)" }

  /// Whether the host is an address rather than a name, to which no bucket can be prefixed.
  var isAddress: Bool {
    host == "localhost" || host.hasPrefix("[")
      || host.split(separator: ".").allSatisfy { UInt8($0) != nil }
  }
}
