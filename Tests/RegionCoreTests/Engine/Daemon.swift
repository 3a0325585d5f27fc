import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// A clock that runs faster than the world's, so that backoffs and delays cost little.
final class QuickClock: EngineClock {
  private let speed: Int
  private let system = SystemClock()
  private let start: MonotonicTime
  private let wallStart: Timestamp

  init(speed: Int = 100) {
    self.speed = speed
    start = system.now
    wallStart = system.wall
  }

  var now: MonotonicTime { start + system.now.since(start) * speed }
  var wall: Timestamp {
    Timestamp(nanoseconds: wallStart.nanoseconds + Int64(now.since(start).wholeNanoseconds))
  }
  func sleep(for duration: Duration) async { await system.sleep(for: duration / speed) }
}

/// What a test does not expect to happen.
struct Unexpected: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// What a daemon runs in: threads, time, disk and chance, which a test may all have in its hands.
struct Surroundings: Sendable {
  var executor: any TaskExecutor = Daemon.executor
  var clock: any EngineClock = QuickClock()
  var disk: any LocalDisk = HostDisk()
  var generator: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()
}

/// One life of a daemon: its own way to a store that may outlive it, over a cache directory that
/// may, too. Nothing is pushed by age, and no claim released, unless `settings` says so.
final class Daemon: Sendable {
  /// Threads of all tests' engines: an executor has no end.
  static let executor = EngineExecutor(threads: 4)
  static let boot = Random128(high: 1, low: 1)

  let faults: FaultStore
  let meter: MeteredStore
  let engine: EngineContext
  let cache: String
  let boot: Random128
  let lines: Lock<[String]>
  let down = Lock(false)

  convenience init(
    _ store: any ObjectStore, cache: String, writer: WriterID, boot: Random128 = Daemon.boot,
    seed: UInt64 = 1, clock: any EngineClock = QuickClock(),
    _ change: (inout EngineSettings) -> Void = { _ in }
  ) {
    self.init(
      store, cache: cache, writer: writer, boot: boot, seed: seed, Surroundings(clock: clock),
      change)
  }

  init(
    _ store: any ObjectStore, cache: String, writer: WriterID, boot: Random128, seed: UInt64,
    _ surroundings: Surroundings, _ change: (inout EngineSettings) -> Void = { _ in }
  ) {
    var settings = EngineSettings()
    settings.geometry = Geometry(chunkSize: 1 << 16) ?? .standard
    settings.pushInterval = .seconds(1_000_000)
    settings.releaseDelay = .seconds(1_000_000)
    settings.pull = .lazy
    settings.holder = "test"
    // What a mount shows when it runs out of patience is another test's affair.
    settings.patience = .zero
    change(&settings)
    let clock = surroundings.clock
    faults = FaultStore(store, seed: seed, clock: clock)
    let policy = RetryPolicy(
      attempts: 4, base: .milliseconds(10), longestWait: .milliseconds(100),
      timeLimit: .seconds(60))
    meter = MeteredStore(
      RetryingStore(
        VerifyingStore(faults), clock: clock, generator: surroundings.generator, policy: policy))
    self.cache = cache
    self.boot = boot
    let lines = Lock<[String]>([])
    self.lines = lines
    engine = EngineContext(
      executor: surroundings.executor, clock: clock, store: meter, disk: surroundings.disk,
      settings: settings, writer: writer, generator: surroundings.generator
    ) { level, line in lines.withLock { $0.append("\(level): \(line)") } }
  }

  func create(_ kind: InodeKind = .directory) async throws -> Group {
    try await Group.create(
      engine, cacheDirectory: cache, bootID: boot, kind: kind, mode: 0o700, uid: 1, gid: 1)
  }

  func load(_ id: GroupID) async throws -> Group {
    try await Group.load(id, engine, cacheDirectory: cache, bootID: boot, kind: .directory)
  }

  /// Kills the daemon: what it had under way at the store has happened or not, and nothing follows.
  func crash(_ group: Group) async {
    faults.removeRules()
    faults.add(FaultStore.Rule(.failBefore(.accessDenied)))
    faults.release()
    group.crash()
    let counts = { self.meter.snapshot() }
    while true {
      let now = counts()
      if now.get.inFlight + now.put.inFlight + now.delete.inFlight == 0 { break }
      await engine.clock.sleep(for: .milliseconds(1))
    }
  }

  /// Downloads of segments so far.
  var segmentReads: Int {
    faults.requests.count { $0.operation == .get && $0.key.contains("/seg/") }
  }

