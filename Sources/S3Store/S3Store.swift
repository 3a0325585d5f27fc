import CurlKit
import RegionCore

/// Objects in a bucket of Amazon S3 or of anything that speaks its protocol.
///
/// Each call is one attempt (two where credentials had expired); retrying is the business of a
/// layer above. Thread-safe: all state is in the HTTP client and the credentials' provider.
public final class S3Store: ObjectStore {
  /// Longest listing that is read, in bytes: 1,000 keys of 1 KiB, encoded three to one, with what
  /// S3 says about each.
  static let listLimit = 8 << 20

  /// Where the store is.
  public let configuration: S3Configuration
  let client: HTTPClient
  let clock: any EngineClock
  private let provider: CredentialsProvider

  /// A store with the credentials that the environment, profiles and services have, in the order of
  /// the AWS SDKs. Makes no request. Throws if the HTTP client cannot be started.
  public convenience init(
    _ configuration: S3Configuration, http: HTTPConfiguration = HTTPConfiguration(),
    clock: any EngineClock = SystemClock()
  ) throws(S3ConfigurationError) {
    let client = try Self.client(configuration, http)
    let sources = Self.credentialsSources(configuration, client)
    self.init(configuration, client: client, provider: CredentialsProvider(sources), clock: clock)
  }

  /// A store with credentials of its own source, e.g. of a test.
  public convenience init(
    _ configuration: S3Configuration, credentials: any CredentialsSource,
    http: HTTPConfiguration = HTTPConfiguration(), clock: any EngineClock = SystemClock()
  ) throws(S3ConfigurationError) {
    let client = try Self.client(configuration, http)
    self.init(
      configuration, client: client, provider: CredentialsProvider([credentials]), clock: clock)
  }

  init(
    _ configuration: S3Configuration, client: HTTPClient, provider: CredentialsProvider,
    clock: any EngineClock
  ) {
    self.configuration = configuration
    self.client = client
    self.provider = provider
    self.clock = clock
  }

  private static func client(_ configuration: S3Configuration, _ http: HTTPConfiguration)
    throws(S3ConfigurationError) -> HTTPClient
  {
    var http = http
    http.caFile = configuration.caFile ?? http.caFile
    do throws(HTTPError) {
      return try HTTPClient(http)
    } catch {
      throw S3ConfigurationError("\(configuration.address): \(error)")
    }
  }

  /// The chain of the AWS SDKs. A profile named by option goes before the environment's keys.
  static func credentialsSources(_ configuration: S3Configuration, _ client: HTTPClient)
    -> [any CredentialsSource]
  {
    let environment = configuration.environment
    let keys = EnvironmentCredentials(environment: environment)
    return (configuration.profile == nil ? [keys] : []) + [
      WebIdentityCredentials(
        option: configuration.profile, environment: environment, region: configuration.region,
        client: client),
      ProfileCredentials(option: configuration.profile, environment: environment),
      ContainerCredentials(environment: environment, client: client),
      InstanceMetadataCredentials(environment: environment, client: client),
    ]
  }

  /// The address as users write it, e.g. `s3://bucket/prefix`.
  public var address: String { configuration.address }

  /// Counters of the transfers so far.
  public var statistics: HTTPStatistics { client.statistics }

  /// Ends everything under way with `.cancelled` and closes the connections.
  public func shutdown() { client.shutdown() }

  /// Reads an object, see `ObjectStore.get`.
  public func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    let call = Call("GET", key.text, in: self)
    let get = try ObjectGet(call: call, range: range, capacity: buffer.capacity)
    var request = CallRequest(.get, priority: priority)
    request.headers = get.headers
    // SAFETY: the capacity is at most the buffer's, which the request keeps alive.
    request.destination = unsafe .memory(buffer.base, capacity: get.capacity, owner: buffer)
    buffer.count = 0
    let response: HTTPResponse
    do throws(StoreError) {
      response = try await perform(call, request)
    } catch {
      throw get.judge(error)
    }
    let info = try get.check(response)
    buffer.count = response.byteCount
    if range == nil { try get.verifyChecksum(response, of: buffer) }
    return info
  }

  /// Writes an object, see `ObjectStore.put`. The server verifies the body's CRC32C.
  public func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    let call = Call("PUT", key.text, in: self)
    var request = CallRequest(.put, priority: priority)
    // SAFETY: the body keeps the buffer alive; the contract forbids changing it meanwhile.
    request.body = unsafe HTTPBody(body.bytes, owner: body)
    request.headers = [
      HTTPHeader("x-amz-checksum-crc32c", Base64.encode(unsafe CRC32C.checksum(body.bytes)))
    ]
    switch condition {
    case .none: break
    case .absent: request.headers.append(HTTPHeader("If-None-Match", "*"))
    case .matches(let etag): request.headers.append(HTTPHeader("If-Match", etag.text))
    }
    request.isConditional = condition != .none
    let response = try await perform(call, request)
    guard let etag = response.headers["etag"], !etag.isEmpty else {
      throw call.error(.damagedAnswer, "the answer has no ETag")
    }
    return ETag(etag)
  }

  /// Removes an object, see `ObjectStore.delete`.
  public func delete(_ key: ObjectKey) async throws(StoreError) {
    do throws(StoreError) {
      _ = try await perform(Call("DELETE", key.text, in: self), CallRequest(.delete))
    } catch {
      guard error.kind == .notFound else { throw error }
    }
  }

  /// Lists keys, see `ObjectStore.list`. ListObjectsV2.
  public func list(prefix: String, from token: String?, limit: Int) async throws(StoreError)
    -> ListPage
  {
    let call = Call("LIST", prefix, in: self)
    var request = CallRequest(.get)
    request.isOnBucket = true
    request.query = [
      ("list-type", "2"), ("max-keys", String(limit)), ("encoding-type", "url"),
      ("prefix", configuration.keyPrefix + prefix),
    ]
    if let token { request.query.append(("continuation-token", token)) }
    request.destination = .array(limit: Self.listLimit)
    let response = try await perform(call, request)
    do throws(XMLError) {
      let answer = try ListAnswer(parsing: response.body)
      return ListPage(
        keys: answer.objectKeys(below: configuration.keyPrefix), next: answer.next)
    } catch {
      throw call.error(.damagedAnswer, error.description)
    }
  }

  /// A URL with which anyone can read the object for `seconds` (1 ... 604,800) from now.
  public func presignedURL(_ key: ObjectKey, seconds: Int) async throws(StoreError) -> String {
    let call = Call("GET", key.text, in: self)
    let path = configuration.encodedPath(configuration.keyPrefix + key.text)
    let request = Signer.Request(
      method: "GET", host: configuration.host, encodedPath: path,
      payloadHash: Signer.unsignedPayload)
    let query = Signer(credentials: try await credentials(call), region: configuration.region)
      .presignedQuery(request, at: clock.wall, seconds: seconds)
    return "\(configuration.origin)\(path)?\(query)"
  }
}

