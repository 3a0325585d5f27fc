import FoundationEssentials

/// A setting that cannot be used; says which and what to do.
public struct S3ConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
  /// One line.
  public var description: String
  /// An error in one line.
  public init(_ description: String) { self.description = description }
}

/// What a user may say about a store beside its URL. None of it is secret.
public struct S3Options: Sendable, Equatable {
  /// `endpoint=`: URL of the service.
  public var endpoint: String?
  /// `region=`.
  public var region: String?
  /// `profile=`: profile of the shared files.
  public var profile: String?
  /// `path_style`: the bucket in the path (true) or the host name (false); nil decides by itself.
  public var pathStyle: Bool?
  /// `ca=`: PEM file of trusted certificate authorities instead of the system's.
  public var caFile: String?

  /// Options, all optional.
  public init(
    endpoint: String? = nil, region: String? = nil, profile: String? = nil,
    pathStyle: Bool? = nil, caFile: String? = nil
  ) {
    self.endpoint = endpoint
    self.region = region
    self.profile = profile
    self.pathStyle = pathStyle
    self.caFile = caFile
  }
}

/// Where an S3 store is and how to speak to it.
public struct S3Configuration: Sendable, Equatable {
  /// The bucket.
  public var bucket: String
  /// What all keys begin with; empty, or without slash at its ends.
  public var prefix: String
  /// The service.
  public var endpoint: S3Endpoint
  /// The region that requests are signed for.
  public var region: String
  /// Whether the bucket is in the path rather than in the host name.
  public var pathStyle: Bool
  /// PEM file of trusted authorities; nil for the system's.
  public var caFile: String?
  /// Profile named by option.
  public var profile: String?
  /// Variables of the environment, also for credentials.
  public var environment: [String: String]

  /// Settings of `s3://bucket/prefix`: the options, else the environment (`AWS_REGION`,
  /// `AWS_DEFAULT_REGION`, `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, `AWS_CA_BUNDLE`), else the
  /// profile (`region`, `endpoint_url`, `ca_bundle`), else AWS in us-east-1.
  public init(
    url: String, options: S3Options = S3Options(),
    environment: [String: String] = ProcessInfo.processInfo.environment
  ) throws(S3ConfigurationError) {
    (bucket, prefix) = try Self.split(url)
    self.environment = environment
    profile = options.profile
    let shared = try Self.profile(options.profile, environment)
    region =
      options.region ?? environment.nonEmpty("AWS_REGION")
      ?? environment.nonEmpty("AWS_DEFAULT_REGION") ?? shared["region"] ?? "us-east-1"
    guard Self.isRegion(region) else {
      throw S3ConfigurationError("region \"\(region)\" is no region's name, e.g. eu-central-1")
    }
    let named =
      options.endpoint ?? environment.nonEmpty("AWS_ENDPOINT_URL_S3")
      ?? environment.nonEmpty("AWS_ENDPOINT_URL") ?? shared["endpoint_url"]
    endpoint = try Self.endpoint(named, region: region)
    caFile = options.caFile ?? environment.nonEmpty("AWS_CA_BUNDLE") ?? shared["ca_bundle"]
    // A certificate for *.host does not cover a bucket with a dot, and what stands behind an
    // endpoint of the user's rarely has a host name for each bucket.
    pathStyle =
      options.pathStyle
      ?? (named != nil || endpoint.isAddress || (endpoint.isTLS && bucket.contains(".")))
    guard pathStyle || !endpoint.isAddress else {
      throw S3ConfigurationError(
        "endpoint \(endpoint) is an address, so the bucket must be in the path: use -o path_style")
    }
  }

  /// The address as users write it.
  public var address: String { "s3://\(bucket)" + (prefix.isEmpty ? "" : "/\(prefix)") }

  private static func split(_ url: String) throws(S3ConfigurationError) -> (String, String) {
    guard url.hasPrefix("s3://") else {
      throw S3ConfigurationError("\(url): an S3 store is written s3://bucket/prefix")
    }
    let rest = url.dropFirst(5)
    let slash = rest.firstIndex(of: "/") ?? rest.endIndex
    let bucket = String(rest[..<slash])
    guard (3...63).contains(bucket.utf8.count), bucket.utf8.allSatisfy(isNameByte),
      let first = bucket.utf8.first, first != UInt8(ascii: "."), first != UInt8(ascii: "-")
    else {
      throw S3ConfigurationError(
        "\(url): \"\(bucket)\" is no bucket's name (3 to 63 of a-z, 0-9, dot and hyphen)")
    }
    return (bucket, try prefix(rest[slash...], url))
  }

  private static func prefix(_ path: Substring, _ url: String) throws(S3ConfigurationError)
    -> String
  {
    var path = path
    while path.hasPrefix("/") { path.removeFirst() }
    while path.hasSuffix("/") { path.removeLast() }
    for segment in path.split(separator: "/", omittingEmptySubsequences: false)
    where !path.isEmpty && (segment.isEmpty || segment == "." || segment == "..") {
      throw S3ConfigurationError("\(url): a prefix has no empty, \".\" or \"..\" segment")
    }
    guard path.utf8.count <= 100,
      path.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0 != "\u{7F}" })
    else {
      throw S3ConfigurationError("\(url): a prefix has at most 100 bytes, no control characters")
    }
    return String(path)
  }

  /// Whether a region may be called that.
  static func isRegion(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.allSatisfy(isNameByte)
  }

  /// Bucket names proper are lower case; old ones, and some stores, allow more.
  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
      UInt8(ascii: "_"):
      true
    default: false
    }
  }

  private static func profile(_ option: String?, _ environment: [String: String])
    throws(S3ConfigurationError) -> SharedProfile
  {
    do throws(CredentialsError) {
      let profile = try SharedProfile(option: option, environment: environment)
      if let option, !profile.exists {
        throw CredentialsError("no profile \(option) in \(profile.places)")
      }
      return profile
    } catch {
      throw S3ConfigurationError(error.detail)
    }
  }

  private static func endpoint(_ named: String?, region: String) throws(S3ConfigurationError)
    -> S3Endpoint
  {
    guard let named else { return .aws(region: region) }
    guard let endpoint = S3Endpoint(named) else {
      throw S3ConfigurationError(
        "endpoint \"\(named)\" is no URL of a service, e.g. https://s3.example.com:9000")
    }
    return endpoint
  }
}

extension S3Configuration {
  /// The `Host` of requests.
  var host: String { pathStyle ? endpoint.authority : "\(bucket).\(endpoint.authority)" }

  /// The percent-encoded path of `key` (a whole key, prefix included); of the bucket if empty.
  func encodedPath(_ key: String) -> String {
    let bucketPath = pathStyle ? "/\(PercentEncoding.encode(bucket))" : ""
    if key.isEmpty && pathStyle { return endpoint.path + bucketPath }
    return "\(endpoint.path)\(bucketPath)/\(PercentEncoding.encode(key, keepingSlash: true))"
  }

  /// What goes before paths in URLs.
  var origin: String { "\(endpoint.isTLS ? "https" : "http")://\(host)" }

  /// What keys of the store begin with in the bucket.
  var keyPrefix: String { prefix.isEmpty ? "" : "\(prefix)/" }
}
