/// Where a mount's groups live remotely, as given on the command line or in fstab.
public enum StoreAddress: Hashable, Sendable, CustomStringConvertible {
  /// `s3://bucket/prefix`. The prefix has no slash at either end and may be empty.
  case s3(bucket: String, prefix: String)
  /// `file:///dir`: the embedded store, a directory. The path is absolute.
  case directory(path: String)
  /// `memory:`: lives and dies with the daemon.
  case memory

  /// The address as it is shown and given to mount(8) as the source; never holds a secret.
  public var description: String {
    switch self {
    case .s3(let bucket, let prefix): prefix.isEmpty ? "s3://\(bucket)" : "s3://\(bucket)/\(prefix)"
    case .directory(let path): "file://" + Self.percentEncoded(path)
    case .memory: "memory:"
    }
  }

  /// Parses an address.
  ///
  /// - Throws: `OptionError.badStore` with the remedy; the text itself is not repeated where it may
  ///   hold a secret (`s3://key:secret@bucket`).
  public init(parsing text: String) throws(OptionError) {
    if let rest = Self.dropPrefix("s3://", of: text) {
      self = try Self.parseS3(rest)
    } else if let rest = Self.dropPrefix("file:", of: text) {
      self = .directory(path: try Self.parseFile(rest))
    } else if text == "memory:" {
      self = .memory
    } else if text.hasPrefix("/") {
      throw .badStore(
        reason: "'\(text)' is a plain path; write file://\(Self.percentEncoded(text))")
    } else {
      throw .badStore(
        reason: "expected s3://bucket/prefix, file:///directory or memory:"
          + (text.contains("@") ? "" : ", got '\(text)'"))
    }
  }

  private static func dropPrefix(_ prefix: String, of text: String) -> Substring? {
    text.hasPrefix(prefix) ? text.dropFirst(prefix.count) : nil
  }

  private static func parseS3(_ rest: Substring) throws(OptionError) -> Self {
    guard !rest.contains("@") else {
      throw .badStore(
        reason: "s3:// addresses take no user or password; use the environment "
          + "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or profile=")
    }
    let bucket = rest.prefix { $0 != "/" }
    var prefix = rest.dropFirst(bucket.count)
    if prefix.hasPrefix("/") { prefix = prefix.dropFirst() }
    if prefix.hasSuffix("/") { prefix = prefix.dropLast() }
    guard (3...63).contains(bucket.utf8.count), bucket.utf8.allSatisfy(isKeyByte) else {
      throw .badStore(
        reason: "bucket '\(bucket)' must have 3 to 63 characters of A-Z a-z 0-9 . _ -")
    }
    if !prefix.isEmpty { try checkPrefix(prefix) }
    return .s3(bucket: String(bucket), prefix: String(prefix))
  }

  /// Servers and proxies rewrite or refuse some keys; what is refused here never surprises later.
  private static func checkPrefix(_ prefix: Substring) throws(OptionError) {
    guard prefix.utf8.count <= 512 else {
      throw .badStore(reason: "the prefix is longer than 512 bytes")
    }
    for part in prefix.split(separator: "/", omittingEmptySubsequences: false) {
      guard !part.isEmpty, part != ".", part != "..", part.utf8.count < 255 else {
        throw .badStore(
          reason: "prefix '\(prefix)' has an empty, '.', '..' or overlong part between slashes")
      }
      guard part.utf8.allSatisfy(isKeyByte) else {
        throw .badStore(
          reason: "prefix '\(prefix)' may only hold A-Z a-z 0-9 . _ - and / (other characters do "
            + "not survive every S3 server)")
      }
    }
  }

  /// RFC 8089: `file:///path`, `file:/path`, `file://localhost/path`.
  private static func parseFile(_ rest: Substring) throws(OptionError) -> String {
    var path = rest
    if path.hasPrefix("//") {
      path = path.dropFirst(2)
      if path.hasPrefix("localhost/") { path = path.dropFirst("localhost".count) }
    }
    guard path.hasPrefix("/") else {
      throw .badStore(
        reason:
          "'file:\(rest)' needs an absolute path: file:///\(path.isEmpty ? "directory" : path)"
      )
    }
    guard let decoded = percentDecoded(path), !decoded.utf8.contains(0) else {
      throw .badStore(reason: "'file:\(rest)' holds a bad % escape (a literal % is written %25)")
    }
    return normalized(decoded)
  }

  /// Collapses repeated and trailing slashes, so that one directory has one address.
  private static func normalized(_ path: String) -> String {
    "/" + path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
  }

  private static func isKeyByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: "-"):
      true
    default: false
    }
  }

  private static func percentDecoded(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = Substring(text).utf8[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst().flatMap(hexValue),
        let low = rest.popFirst().flatMap(hexValue), high | low != 0
      else { return nil }
      bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func hexValue(_ byte: UInt8) -> UInt8? {
    Character(UnicodeScalar(byte)).hexDigitValue.map(UInt8.init)
  }

  private static func percentEncoded(_ path: String) -> String {
    var text = ""
    for scalar in path.unicodeScalars {
      let byte = UInt8(truncatingIfNeeded: scalar.value)
      if !scalar.isASCII || isKeyByte(byte) || byte == UInt8(ascii: "/") {
        text.unicodeScalars.append(scalar)
      } else {
        text += "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }
    return text
  }
}
