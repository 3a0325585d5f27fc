import CurlKit
import Foundation
import RegionCore
import RegionTesting
import Synchronization
import Testing

@testable import S3Store

@Suite struct CredentialsTests {
  static let noMetadata = ["AWS_EC2_METADATA_DISABLED": "true"]

  /// What the chain finds in an environment without anything else of this machine.
  static func chain(_ environment: [String: String], profile: String? = nil) async throws
    -> Credentials
  {
    var configuration = try S3Configuration(url: "s3://bucket", environment: [:])
    configuration.environment = environment
    configuration.profile = profile
    let sources = S3Store.credentialsSources(configuration, try HTTPClient())
    return try await CredentialsProvider(sources).credentials()
  }

  static func failure(_ environment: [String: String], profile: String? = nil) async -> String {
    do {
      let found = try await chain(environment, profile: profile)
      return "found \(found)"
    } catch {
      return "\(error)"
    }
  }

  static func json(_ key: String, expiration: String = "2099-01-01T00:00:00Z") -> String {
    """
    {"Code": "Success", "AccessKeyId": "\(key)", "SecretAccessKey": "secret", "Token": "token",
     "Expiration": "\(expiration)"}
    """
  }

  @Test func environmentKeys() async throws {
    let all = [
      "AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S", "AWS_SESSION_TOKEN": "T",
    ]
    let found = try await Self.chain(all)
    #expect(found.accessKey == "K" && found.secretKey == "S" && found.sessionToken == "T")
    #expect(!"\(found)".contains("S") || !String(reflecting: found).contains("secretKey"))
    let half = await Self.failure(["AWS_ACCESS_KEY_ID": "K"])
    #expect(half.contains("AWS_SECRET_ACCESS_KEY"))
  }

  @Test func descriptionsNeverShowTheSecret() {
    let credentials = Credentials(
      accessKey: "KEY", secretKey: "hidden-secret", sessionToken: "hidden-token", source: "test")
    var dumped = ""
    dump(credentials.description, to: &dumped)
    for text in ["\(credentials)", String(reflecting: credentials), dumped] {
      #expect(text.contains("KEY") && !text.contains("hidden"))
    }
  }

  @Test func sharedFilesAndProfiles() async throws {
    let files = try TestFiles([
      ".aws/credentials": """
      [default]
      aws_access_key_id = default-key
      aws_secret_access_key = default-secret
      [work]
      aws_access_key_id = work-key
      aws_secret_access_key = work-secret
      aws_session_token = work-token
      """,
      ".aws/config": """
      [profile inconfig]
      aws_access_key_id = config-key
      aws_secret_access_key = config-secret
      [profile sso]
      sso_session = x
      [profile half]
      aws_access_key_id = half-key
      """,
    ])
    let home = ["HOME": files.path].merging(Self.noMetadata) { a, _ in a }
    func key(_ environment: [String: String], profile: String? = nil) async throws -> String {
      try await Self.chain(home.merging(environment) { _, b in b }, profile: profile).accessKey
    }
    #expect(try await key([:]) == "default-key")
    #expect(try await key(["AWS_PROFILE": "work"]) == "work-key")
    #expect(try await key(["AWS_PROFILE": "inconfig"]) == "config-key")
    let keys = ["AWS_ACCESS_KEY_ID": "K", "AWS_SECRET_ACCESS_KEY": "S"]
    #expect(try await key(keys) == "K")
    #expect(try await key(keys, profile: "work") == "work-key", "an option beats the environment")
    #expect(await Self.failure(home, profile: "sso").contains("sso_session"))
    #expect(await Self.failure(home, profile: "half").contains("aws_secret_access_key"))
    #expect(await Self.failure(home, profile: "absent").contains("no profile absent"))
    try files.write("other", "[default]\naws_access_key_id=o\naws_secret_access_key=s\n")
    #expect(try await key(["AWS_SHARED_CREDENTIALS_FILE": "\(files.path)/other"]) == "o")
    #expect(try await key(["AWS_SHARED_CREDENTIALS_FILE": "~/other"]) == "o")
    let directory = await Self.failure(
      home.merging(["AWS_SHARED_CREDENTIALS_FILE": files.path]) { _, b in b })
    #expect(directory.contains(files.path) && directory.contains("directory"))
  }