  /// The chunks of which the kernel is told from now on, as by a mount that prefills.
  func chunksToldToTheKernel() -> Lock<Set<Int>> {
    let told = Lock(Set<Int>())
    engine.prefill.withLock {
      $0 = { region, bytes in
        let chunks = region.geometry.chunks(touching: bytes)
        told.withLock { $0.formUnion(chunks.map(Int.init)) }
      }
    }
    return told
  }
}

extension Group {
  /// `sync`, awaited.
  func synced() async throws(RegionError) {
    let error = await withCheckedContinuation { continuation in
      sync { continuation.resume(returning: $0) }
    }
    if let error { throw error }
  }

  /// `commit`, awaited.
  func committed() async throws(RegionError) {
    let error = await withCheckedContinuation { continuation in
      commit { continuation.resume(returning: $0) }
    }
    if let error { throw error }
  }

  /// Makes a file in the group's top.
  @discardableResult
  func make(_ name: String) throws -> FileID {
    let name = try #require(FileName(name))
    return try edit { (names, now) throws(RegionError) in
      let made = try names.make(
        .file, name: name, in: Namespace.top, mode: 0o600, uid: 1, gid: 1, at: now)
      return (made.inode.id, made.changes)
    }
  }

  /// Removes a file from the group's top.
  func unlink(_ name: String) throws {
    let name = try #require(FileName(name))
    try edit { (names, now) throws(RegionError) in
      ((), try names.remove(name, in: Namespace.top, directory: false, at: now).changes)
    }
  }

  /// Renames within the group's top.
  func move(_ name: String, _ other: String, exchanging: Bool = false) throws {
    let name = try #require(FileName(name))
    let other = try #require(FileName(other))
    try edit { (names, now) throws(RegionError) in
      if exchanging {
        return (
          (),
          try names.exchange(name, in: Namespace.top, with: other, in: Namespace.top, at: now)
        )
      }
      return (
        (),
        try names.rename(
          name, in: Namespace.top, to: other, in: Namespace.top, replacing: true, at: now
        ).changes
      )
    }
  }

  /// Does a change, waiting for bytes and room as the filesystem does.
  func perform(_ region: Region, _ attempt: () -> Outcome) async throws(RegionError) {
    while true {
      switch attempt() {
      case .done: return
      case .failed(let error): throw error
      case .waitFor(let bytes): try await region.demanded(bytes)
      case .waitForRoom:
        await withCheckedContinuation { continuation in
          whenThereIsRoom { continuation.resume() }
        }
      }
    }
  }

  /// `write`, awaited.
  func put(_ bytes: [UInt8], _ region: Region, at offset: Int) async throws(RegionError) {
    let buffer = IOBuffer(bytes)
    try await perform(region) {
      unsafe write(region, at: UInt64(offset), buffer.bytes, isWriteBack: false)
    }
  }

  /// Everything in the group's top, by name.
  func tree() async throws -> [String: [UInt8]] {
    var tree: [String: [UInt8]] = [:]
    for inode in try entries(of: Namespace.top) {
      let name = try #require(inode.name)
      let region = try open(inode.id, writable: false).region
      defer { close(inode.id, writable: false) }
      #expect(region.size == inode.size)
      tree["\(name)"] = try await region.contents(0..<Int(inode.size))
    }
    return tree
  }
}

extension Region {
  /// `demand`, awaited.
  func demanded(_ bytes: Range<UInt64>) async throws(RegionError) {
    let outcome = await withCheckedContinuation { continuation in
      demand(bytes) { continuation.resume(returning: $0) }
    }
    if case .failed(let error) = outcome { throw error }
  }

  /// The bytes of a range, as a READ would answer them.
  func contents(_ range: Range<Int>) async throws -> [UInt8] {
    let buffer = IOBuffer(capacity: range.count)
    let memory = unsafe buffer.memory.prefixBytes(range.count)
    func take(_ result: HitResult) throws -> [UInt8]? {
      switch result {
      case .bytes(let count):
        buffer.count = count
        return buffer.array
      case .lent(let loan):
        defer { giveBack(loan) }
        return unsafe Array(loan.bytes)
      case .missed: return nil
      case .failed(let error): throw error
      }
    }
    while true {
      if let bytes = try take(unsafe readPresent(UInt64(range.lowerBound), into: memory)) {
        return bytes
      }
      let end = min(UInt64(range.upperBound), max(size, UInt64(range.lowerBound)))
      try await demanded(UInt64(range.lowerBound)..<end)
      if let bytes = try take(unsafe readData(UInt64(range.lowerBound), into: memory)) {
        return bytes
      }
    }
  }
}
