import Glibc
import RegionControl
import RegionCore
import RegionOptions
import S3Store

/// What `regionfs doctor` looks at in a store.
struct StoreChecks: Sendable {
  let stack: StoreStack
  let mayWrite: Bool
  let options: MountOptions

  /// In the order of the output.
  enum Step: CaseIterable {
    case credentials, reachable, clock, conditionalWrites, latency, throughput
  }

  func run(_ step: Step) async -> Diagnosis {
    switch step {
    case .credentials: await credentials()
    case .reachable: await reachable()
    case .clock: await clock()
    case .conditionalWrites: await conditionalWrites()
    case .latency: await latency()
    case .throughput: await throughput()
    }
  }

  private func failure(_ check: String, _ error: StoreError) -> Diagnosis {
    .failure(
      check, error.description,
      StoreAdvice.remedy(for: error.kind) ?? "Look at the store's own log")
  }

  private func credentials() async -> Diagnosis {
    let name = "credentials"
    guard let s3 = stack.s3 else { return .skipped(name, "a directory needs none") }
    do throws(StoreError) {
      return .good(name, try await s3.credentialsDescription())
    } catch {
      return .failure(
        name, error.detail,
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile (-o profile=NAME)")
    }
  }

  private func reachable() async -> Diagnosis {
    let name = "reachable"
    let start = SystemClock().now
    do throws(StoreError) {
      _ = try await stack.store.list(prefix: GroupNames.prefix, from: nil, limit: 1)
      let time = SystemClock().now.since(start).secondsValue
      return .good(name, "it answers a listing in \(HumanText.seconds(time))")
    } catch {
      return failure(name, error)
    }
  }

  /// Signatures are refused from 15 minutes on; clocks also tell when removed groups may go.
  private static let clockLimit: Double = 300

  private func clock() async -> Diagnosis {
    let name = "clock"
    guard let s3 = stack.s3 else { return .skipped(name, "a directory has this host's") }
    do throws(StoreError) {
      guard let server = try await s3.serverTime() else {
        return .skipped(name, "the server does not say what time it has")
      }
      let skew = SystemClock().wall.unixSeconds - server.unixSeconds
      // The header has whole seconds.
      let ahead = skew < 0 ? "behind" : "ahead of"
      let text = "this host is \(HumanText.seconds(abs(skew))) \(ahead) the server"
      if abs(skew) < 2 { return .good(name, "this host and the server agree within 2s") }
      let remedy = StoreAdvice.remedy(for: .clockSkew) ?? ""
      return abs(skew) > Self.clockLimit
        ? .failure(name, text, remedy) : .warning(name, text, remedy)
    } catch {
      return failure(name, error)
    }
  }

  private func conditionalWrites() async -> Diagnosis {
    let name = "conditional writes"
    guard mayWrite else { return .skipped(name, "--read-only") }
    do throws(ConditionalWriteProbe.Failure) {
      try await ConditionalWriteProbe.check(stack.probe, clock: SystemClock())
      return .good(name, "of racing writers exactly one wins")
    } catch {
      return .failure(
        name, StackError(error, of: stack.probe).description,
        "Mounts are read-only until that is solved")
    }
  }

  // MARK: Speed

  private static let latencyRounds = 20
  private static let smallObject = 4096
  private static let largeObject = 8 << 20
  private static let largeObjects = 8

  private func key() -> ObjectKey? { ObjectKey("mounts/probe-\(Random128.random())") }

  private static func body(_ count: Int) -> IOBuffer {
    var generator = SystemRandomNumberGenerator()
    // Random once, then repeated: what compresses would measure too much.
    let block = (0..<8192).map { _ in UInt8.random(in: 0...255, using: &generator) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(count)
    while bytes.count < count { bytes += block.prefix(count - bytes.count) }
    return IOBuffer(bytes)
  }

  private func latency() async -> Diagnosis {
    let name = "latency"
    guard mayWrite else { return .skipped(name, "--read-only") }
    guard let key = key() else { return .skipped(name, "no name for the probe") }
    var puts: [Double] = []
    var gets: [Double] = []
    let result = await storing { () async throws(StoreError) in
      for _ in 0..<Self.latencyRounds {
        let body = Self.body(Self.smallObject)
        puts.append(
          try await timed { () async throws(StoreError) in
            _ = try await stack.probe.put(key, body, condition: .none, priority: .demand)
          })
        gets.append(
          try await timed { () async throws(StoreError) in
            let buffer = IOBuffer(capacity: Self.smallObject)
            _ = try await stack.probe.get(key, range: nil, into: buffer, priority: .demand)
          })
      }
    }
    await remove([key])
    if case .failure(let error) = result { return failure(name, error) }
    let text =
      "4 KiB: GET \(Self.percentiles(gets)), PUT \(Self.percentiles(puts)) (p50, p99)"
    let slow = 0.2
    if Self.percentile(gets, 0.5) > slow {
      return .warning(
        name, text,
        "Every fault of a page that is not here waits so long: use a nearer region or endpoint, or "
          + "pull=full")
    }
    return .good(name, text)
  }

  private func throughput() async -> Diagnosis {
    let name = "throughput"
    guard mayWrite else { return .skipped(name, "--read-only") }
    let keys = (0..<Self.largeObjects).compactMap { _ in key() }
    let body = Self.body(Self.largeObject)
    let bytes = Double(Self.largeObject * keys.count)
    var up = 0.0
    var down = 0.0
    let result = await storing { () async throws(StoreError) in
      up = try await timed { () async throws(StoreError) in
        try await all(keys) { key in
          await storing { () async throws(StoreError) in
            _ = try await stack.probe.put(key, body, condition: .none, priority: .demand)
          }
        }
      }
      down = try await timed { () async throws(StoreError) in
        try await all(keys) { key in
          await storing { () async throws(StoreError) in
            let buffer = IOBuffer(capacity: Self.largeObject)
            _ = try await stack.probe.get(key, range: nil, into: buffer, priority: .demand)
          }
        }
      }
    }
    await remove(keys)
    if case .failure(let error) = result { return failure(name, error) }
    return .good(
      name,
      "\(keys.count) × 8 MiB at a time: \(HumanText.rate(bytesPerSecond: bytes / down)) down, "
        + "\(HumanText.rate(bytesPerSecond: bytes / up)) up")
  }

  private func all(
    _ keys: [ObjectKey], _ body: @escaping @Sendable (ObjectKey) async -> Result<Void, StoreError>
  ) async throws(StoreError) {
    for result in await mapConcurrently(keys, width: keys.count, body) { try result.get() }
  }

  /// What cannot be removed is small, and gone for regionfs.
  private func remove(_ keys: [ObjectKey]) async {
    for key in keys { try? await stack.store.delete(key) }
  }

  private static func percentile(_ times: [Double], _ part: Double) -> Double {
    let sorted = times.sorted()
    guard let last = sorted.indices.last else { return 0 }
    return sorted[min(last, Int(Double(sorted.count) * part))]
  }

  private static func percentiles(_ times: [Double]) -> String {
    "\(milliseconds(percentile(times, 0.5))) \(milliseconds(percentile(times, 0.99)))"
  }

  /// A store in the same rack answers within one.
  private static func milliseconds(_ time: Double) -> String {
    time < 0.01 ? "\((time * 10_000).rounded() / 10)ms" : HumanText.seconds(time)
  }
}

/// How long a body takes, in seconds.
private func timed(_ body: () async throws(StoreError) -> Void) async throws(StoreError) -> Double {
  let start = SystemClock().now
  try await body()
  return max(SystemClock().now.since(start).secondsValue, 1e-9)
}

/// A body's end as a value.
private func storing(
  _ body: () async throws(StoreError) -> Void
) async -> Result<Void, StoreError> {
  do throws(StoreError) { return .success(try await body()) } catch { return .failure(error) }
}