// MARK: One request

extension S3Store {
  /// Runs a request and judges its status. New credentials are tried once where the store says
  /// that the ones used have expired.
  func perform(_ call: Call, _ request: CallRequest) async throws(StoreError) -> HTTPResponse {
    let used = try await credentials(call)
    switch try await attempt(call, request, used) {
    case .success(let response): return response
    case .failure(let meaning):
      guard meaning.credentialsExpired else { throw call.error(meaning) }
    }
    let renewed = try await credentials(call, replacing: used)
    return try await attempt(call, request, renewed).get(call)
  }

  private func attempt(_ call: Call, _ request: CallRequest, _ credentials: Credentials)
    async throws(StoreError) -> Attempt
  {
    let response: HTTPResponse
    do throws(HTTPError) {
      response = try await client.perform(signed(call, request, credentials))
    } catch {
      throw call.error(error)
    }
    guard response.status >= 300 else { return .success(response) }
    return .failure(
      ErrorMeaning(
        status: response.status, headers: response.headers, body: response.body,
        operation: call.operation, isConditional: request.isConditional,
        source: credentials.source, now: clock.wall))
  }

  private func signed(_ call: Call, _ request: CallRequest, _ credentials: Credentials)
    -> HTTPRequest
  {
    let path = configuration.encodedPath(
      request.isOnBucket ? "" : configuration.keyPrefix + call.name)
    let headers = Signer(credentials: credentials, region: configuration.region).sign(
      Signer.Request(
        method: request.method.rawValue, host: configuration.host, encodedPath: path,
        query: request.query, headers: request.headers, payloadHash: payloadHash(request.body)),
      at: clock.wall)
    let query = request.query.isEmpty ? "" : "?" + Signer.encodedQuery(request.query)
    var http = HTTPRequest(
      request.method, configuration.origin + path + query, headers: headers, body: request.body,
      destination: request.destination, priority: request.priority)
    // A body that went out is never sent twice (CurlKit sees to it); without a body, only a new
    // connection keeps libcurl from repeating a request whose answer was lost.
    http.freshConnection = request.isConditional && (request.body?.count ?? 0) == 0
    return http
  }

  /// Over TLS the body cannot be changed under way, and `x-amz-checksum-crc32c`, which is signed,
  /// covers it at the server: hashing it too would only cost time (docs/DEPENDENCIES.md).
  private func payloadHash(_ body: HTTPBody?) -> String {
    guard let body, body.count > 0 else { return Signer.emptyHash }
    guard !configuration.endpoint.isTLS else { return Signer.unsignedPayload }
    return Hashing.hex(unsafe Hashing.sha256(body.bytes))
  }

  func credentials(_ call: Call, replacing rejected: Credentials? = nil)
    async throws(StoreError) -> Credentials
  {
    do throws(CredentialsError) {
      if let rejected { return try await provider.replace(rejected) }
      return try await provider.credentials()
    } catch {
      throw call.error(error.isTransient ? .unavailable : .accessDenied, error.detail)
    }
  }
}

/// A request before it is signed.
struct CallRequest {
  var method: HTTPRequest.Method
  /// Asks the bucket rather than an object.
  var isOnBucket = false
  var query: [(name: String, value: String)] = []
  var headers: [HTTPHeader] = []
  var body: HTTPBody?
  var destination = HTTPDestination.array(limit: 64 << 10)
  var priority: HTTPPriority
  /// Whether a PUT has a condition.
  var isConditional = false

  init(_ method: HTTPRequest.Method, priority: TransferPriority = .demand) {
    self.method = method
    self.priority =
      switch priority {
      case .demand: .demand
      case .readAhead: .readAhead
      case .background: .background
      }
  }
}

/// What an attempt came to, other than not getting an answer at all.
enum Attempt {
  case success(HTTPResponse)
  case failure(ErrorMeaning)

  func get(_ call: Call) throws(StoreError) -> HTTPResponse {
    switch self {
    case .success(let response): return response
    case .failure(let meaning): throw call.error(meaning)
    }
  }
}
