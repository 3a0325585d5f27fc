import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// The host's power is lost before every single write, sync and change of a name that a history makes,
/// and the group is recovered from what the disk has kept. `REGIONFS_POWER_SEEDS` says how many
/// histories, `REGIONFS_POWER_FIRST` where to begin.
@Suite struct PowerLossTests {
  @Test func everySyncedChangeSurvivesAPowerLossAtEveryWrite() async throws {
    let first = Environment.number("REGIONFS_POWER_FIRST", 1)
    let count = Environment.number("REGIONFS_POWER_SEEDS", 4)
    let points = Lock((moments: 0, images: 0))
    await Seeds.run(first, count, width: 2) { seed in
      let result = PowerLossHistory.run(seed)
      points.withLock { $0 = ($0.moments + result.moments, $0.images + result.images) }
      guard let failure = result.failure else { return }
      Issue.record(
        """
        seed \(seed): \(failure)
        again: REGIONFS_POWER_FIRST=\(seed) REGIONFS_POWER_SEEDS=1 \
        swift test --filter everySyncedChangeSurvivesAPowerLossAtEveryWrite
        """)
    }
    let (moments, images) = points.withLock { $0 }
    print("power lost at \(moments) moments, recovered from \(images) disks")
    #expect(moments >= Int(count) * 20 && images == moments * 5)
  }
}

/// One history with the disk as it was before each change, and what must survive.
private final class PowerLossHistory: @unchecked Sendable {
  // Sound because all of it runs in one thread.

  /// The disk and the store at one moment.
  struct Moment {
    var number: UInt64
    var disk: SimulatedDisk
    var store: MemoryStore
    /// How much of the history was durable.
    var durable: Int
  }

  let model: GroupModel
  let store: MemoryStore
  let executor: SimulatedExecutor
  var moments: [Moment] = []
  var images = 0

  init(_ seed: UInt64, _ executor: SimulatedExecutor) throws {
    store = MemoryStore()
    self.executor = executor
    model = try GroupModel(seed: seed, store: store, executor: executor)
  }

  static func run(_ seed: UInt64) -> (moments: Int, images: Int, failure: String?) {
    let executor = SimulatedExecutor(seed: seed)
    do {
      let history = try PowerLossHistory(seed, executor)
      let failure = try executor.run { await history.run(seed) }
      executor.settle(limit: 100_000)
      return (history.moments.count, history.images, failure)
    } catch {
      return (0, 0, "\(error)")
    }
  }

  private func run(_ seed: UInt64) async -> String? {
    do {
      try await live()
      for moment in moments { try await check(moment, seed) }
      return nil
    } catch {
      return "\(error)\n\((model.events.suffix(30) + model.lines).joined(separator: "\n"))"
    }
  }

  /// Lives, and takes a picture before each change of the writing host's disk.
  private func live() async throws {
    let disk = try model.disk(of: 0)
    disk.onChange { [self] number in
      moments.append(
        Moment(
          number: number, disk: disk.copy(), store: store.copy(), durable: model.durable))
    }
    try await model.begin()
    for _ in 0..<14 { try await model.localStep() }
    try await model.restart()
    for _ in 0..<10 { try await model.localStep() }
    disk.onChange(nil)
  }

  private func check(_ moment: Moment, _ seed: UInt64) async throws {
    var random = SplitMix64(seed: seed ^ moment.number << 20)
    var mixed = LossPattern(.anything, seed: random.next())
    mixed.rests[.names] = random.oneIn(2) ? .everything : .anything
    let patterns = [
      LossPattern(.nothing), .dataAheadOfTheLog, .logAheadOfTheData, mixed,
      LossPattern(using: &random),
    ]
    for pattern in patterns {
      images += 1
      do {
        try await check(moment, pattern)
      } catch {
        throw Unexpected("before change \(moment.number), \(pattern): \(error)")
      }
    }
  }

  /// Recovers, compares, writes equal pages again, loses power again, and looks from elsewhere.
  private func check(_ moment: Moment, _ pattern: LossPattern) async throws {
    let store = moment.store.copy()
    let disk = pattern.image(of: moment.disk)
    let (daemon, group, end) = try await recover(disk, store, boot: 2)
    guard let group else { return }
    let tree = try model.expected(at: end)
    let reached = model.order[end] ?? 0
    guard end.sequence == 0 || reached >= moment.durable else {
      throw Unexpected("point \(reached) was recovered, \(moment.durable) was durable")
    }
    try await model.compare(group, tree, "after the loss")
    // What is written again equals what is there, and a sync makes it durable all the same.
    // Open for writing, so that the claim is kept.
    let regions = try tree.keys.sorted().map { (tree[$0] ?? [], try group.region($0)) }
    try await group.claim()
    for (bytes, region) in regions where !bytes.isEmpty {
      try await group.put(bytes, region, at: 0)
    }
    try await group.synced()
    let again = LossPattern(.nothing).image(of: disk)
    await daemon.crash(group)
    let (_, later, _) = try await recover(again, store, boot: 3)
    guard let later else { throw Unexpected("the group is gone after a second loss") }
    try await model.compare(later, tree, "after a second loss")
    guard await later.drain() else { throw Unexpected("did not drain") }
    later.closeRegions()
    let elsewhere = self.daemon(SimulatedDisk(), store, boot: 4, writer: 9)
    let other = try await elsewhere.load(model.id)
    try await model.compare(other, tree, "elsewhere")
    other.closeRegions()
  }

  private func daemon(
    _ disk: SimulatedDisk, _ store: MemoryStore, boot: UInt64, writer: UInt64 = 1
  ) -> Daemon {
    let surroundings = Surroundings(
      executor: executor, clock: executor.clock, disk: disk,
      generator: SplitMix64(seed: model.random.next()))
    return Daemon(
      store, cache: "/host0", writer: WriterID(high: 7, low: writer),
      boot: Random128(high: 0, low: boot), seed: 1, surroundings
    ) { $0.takeover = true }
  }

  /// The group as a daemon finds it, and the last record it has; nil if the group was not made yet.
  private func recover(
    _ disk: SimulatedDisk, _ store: MemoryStore, boot: UInt64
  ) async throws -> (Daemon, Group?, GroupModel.Point) {
    let daemon = self.daemon(disk, store, boot: boot)
    let group: Group
    do {
      group = try await daemon.load(model.id)
    } catch let error as GroupError {
      if case .remote(let error) = error, error.isNotFound, model.id != .zero {
        return (daemon, nil, GroupModel.Point(log: .zero, sequence: 0))
      }
      throw error
    }
    let root = group.state.withLock { $0.root }
    var end = GroupModel.Point(log: root.log, sequence: root.cut)
    if let point = model.point(of: group), point.sequence > 0 { end = point }
    return (daemon, group, end)
  }
}
