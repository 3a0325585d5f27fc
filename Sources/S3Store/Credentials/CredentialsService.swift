import CurlKit
import FoundationEssentials
import RegionCore

/// Asks the small HTTP services that hand out credentials.
struct CredentialsService: Sendable {
  var client: HTTPClient
  /// What the service is called in messages.
  var name: String
  /// Local services answer at once or are not there.
  var timeouts = HTTPTimeouts(connect: .seconds(1), stall: .seconds(5))
  /// Local services are never behind a proxy.
  var bypassProxy = true

  /// The body of an answer with status 200. Throws `CredentialsError` otherwise.
  func body(_ method: HTTPRequest.Method, _ url: String, _ headers: [HTTPHeader] = [])
    async throws(CredentialsError) -> [UInt8]
  {
    let response = try await answer(method, url, headers)
    guard response.status == 200 else { throw refusal(response) }
    return response.body
  }

  /// An answer of any status.
  func answer(
    _ method: HTTPRequest.Method, _ url: String, _ headers: [HTTPHeader] = [],
    body: [UInt8]? = nil
  ) async throws(CredentialsError) -> HTTPResponse {
    var request = HTTPRequest(
      method, url, headers: headers, body: body.map { HTTPBody($0) },
      destination: .array(limit: 256 << 10))
    request.bypassProxy = bypassProxy
    request.timeouts = timeouts
    do throws(HTTPError) {
      return try await client.perform(request)
    } catch {
      throw CredentialsError("\(name) at \(url): \(error)", isTransient: true)
    }
  }

  /// The error that an answer with another status than 200 is.
  func refusal(_ response: HTTPResponse) -> CredentialsError {
    let text = String(decoding: response.body.prefix(200), as: UTF8.self)
    let line = text.split(whereSeparator: \.isNewline).joined(separator: " ")
    return CredentialsError(
      "\(name): HTTP \(response.status) \(line)",
      isTransient: response.status >= 500 || response.status == 429)
  }

  /// Credentials as the container and instance services write them.
  func credentials(json: [UInt8], source: String) throws(CredentialsError) -> Credentials {
    struct Answer: Decodable {
      var AccessKeyId: String?
      var SecretAccessKey: String?
      var Token: String?
      var Expiration: String?
      var Code: String?
      var Message: String?
    }
    guard let answer = try? JSONDecoder().decode(Answer.self, from: Data(json)) else {
      throw CredentialsError("\(name): the answer is not JSON as documented", isTransient: true)
    }
    guard let key = answer.AccessKeyId, let secret = answer.SecretAccessKey else {
      let reason = [answer.Code, answer.Message].compactMap { $0 }.joined(separator: ": ")
      throw CredentialsError("\(name): no credentials in the answer \(reason)", isTransient: true)
    }
    return Credentials(
      accessKey: key, secretKey: secret, sessionToken: answer.Token,
      expiration: try expiration(answer.Expiration), source: source)
  }

  /// The time that `text` names. A time that cannot be read is an error: taken for "never", it
  /// would turn into refused requests hours later.
  func expiration(_ text: String?) throws(CredentialsError) -> Timestamp? {
    guard let text else { return nil }
    guard let time = CalendarTime.parse(rfc3339: text) else {
      throw CredentialsError("\(name): Expiration is no time: \(text)", isTransient: true)
    }
    return time
  }
}

/// The service beside a container (ECS, EKS pod identity).
/// Source: AWS SDKs and Tools Reference Guide, "Container credential provider".
struct ContainerCredentials: CredentialsSource {
  /// Where relative URIs are served.
  static let host = "http://169.254.170.2"

  var environment: [String: String]
  var client: HTTPClient

  func load() async throws(CredentialsError) -> CredentialsAnswer {
    guard let url = try Self.url(environment) else {
      return .absent("container: AWS_CONTAINER_CREDENTIALS_RELATIVE_URI is not set")
    }
    let service = CredentialsService(client: client, name: "container credentials")
    let headers = try Self.token(environment).map { [HTTPHeader("Authorization", $0)] } ?? []
    let body = try await service.body(.get, url, headers)
    return .found(try service.credentials(json: body, source: "the container service \(url)"))
  }

