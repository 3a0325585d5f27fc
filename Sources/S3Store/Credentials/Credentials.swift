import CurlKit
import RegionCore

/// What a request is signed with. Its description names the source and never the secret.
public struct Credentials: Sendable, Equatable, CustomStringConvertible,
  CustomDebugStringConvertible
{
  /// Public half of the key.
  public var accessKey: String
  /// Secret half of the key.
  public var secretKey: String
  /// Token of temporary credentials.
  public var sessionToken: String?
  /// When they stop being accepted; nil if never.
  public var expiration: Timestamp?
  /// Where they come from, in words for messages.
  public var source: String

  /// Credentials of a source.
  public init(
    accessKey: String, secretKey: String, sessionToken: String? = nil,
    expiration: Timestamp? = nil, source: String
  ) {
    self.accessKey = accessKey
    self.secretKey = secretKey
    self.sessionToken = sessionToken
    self.expiration = expiration
    self.source = source
  }

  /// The access key and the source.
  public var description: String { "access key \(accessKey) from \(source)" }
  /// The same as `description`, so that no dump shows the secret.
  public var debugDescription: String { description }
}

/// Why there are no credentials.
public struct CredentialsError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The cause, naming the source and the remedy.
  public var detail: String
  /// Whether asking again later may help (a service that does not answer).
  public var isTransient: Bool

  /// An error.
  public init(_ detail: String, isTransient: Bool = false) {
    self.detail = detail
    self.isTransient = isTransient
  }

  /// The same as `detail`.
  public var description: String { detail }
}

/// What a source of credentials has to say.
public enum CredentialsAnswer: Sendable, Equatable {
  /// It has some.
  case found(Credentials)
  /// It is not set up here; the text says what is missing.
  case absent(String)
}

/// One place where credentials may come from.
public protocol CredentialsSource: Sendable {
  /// Looks for credentials. Throws where the source is set up and does not work: going on to the
  /// next one would sign as somebody else.
  func load() async throws(CredentialsError) -> CredentialsAnswer
}

/// Always the same credentials, e.g. of a test.
public struct StaticCredentials: CredentialsSource {
  /// The credentials.
  public var credentials: Credentials

  /// Always these.
  public init(_ credentials: Credentials) { self.credentials = credentials }

  /// The credentials.
  public func load() async throws(CredentialsError) -> CredentialsAnswer { .found(credentials) }
}

/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
struct EnvironmentCredentials: CredentialsSource {
  var environment: [String: String]

  func load() async throws(CredentialsError) -> CredentialsAnswer {
    guard let key = environment.nonEmpty("AWS_ACCESS_KEY_ID") else {
      return .absent("environment: AWS_ACCESS_KEY_ID is not set")
    }
    guard let secret = environment.nonEmpty("AWS_SECRET_ACCESS_KEY") else {
      throw CredentialsError("AWS_ACCESS_KEY_ID is set but AWS_SECRET_ACCESS_KEY is not")
    }
    return .found(
      Credentials(
        accessKey: key, secretKey: secret, sessionToken: environment.nonEmpty("AWS_SESSION_TOKEN"),
        source: "the environment (AWS_ACCESS_KEY_ID)"))
  }
}

extension [String: String] {
  /// The value, unless it is missing or empty: an empty variable means "not set" to the AWS SDKs.
  func nonEmpty(_ name: String) -> String? {
    guard let value = self[name], !value.isEmpty else { return nil }
    return value
  }
}
