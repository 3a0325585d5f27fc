/// One profile of the shared files, as far as it is used here.
struct SharedProfile: Equatable, Sendable {
  /// The profile's name.
  var name: String
  /// Properties of the `config` file; nil if there is no such section.
  var config: [String: String]?
  /// Properties of the `credentials` file; nil if there is no such section.
  var credentials: [String: String]?
  /// Where the files were looked for.
  var configPath: String?
  /// Where the files were looked for.
  var credentialsPath: String?

  /// Reads the profile that `option`, `AWS_PROFILE` or `AWS_DEFAULT_PROFILE` names, or `default`.
  /// A file that is not there is an empty one; one that cannot be read is an error.
  init(option: String?, environment: [String: String]) throws(CredentialsError) {
    name =
      option ?? environment.nonEmpty("AWS_PROFILE") ?? environment.nonEmpty("AWS_DEFAULT_PROFILE")
      ?? "default"
    let home = environment.nonEmpty("HOME")
    configPath = Self.path(
      environment.nonEmpty("AWS_CONFIG_FILE"), standard: ".aws/config", home: home)
    credentialsPath = Self.path(
      environment.nonEmpty("AWS_SHARED_CREDENTIALS_FILE"), standard: ".aws/credentials", home: home)
    config = try Self.profile(name, in: configPath, .config)
    credentials = try Self.profile(name, in: credentialsPath, .credentials)
  }

  private static func path(_ named: String?, standard: String, home: String?) -> String? {
    guard let named else { return home.map { "\($0)/\(standard)" } }
    guard named.hasPrefix("~/"), let home else { return named }
    return home + named.dropFirst()
  }

  private static func profile(_ name: String, in path: String?, _ kind: ProfileFile.Kind)
    throws(CredentialsError) -> [String: String]?
  {
    guard let path, let text = try TextFile.read(path) else { return nil }
    return ProfileFile(text, kind: kind).profiles[name]
  }

  /// A property; the `credentials` file wins.
  subscript(property: String) -> String? {
    credentials?.nonEmpty(property) ?? config?.nonEmpty(property)
  }

  /// Whether either file has the profile.
  var exists: Bool { config != nil || credentials != nil }

  var places: String {
    [credentialsPath, configPath].compactMap { $0 }.joined(separator: " and ")
  }
}

/// Keys written in the shared files.
struct ProfileCredentials: CredentialsSource {
  var option: String?
  var environment: [String: String]

  func load() async throws(CredentialsError) -> CredentialsAnswer {
    // Read again at each renewal: other programs rotate these files.
    let profile = try SharedProfile(option: option, environment: environment)
    if let key = profile["aws_access_key_id"] {
      return .found(try Self.keys(key, of: profile))
    }
    for property in ["credential_process", "sso_session", "sso_start_url", "role_arn"]
    where profile[property] != nil {
      throw CredentialsError(
        "profile \(profile.name) uses \(property), which is not supported: give it "
          + "aws_access_key_id and aws_secret_access_key, or set them in the environment")
    }
    guard profile.exists || profile.name == "default" else {
      throw CredentialsError("no profile \(profile.name) in \(profile.places)")
    }
    return .absent("profile \(profile.name): no aws_access_key_id in \(profile.places)")
  }

  private static func keys(_ key: String, of profile: SharedProfile) throws(CredentialsError)
    -> Credentials
  {
    guard let secret = profile["aws_secret_access_key"] else {
      throw CredentialsError(
        "profile \(profile.name) has aws_access_key_id but no aws_secret_access_key")
    }
    return Credentials(
      accessKey: key, secretKey: secret, sessionToken: profile["aws_session_token"],
      source: "profile \(profile.name)")
  }
}