  @Test func withoutCredentialsTheErrorSaysWhereItLooked() async throws {
    let text = await Self.failure(["HOME": "/nonexistent"].merging(Self.noMetadata) { a, _ in a })
    for place in [
      "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "/nonexistent/.aws/credentials",
      "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_EC2_METADATA_DISABLED",
    ] {
      #expect(text.contains(place), "\(place): \(text)")
    }
  }

  @Test func containerService() async throws {
    let server = try ScriptedServer { request in
      request.headers["authorization"] == "Bearer x"
        ? .reply(200, [:], Self.json("container-key")) : .reply(403, [:], "who are you")
    }
    defer { server.stop() }
    let files = try TestFiles(["token": "Bearer x\n"])
    let url = ["AWS_CONTAINER_CREDENTIALS_FULL_URI": server.url + "/creds?a=1"]
    let byValue = try await Self.chain(
      url.merging(["AWS_CONTAINER_AUTHORIZATION_TOKEN": "Bearer x"]) { a, _ in a })
    #expect(byValue.accessKey == "container-key" && byValue.sessionToken == "token")
    #expect(byValue.expiration == CalendarTime.parse(rfc3339: "2099-01-01T00:00:00Z"))
    let byFile = try await Self.chain(
      url.merging(["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "\(files.path)/token"]) { a, _ in a })
    #expect(byFile.accessKey == "container-key")
    #expect(server.requests.allSatisfy { $0.target == "/creds?a=1" })
    #expect(await Self.failure(url).contains("HTTP 403 who are you"))
    #expect(
      try ContainerCredentials.url(["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/x"])
        == "http://169.254.170.2/v2/x")
    // The token must not go in clear to another machine.
    #expect(
      await Self.failure(["AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/x"])
        .contains("this machine only"))
  }

  @Test func answersThatAreNoCredentials() async throws {
    for body in [
      "", "{", "[]", "{\"Code\": \"Failed\", \"Message\": \"no role\"}",
      Self.json("k", expiration: "soon"),
    ] {
      let server = try ScriptedServer { _ in .reply(200, [:], body) }
      let text = await Self.failure(["AWS_CONTAINER_CREDENTIALS_FULL_URI": server.url])
      #expect(text.hasPrefix("container credentials: "), "\(body): \(text)")
      server.stop()
    }
  }

  @Test func instanceMetadata() async throws {
    let server = try ScriptedServer { request in
      if request.method == "PUT" {
        return request.target == "/latest/api/token"
          && request.headers["x-aws-ec2-metadata-token-ttl-seconds"] == "21600"
          ? .reply(200, [:], "session") : .reply(400, [:], "")
      }
      guard request.headers["x-aws-ec2-metadata-token"] == "session" else {
        return .reply(401, [:], "")
      }
      switch request.target {
      case "/latest/meta-data/iam/security-credentials/": return .reply(200, [:], "my-role\n")
      case "/latest/meta-data/iam/security-credentials/my-role":
        return .reply(200, [:], Self.json("instance-key"))
      default: return .reply(404, [:], "")
      }
    }
    defer { server.stop() }
    let found = try await Self.chain(["AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url + "/"])
    #expect(found.accessKey == "instance-key" && found.source.contains("my-role"))
    let nobody = await Self.failure(["AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"])
    #expect(nobody.hasPrefix("no AWS credentials found") && nobody.contains("127.0.0.1:1"))
  }

  @Test func webIdentity() async throws {
    let answer = """
      <AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
      <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>sts-key</AccessKeyId>
      <SecretAccessKey>s</SecretAccessKey><SessionToken>t+/=</SessionToken>
      <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
      </AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>
      """
    let server = try ScriptedServer { request in
      String(decoding: request.body, as: UTF8.self).contains("WebIdentityToken=good%2Btoken")
        ? .reply(200, [:], answer)
        : .reply(
          400, [:],
          "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>")
    }
    defer { server.stop() }
    let files = try TestFiles(["good": "good+token\n", "bad": "bad"])
    var environment = [
      "AWS_ROLE_ARN": "arn:aws:iam::1:role/r", "AWS_ENDPOINT_URL_STS": server.url,
      "AWS_WEB_IDENTITY_TOKEN_FILE": "\(files.path)/good",
    ]
    let found = try await Self.chain(environment)
    #expect(found.accessKey == "sts-key" && found.sessionToken == "t+/=")
    let request = try #require(server.requests.first)
    #expect(request.method == "POST")
    #expect(
      String(decoding: request.body, as: UTF8.self)
        == "Action=AssumeRoleWithWebIdentity&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr"
        + "&RoleSessionName=regionfs&Version=2011-06-15&WebIdentityToken=good%2Btoken")
    environment["AWS_WEB_IDENTITY_TOKEN_FILE"] = "\(files.path)/bad"
    #expect(await Self.failure(environment).contains("InvalidIdentityToken"))
    environment["AWS_WEB_IDENTITY_TOKEN_FILE"] = "\(files.path)/absent"
    #expect(await Self.failure(environment).contains("no token file"))
    try files.write(
      ".aws/config",
      "[profile wi]\nrole_arn = arn:x\nweb_identity_token_file = \(files.path)/good\n")
    let byProfile = try await Self.chain(
      ["HOME": files.path, "AWS_ENDPOINT_URL_STS": server.url, "AWS_PROFILE": "wi"])
    #expect(byProfile.accessKey == "sts-key")
  }
}

/// Renewal.
@Suite struct CredentialsProviderTests {
  /// Hands out key-1, key-2, … each good for `lifetime`, or fails.
  final class Source: CredentialsSource {
    let clock: ManualClock
    let lifetime: Duration
    let count = Atomic<Int>(0)
    let isFailing = Atomic<Bool>(false)

    init(_ clock: ManualClock, lifetime: Duration) {
      self.clock = clock
      self.lifetime = lifetime
    }

    func load() async throws(CredentialsError) -> CredentialsAnswer {
      let number = count.wrappingAdd(1, ordering: .relaxed).newValue
      for _ in 0..<20 { await Task.yield() }
      if isFailing.load(ordering: .relaxed) {
        throw CredentialsError("the source is down", isTransient: true)
      }
      let end = clock.wall.nanoseconds + Int64(lifetime.wholeNanoseconds)
      return .found(
        Credentials(
          accessKey: "key-\(number)", secretKey: "s", expiration: Timestamp(nanoseconds: end),
          source: "test"))
    }

    var loads: Int { count.load(ordering: .relaxed) }
  }

  @Test func manyRequestsCauseOneLoad() async throws {
    let clock = ManualClock()
    let source = Source(clock, lifetime: .seconds(3600))
    let provider = CredentialsProvider([source], clock: clock)
    let keys = try await withThrowingTaskGroup(of: String.self) { group in
      for _ in 0..<50 { group.addTask { try await provider.credentials().accessKey } }
      return try await group.reduce(into: Set<String>()) { $0.insert($1) }
    }
    #expect(keys == ["key-1"] && source.loads == 1)
  }

  @Test func renewalStartsBeforeTheEndAndNobodyWaitsForIt() async throws {
    let clock = ManualClock()
    let source = Source(clock, lifetime: .seconds(3600))
    let provider = CredentialsProvider([source], clock: clock)
    #expect(try await provider.credentials().accessKey == "key-1")
    clock.advance(by: .seconds(3290))
    #expect(try await provider.credentials().accessKey == "key-1")
    #expect(source.loads == 1)
    clock.advance(by: .seconds(20))
    #expect(try await provider.credentials().accessKey == "key-1")
    try await eventually("the credentials are loaded again") { source.loads >= 2 }
    try await eventually("the new credentials are given") {
      try await provider.credentials().accessKey != "key-1"
    }
    #expect(try await provider.credentials().accessKey == "key-2" && source.loads == 2)
  }

  @Test func aFailedRenewalKeepsTheOldOnesUntilTheirEnd() async throws {
    let clock = ManualClock()
    let source = Source(clock, lifetime: .seconds(3600))
    let provider = CredentialsProvider([source], clock: clock)
    _ = try await provider.credentials()
    source.isFailing.store(true, ordering: .relaxed)
    clock.advance(by: .seconds(3590))
    #expect(try await provider.credentials().accessKey == "key-1")
    clock.advance(by: .seconds(20))
    await #expect(throws: CredentialsError("the source is down", isTransient: true)) {
      try await provider.credentials()
    }
    source.isFailing.store(false, ordering: .relaxed)
    #expect(try await provider.credentials().accessKey == "key-\(source.loads)")
  }

  @Test func rejectedCredentialsAreReplacedOnce() async throws {
    let clock = ManualClock()
    let source = Source(clock, lifetime: .seconds(3600))
    let provider = CredentialsProvider([source], clock: clock)
    let old = try await provider.credentials()
    #expect(try await provider.replace(old).accessKey == "key-2")
    // Others come later with the same complaint.
    #expect(try await provider.replace(old).accessKey == "key-2")
    #expect(source.loads == 2)
  }
}
