import DirectoryStore
import RegionCore
import RegionOptions
import S3Store

/// The store stack of a mount: `Metered(Retrying(Verifying(backend)))`.
struct StoreStack {
  /// What the engine uses.
  let store: any ObjectStore
  /// Counts what goes to the backend.
  let meter: MeteredStore
  /// The backend with checks but without retries, for probing.
  let probe: any ObjectStore
  /// Whether the backend's conditional writes are known to be honoured.
  let isTrusted: Bool

  /// Opens the backend that an address names.
  ///
  /// - Throws: `StackError`, a line for the user.
  init(
    _ configuration: MountConfiguration, onError: @escaping @Sendable (StoreError) -> Void
  ) throws(StackError) {
    let backend: any ObjectStore
    switch configuration.store {
    case .memory:
      backend = MemoryStore()
      isTrusted = true
    case .directory(let path):
      do throws(StoreError) {
        backend = try DirectoryStore(directory: path)
      } catch {
        throw StackError(StoreAdvice.line(for: error))
      }
      isTrusted = true
    case .s3:
      backend = try Self.s3(configuration)
      isTrusted = false
    }
    probe = VerifyingStore(backend)
    meter = MeteredStore(probe, onError: onError)
    // Below the fault timeout, so that a fault hears of the failure and not of a timeout of its own.
    let policy = RetryPolicy(
      attempts: 1000, base: .milliseconds(100), longestWait: .seconds(3),
      timeLimit: configuration.options.faultTimeout)
    store = RetryingStore(meter, policy: policy)
  }

  private static func s3(_ configuration: MountConfiguration) throws(StackError) -> S3Store {
    let options = configuration.options
    do throws(S3ConfigurationError) {
      return try S3Store(
        S3Configuration(
          url: configuration.store.description,
          options: S3Options(
            endpoint: options.endpoint, region: options.region, profile: options.profile,
            pathStyle: options.pathStyle ? true : nil, caFile: options.certificateAuthorities)))
    } catch {
      throw StackError(error.description)
    }
  }
}

/// Why a store cannot be used, in one line for the user.
struct StackError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

/// What a person can do about a store's refusal.
enum StoreAdvice {
  /// The error with its remedy.
  static func line(for error: StoreError) -> String {
    guard let remedy = remedy(for: error.kind) else { return error.description }
    return "\(error.description). \(remedy)"
  }

  private static func remedy(for kind: StoreError.Kind) -> String? {
    switch kind {
    case .noSuchContainer: "Create the bucket or directory first, or correct its name"
    case .accessDenied:
      "Check the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE, profile=) and what they are allowed to do"
    case .clockSkew: "Set this host's clock (timedatectl set-ntp true)"
    case .unavailable, .throttled, .damagedAnswer:
      "Check endpoint= and the network, or try again when the store answers"
    case .outOfSpace: "Make room in the store"
    case .io: "Check the disk and the permissions"
    default: nil
    }
  }
}

/// Whether a store honours conditional writes: asked by racing two of them.
enum ConditionalWriteProbe {
  /// Throws if the store does not (or cannot be asked).
  static func check(_ store: any ObjectStore) async throws(StackError) {
    guard let key = ObjectKey("mounts/probe-\(Random128.random())") else {
      throw StackError("no name for the probe")
    }
    do throws(StoreError) {
      let works = try await isHonoured(store, key)
      try await store.delete(key)
      guard works else {
        throw StoreError(.unsupported, operation: "PUT", object: store.address, detail: "")
      }
    } catch {
      guard error.kind == .unsupported else { throw StackError(StoreAdvice.line(for: error)) }
      throw StackError(
        "\(store.address) does not honour conditional writes (If-None-Match, If-Match), so two writers could destroy each other's data. Mount it read-only (-o ro), use a store that does, or, if nobody else will ever write there, -o unsafe_no_cas"
      )
    }
  }

  private static func isHonoured(_ store: any ObjectStore, _ key: ObjectKey)
    async throws(StoreError)
    -> Bool
  {
    let etag = try await store.put(key, body(), condition: .absent, priority: .demand)
    async let first = attempt(store, key, .matches(etag))
    async let second = attempt(store, key, .matches(etag))
    async let third = attempt(store, key, .absent)
    let results = try await (first.get(), second.get(), third.get())
    return results.0 != results.1 && !results.2
  }

  /// Whether the PUT was done; refusals are answers, other errors are errors.
  private static func attempt(
    _ store: any ObjectStore, _ key: ObjectKey, _ condition: PutCondition
  ) async -> Result<Bool, StoreError> {
    do throws(StoreError) {
      _ = try await store.put(key, body(), condition: condition, priority: .demand)
      return .success(true)
    } catch {
      switch error.kind {
      case .preconditionFailed, .conflict: return .success(false)
      default: return .failure(error)
      }
    }
  }

  /// Bytes that no other PUT has.
  private static func body() -> IOBuffer {
    IOBuffer(Array("regionfs-probe \(Random128.random())\n".utf8))
  }
}
