import DirectoryStore
import RegionCore
import RegionOptions
import S3Store

/// The store stack of a mount: `EarlyReads(Retrying(Hedging(Limited(Metered(Verifying(backend))))))`,
/// hedging and reading early only where requests take round trips and end as soon as they are cancelled,
/// limited only where options say so.
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
  /// Reads before anyone asks; nil where asking costs no round trip.
  let early: EarlyReads?
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
    let paced = Self.paced(meter, configuration.options, hedging: s3 != nil)
    let retrying = RetryingStore(paced, policy: policy)
    early = s3 == nil ? nil : EarlyReads(retrying, from: paced)
    store = early ?? retrying
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

  /// What the check of `store`'s conditional writes said.
  init(_ failure: ConditionalWriteProbe.Failure, of store: any ObjectStore) {
    switch failure {
    case .ignored:
      self.init(
        "\(store.address) does not honour conditional writes (If-None-Match, If-Match), so two writers could destroy each other's data. Mount it read-only (-o ro), use a store that does, or, if nobody else will ever write there, -o unsafe_no_cas"
      )
    case .refused(let error): self.init(StoreAdvice.line(for: error))
    case .undecided(let error):
      self.init(
        error.map { StoreAdvice.line(for: $0) }
          ?? "\(store.address) does not say whether it honours conditional writes; try again",
        isPassing: true)
    }
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
