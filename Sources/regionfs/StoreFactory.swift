import DirectoryStore
import RegionCore
import RegionOptions
import S3Store

/// The store stack of a mount: `Retrying(Hedging(Limited(Metered(Verifying(backend)))))`, hedging only
/// where requests end as soon as they are cancelled, limited only where options say so.
struct StoreStack {
  /// What the engine uses.
  let store: any ObjectStore
  /// Counts what goes to the backend.
  let meter: MeteredStore
  /// The backend with checks but without retries, for probing.
  let probe: any ObjectStore
  /// Whether the backend's conditional writes are known to be honoured.
  let isTrusted: Bool
  /// The backend where it is one of S3.
  let s3: S3Store?
  /// Whether it answers.
  let health = StoreHealth()

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
      s3 = nil
      isTrusted = true
    case .directory(let path):
      do throws(StoreError) {
        backend = try DirectoryStore(directory: path)
      } catch {
        throw StackError(StoreAdvice.line(for: error))
      }
      s3 = nil
      isTrusted = true
    case .s3:
      let store = try Self.openS3(configuration)
      (backend, s3) = (store, store)
      isTrusted = false
    }
    probe = VerifyingStore(backend)
    meter = MeteredStore(probe, health: health, onError: onError)
    // Below the fault timeout, so that a fault hears of the failure and not of a timeout of its own.
    let policy = RetryPolicy(
      attempts: 1000, base: .milliseconds(100), longestWait: .seconds(3),
      timeLimit: configuration.options.faultTimeout)
    store = RetryingStore(
      Self.paced(meter, configuration.options, hedging: s3 != nil), policy: policy)
  }

  private static func paced(
    _ meter: MeteredStore, _ options: MountOptions, hedging: Bool
  ) -> any ObjectStore {
    var store: any ObjectStore = meter
    if options.downloadLimitBytes != nil || options.uploadLimitBytes != nil {
      store = LimitedStore(
        store, download: options.downloadLimitBytes, upload: options.uploadLimitBytes)
    }
    return hedging ? HedgingStore(store) : store
  }

  private static func openS3(_ configuration: MountConfiguration) throws(StackError) -> S3Store {
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
  /// It may be different later without anyone doing anything.
  let isPassing: Bool
  init(_ description: String, isPassing: Bool = false) {
    self.description = description
    self.isPassing = isPassing
  }
}

/// What a person can do about a store's refusal.
enum StoreAdvice {
  /// The error with its remedy.
  static func line(for error: StoreError) -> String {
    guard let remedy = remedy(for: error.kind) else { return error.description }
    return "\(error.description). \(remedy)"
  }

  /// What to do; nil where that depends.
  static func remedy(for kind: StoreError.Kind) -> String? {
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
  /// Rounds that may end without an answer to the question: a busy store, a broken connection, an
  /// acknowledgement that was lost. Where one request in three fails, so do three rounds in four.
  private static let rounds = 48
  /// Rounds in a row in which not even the first request was answered: the store is down.
  private static let silentRounds = 12

  private enum Finding {
    case honoured, ignored
    /// Nothing was written; the error that is why, or none if the answer may have been lost.
    case silent(StoreError?)
    /// Nothing can be concluded; the error, if that is why.
    case unclear(StoreError?)
  }

  /// Throws if the store does not honour them, or cannot be asked.
  static func check(_ store: any ObjectStore, clock: any EngineClock) async throws(StackError) {
    var last: StoreError?
    var silence = 0
    for _ in 0..<rounds where silence < silentRounds {
      guard let key = ObjectKey("mounts/probe-\(Random128.random())") else {
        throw StackError("no name for the probe")
      }
      let finding = await ask(store, key)
      do throws(StoreError) { try await store.delete(key) } catch { last = error }
      switch finding {
      case .honoured: return
      case .ignored: throw StackError(refusal(store.address))
      case .silent(let error?) where !error.isRetryable,
        .unclear(let error?) where !error.isRetryable:
        throw StackError(StoreAdvice.line(for: error))
      case .silent(let error):
        silence += 1
        last = error ?? last
      case .unclear(let error):
        silence = 0
        last = error ?? last
      }
      // Silence waits longer each time, a store that answers is asked again soon.
      await clock.sleep(for: .milliseconds(50 << min(silence, 5)))
    }
    throw StackError(
      last.map { StoreAdvice.line(for: $0) }
        ?? "\(store.address) does not say whether it honours conditional writes; try again",
      isPassing: true)
  }

  private static func refusal(_ address: String) -> String {
    "\(address) does not honour conditional writes (If-None-Match, If-Match), so two writers could destroy each other's data. Mount it read-only (-o ro), use a store that does, or, if nobody else will ever write there, -o unsafe_no_cas"
  }

  private static func ask(_ store: any ObjectStore, _ key: ObjectKey) async -> Finding {
    let etag: ETag
    do throws(StoreError) {
      etag = try await store.put(key, body(), condition: .absent, priority: .demand)
    } catch {
      // A refusal can only be our own PUT's, whose answer was lost and which was sent again.
      let isRefusal = error.kind == .preconditionFailed || error.kind == .conflict
      return .silent(isRefusal ? nil : error)
    }
    async let first = attempt(store, key, .matches(etag))
    async let second = attempt(store, key, .matches(etag))
    async let third = attempt(store, key, .absent)
    let answers = await [first, second, third]
    // Two winners, or a name made twice: no error elsewhere changes what that means.
    if case (.success(true), .success(true)) = (answers[0], answers[1]) { return .ignored }
    if case .success(true) = answers[2] { return .ignored }
    for case .failure(let error) in answers { return .unclear(error) }
    let winners = answers.filter { (try? $0.get()) == true }
    return winners.count == 1 ? .honoured : .unclear(nil)
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