  /// The address to ask; nil if none is set up. The token goes in clear over plain http, so that is
  /// allowed to this machine and to the two addresses of AWS only.
  static func url(_ environment: [String: String]) throws(CredentialsError) -> String? {
    if let path = environment.nonEmpty("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") {
      return host + (path.hasPrefix("/") ? path : "/" + path)
    }
    guard let full = environment.nonEmpty("AWS_CONTAINER_CREDENTIALS_FULL_URI") else { return nil }
    // The URI may have a query, an endpoint has none.
    guard let endpoint = S3Endpoint(String(full.prefix { $0 != "?" })) else {
      throw CredentialsError("AWS_CONTAINER_CREDENTIALS_FULL_URI is no URL: \(full)")
    }
    let trusted = ["169.254.170.2", "169.254.170.23", "[fd00:ec2::23]", "localhost", "[::1]"]
    guard endpoint.isTLS || trusted.contains(endpoint.host) || endpoint.host.hasPrefix("127.")
    else {
      throw CredentialsError(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI: plain http is allowed to this machine only: \(full)")
    }
    return full
  }

  private static func token(_ environment: [String: String]) throws(CredentialsError) -> String? {
    guard let path = environment.nonEmpty("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") else {
      return environment.nonEmpty("AWS_CONTAINER_AUTHORIZATION_TOKEN")
    }
    guard let text = try TextFile.read(path) else {
      throw CredentialsError("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: no file \(path)")
    }
    return text.split(whereSeparator: \.isNewline).first.map(String.init)
  }
}

/// The metadata service of an EC2 instance, version 2 (a token first).
/// Source: AWS, "Use the Instance Metadata Service to access instance metadata".
struct InstanceMetadataCredentials: CredentialsSource {
  var environment: [String: String]
  var client: HTTPClient

  private static let path = "/latest/meta-data/iam/security-credentials/"

  func load() async throws(CredentialsError) -> CredentialsAnswer {
    guard environment["AWS_EC2_METADATA_DISABLED"]?.lowercased() != "true" else {
      return .absent("instance metadata: AWS_EC2_METADATA_DISABLED is true")
    }
    let base = try Self.base(environment)
    let service = CredentialsService(client: client, name: "instance metadata")
    let token: [UInt8]
    do throws(CredentialsError) {
      token = try await service.body(
        .put, "\(base)/latest/api/token",
        [HTTPHeader("X-aws-ec2-metadata-token-ttl-seconds", "21600")])
    } catch {
      // Away from EC2 there is nothing at that address.
      return .absent(error.detail)
    }
    let headers = [HTTPHeader("X-aws-ec2-metadata-token", String(decoding: token, as: UTF8.self))]
    let roles = try await service.answer(.get, base + Self.path, headers)
    if roles.status == 404 { return .absent("instance metadata: the instance has no role") }
    guard roles.status == 200 else { throw service.refusal(roles) }
    let names = String(decoding: roles.body, as: UTF8.self).split(whereSeparator: \.isNewline)
    guard let role = names.first else { return .absent("instance metadata: no role") }
    let body = try await service.body(.get, base + Self.path + role, headers)
    return .found(
      try service.credentials(json: body, source: "instance metadata (role \(role))"))
  }

  private static func base(_ environment: [String: String]) throws(CredentialsError) -> String {
    guard let named = environment.nonEmpty("AWS_EC2_METADATA_SERVICE_ENDPOINT") else {
      return environment["AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"]?.lowercased() == "ipv6"
        ? "http://[fd00:ec2::254]" : "http://169.254.169.254"
    }
    guard let endpoint = S3Endpoint(named) else {
      throw CredentialsError("AWS_EC2_METADATA_SERVICE_ENDPOINT is no URL: \(named)")
    }
    return endpoint.description
  }
}
