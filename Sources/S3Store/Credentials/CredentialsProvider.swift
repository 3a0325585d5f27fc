import RegionCore

/// Keeps the credentials of the first source that has some, and renews them before they end.
///
/// However many requests wait, one renewal is under way at a time.
public actor CredentialsProvider {
  /// Renewal starts in the background this long before the end.
  static let renewalLead = Duration.seconds(300)
  /// Requests wait for the renewal from this long before the end: the request must still arrive.
  static let lastMoment = Duration.seconds(30)
  /// After a failed renewal in the background, the next one starts no earlier than this.
  static let pause = Duration.seconds(10)

  private let sources: [any CredentialsSource]
  private let clock: any EngineClock
  private var current: Credentials?
  private var renewal: Task<Result<Credentials, CredentialsError>, Never>?
  private var nextTry: MonotonicTime

  /// Asks `sources` in order.
  public init(_ sources: [any CredentialsSource], clock: any EngineClock = SystemClock()) {
    self.sources = sources
    self.clock = clock
    nextTry = clock.now
  }

  /// Credentials that are good for a request now. Throws where no source has any, or one fails.
  public func credentials() async throws(CredentialsError) -> Credentials {
    guard let known = current, !isOver(known, lead: Self.lastMoment) else {
      return try await waitForRenewal()
    }
    if isOver(known, lead: Self.renewalLead), renewal == nil, clock.now >= nextTry {
      nextTry = clock.now + Self.pause
      _ = startRenewal()
    }
    return known
  }

  /// New credentials after the store refused `rejected` as expired; the ones at hand if they are
  /// others by now.
  public func replace(_ rejected: Credentials) async throws(CredentialsError) -> Credentials {
    if let current, current != rejected { return current }
    return try await startRenewal().value.get()
  }

  private func isOver(_ credentials: Credentials, lead: Duration) -> Bool {
    guard let end = credentials.expiration else { return false }
    return clock.wall.nanoseconds + Int64(lead.wholeNanoseconds) >= end.nanoseconds
  }

  private func waitForRenewal() async throws(CredentialsError) -> Credentials {
    switch await startRenewal().value {
    case .success(let credentials): return credentials
    case .failure(let error):
      // Better the last seconds of the old ones than nothing.
      if let current, !isOver(current, lead: .zero) { return current }
      throw error
    }
  }

  private func startRenewal() -> Task<Result<Credentials, CredentialsError>, Never> {
    if let renewal { return renewal }
    let task = Task {
      let result = await Self.ask(sources)
      if case .success(let credentials) = result { current = credentials }
      renewal = nil
      return result
    }
    renewal = task
    return task
  }

  private static func ask(_ sources: [any CredentialsSource]) async -> Result<
    Credentials, CredentialsError
  > {
    var absent: [String] = []
    for source in sources {
      do throws(CredentialsError) {
        switch try await source.load() {
        case .found(let credentials): return .success(credentials)
        case .absent(let reason): absent.append(reason)
        }
      } catch {
        return .failure(error)
      }
    }
    let places = absent.joined(separator: "; ")
    return .failure(CredentialsError("no AWS credentials found (\(places))"))
  }
}
