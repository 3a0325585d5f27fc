import CurlKit

/// A token of another identity provider, exchanged at AWS STS (EKS service accounts and the like).
/// Source: AWS STS API reference, AssumeRoleWithWebIdentity.
struct WebIdentityCredentials: CredentialsSource {
  var option: String?
  var environment: [String: String]
  var region: String
  var client: HTTPClient

  func load() async throws(CredentialsError) -> CredentialsAnswer {
    guard let (tokenFile, role) = try settings() else {
      return .absent("web identity: AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN are not set")
    }
    // Read each time: whoever runs the pod replaces the file before it ends.
    guard let token = try TextFile.read(tokenFile) else {
      throw CredentialsError("web identity: no token file \(tokenFile)")
    }
    let service = CredentialsService(
      client: client, name: "STS", timeouts: HTTPTimeouts(), bypassProxy: false)
    let response = try await service.answer(
      .post, try endpoint() + "/",
      [HTTPHeader("Content-Type", "application/x-www-form-urlencoded")],
      body: Array(form(role: role, token: token).utf8))
    guard response.status == 200 else { throw Self.refusal(response, role: role) }
    return .found(try Self.credentials(response.body, role: role, service))
  }

  private func settings() throws(CredentialsError) -> (tokenFile: String, role: String)? {
    if let file = environment.nonEmpty("AWS_WEB_IDENTITY_TOKEN_FILE"),
      let role = environment.nonEmpty("AWS_ROLE_ARN"), option == nil
    {
      return (file, role)
    }
    let profile = try SharedProfile(option: option, environment: environment)
    guard let file = profile["web_identity_token_file"], let role = profile["role_arn"] else {
      return nil
    }
    return (file, role)
  }

  private func endpoint() throws(CredentialsError) -> String {
    guard let named = environment.nonEmpty("AWS_ENDPOINT_URL_STS") else {
      return "https://sts.\(region).\(S3Endpoint.domain(region))"
    }
    guard let endpoint = S3Endpoint(named) else {
      throw CredentialsError("AWS_ENDPOINT_URL_STS is no URL: \(named)")
    }
    return endpoint.description
  }

  private func form(role: String, token: String) -> String {
    let session = environment.nonEmpty("AWS_ROLE_SESSION_NAME") ?? "regionfs"
    let trimmed = token.split(whereSeparator: \.isWhitespace).joined()
    return Signer.encodedQuery([
      ("Action", "AssumeRoleWithWebIdentity"), ("Version", "2011-06-15"), ("RoleArn", role),
      ("RoleSessionName", session), ("WebIdentityToken", trimmed),
    ])
  }

  private static func refusal(_ response: HTTPResponse, role: String) -> CredentialsError {
    let answer = ErrorAnswer(response.body)
    return CredentialsError(
      "STS AssumeRoleWithWebIdentity for \(role): HTTP \(response.status) \(answer.words)",
      isTransient: response.status >= 500 || response.status == 429)
  }

  private static func credentials(_ body: [UInt8], role: String, _ service: CredentialsService)
    throws(CredentialsError) -> Credentials
  {
    let answer: XMLNode
    do throws(XMLError) {
      answer = try XMLNode(parsing: body)
    } catch {
      throw CredentialsError("STS: \(error)", isTransient: true)
    }
    guard let found = answer["AssumeRoleWithWebIdentityResult"]?["Credentials"],
      let key = found["AccessKeyId"]?.text, let secret = found["SecretAccessKey"]?.text
    else { throw CredentialsError("STS: no credentials in the answer", isTransient: true) }
    return Credentials(
      accessKey: key, secretKey: secret, sessionToken: found["SessionToken"]?.text,
      expiration: try service.expiration(found["Expiration"]?.text),
      source: "web identity (role \(role))")
  }
}
