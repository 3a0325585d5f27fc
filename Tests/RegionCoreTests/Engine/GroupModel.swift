import RegionTesting
import Testing

@testable import RegionCore

/// A group driven by random events beside a dictionary of plain arrays that says what must be in it.
///
/// Two hosts, each with a cache directory; one of them writes at a time. Every accepted change is a
/// record of the log, so `(log, sequence)` names each state that the group ever had: what a commit
/// holds is looked up by the root's log and cut.
final class GroupModel {
  typealias Tree = [String: [UInt8]]

  struct Point: Hashable {
    var log: LogID
    var sequence: SequenceNumber
  }

  struct Host {
    var cache: String
    var writer: WriterID
    var disk: any LocalDisk
    /// Which boot of the host this is.
    var boot = Daemon.boot
    var daemon: Daemon
    var group: Group?
  }

  /// A file that lost its name while it was open.
  struct Orphan {
    var host: Int
    var file: FileID
    var region: Region
    var bytes: [UInt8]
    /// Another host has written since: after the grace time it deletes what only this file refers to.
    var mayBeCollected = false
  }

  let store: any ObjectStore
  var random: SplitMix64
  /// Where caches are on the host's own disk; nil in a simulation.
  let scratch: Scratch?
  /// Runs everything, in a simulation.
  let executor: SimulatedExecutor?
  var hosts: [Host] = []
  var current = 0
  var id = GroupID.zero
  var tree: Tree = [:]
  var history: [Point: Tree] = [:]
  /// When each point of the history was reached; grows.
  var order: [Point: Int] = [:]
  private(set) var points = 0
  /// The newest point that a sync had made durable, in that order.
  var durable = 0
  var orphans: [Orphan] = []
  var lives: UInt64 = 0
  /// The store fails now and then.
  var isStormy = false
  /// What happened, for the message of a failure.
  var events: [String] = []

  static let names = ["a", "b", "c", "d"]
  static let largest = 300_000

  /// On real threads and disks, or, with an executor, in a simulation.
  init(
    seed: UInt64, store: any ObjectStore = MemoryStore(), executor: SimulatedExecutor? = nil
  ) throws {
    self.store = store
    self.executor = executor
    random = SplitMix64(seed: seed)
    scratch = executor == nil ? try Scratch() : nil
    for index in 0..<2 {
      let writer = WriterID(high: 7, low: UInt64(index + 1))
      let disk: any LocalDisk = executor == nil ? HostDisk() : SimulatedDisk()
      let cache = try scratch?.directory("host\(index)") ?? "/host\(index)"
      try disk.createDirectory(cache)
      let daemon = Self.daemon(store, cache, writer, Daemon.boot, executor, disk, &random)
      hosts.append(Host(cache: cache, writer: writer, disk: disk, daemon: daemon, group: nil))
    }
  }

  func daemon(
    _ cache: String, _ writer: WriterID, _ disk: any LocalDisk, _ boot: Random128 = Daemon.boot
  ) -> Daemon {
    lives += 1
    return Self.daemon(store, cache, writer, boot, executor, disk, &random)
  }

  static func daemon(
    _ store: any ObjectStore, _ cache: String, _ writer: WriterID, _ boot: Random128,
    _ executor: SimulatedExecutor?, _ disk: any LocalDisk, _ random: inout SplitMix64
  ) -> Daemon {
    var surroundings = Surroundings(disk: disk)
    var store = store
    var isLeftAlone = true
    if let executor {
      surroundings.executor = executor
      surroundings.clock = executor.clock
      surroundings.generator = SplitMix64(seed: random.next())
      store = SlowStore(store, executor, seed: random.next())
      isLeftAlone = random.oneIn(3)
    }
    let pushInterval = Duration.milliseconds([50, 1000, 5000].randomElement(using: &random) ?? 50)
    let releaseDelay = Duration.milliseconds([20, 1000, 10000].randomElement(using: &random) ?? 20)
    let checkpointSegments = Int.random(in: 2...8, using: &random)
    // Now and then a commit takes only a part of what there is.
    // Now and then the cache is too small for the files.
    let cacheLimit = random.oneIn(2) ? UInt64.random(in: 1...6, using: &random) << 16 : nil
    let commitBytes = random.oneIn(2) ? Int.random(in: 1...200_000, using: &random) : 1 << 30
    return Daemon(
      store, cache: cache, writer: writer, boot: boot, seed: random.next(), surroundings
    ) {
      if !isLeftAlone { ($0.pushInterval, $0.releaseDelay) = (pushInterval, releaseDelay) }
      $0.takeover = true
      $0.checkpointSegments = checkpointSegments
      $0.commitBytes = commitBytes
      $0.cacheLimit = CacheLimit(bytes: cacheLimit)
      $0.logLimit = 4 << 20
    }
  }

  /// The writing host's group.
  var group: Group {
    get throws {
      guard let group = hosts[current].group else { throw Unexpected("no group") }
      return group
    }
  }

  // MARK: Running

  func begin() async throws {
    let group = try await hosts[0].daemon.create()
    hosts[0].group = group
    id = group.id
    note(group)
  }

  func run(steps: Int) async throws {
    try await begin()
    for _ in 0..<steps { try await step() }
    try await end()
  }

  func step() async throws {
    switch Int.random(in: 0..<100, using: &random) {
    case 0..<10: try await make()
    case 10..<36: try await write()
    case 36..<45: try await resize()
    case 45..<52: try await zero()
    case 52..<60: try await read()
    case 60..<64: try lookWithoutWaiting()
    case 64..<66: try evict()
    case 66..<69: try await rename()
    case 69..<72: try await remove()
    case 72..<75: try await useOrphan()
    case 75..<77: try await sync()
    case 77..<84: try await commit()
    case 84..<86: try await crash()
    case 86..<88: try await restart()
    case 88..<92: try await switchHost()
    case 92..<93: try await takeOver()
    case 93..<95: try await loseHost()
    case 95..<97: try await follow()
    case 97..<99 where executor != nil: try await losePower()
    default: try await changeWeather()
    }
  }

  func end() async throws {
    log("end")
    clearFaults()
    try await compare(try group, tree, "the writer")
    try await group.committed()
    try await loseHost()
    try await closeOrphans(of: 0)
    try await closeOrphans(of: 1)
    guard await (try group).drain() else { throw Unexpected("did not drain") }
    for host in hosts { host.group?.closeRegions() }
    hosts.indices.forEach { hosts[$0].group = nil }
  }

  func log(_ event: String) { events.append(event) }

  /// What the daemons said last.
  var lines: [String] { hosts.flatMap { $0.daemon.lines.withLock { $0.suffix(5) } } }

  /// Remembers the group's state as that of its log's last record.
  func note(_ group: Group) {
    guard let point = point(of: group) else { return }
    if point.sequence == 0 {
      // A log without records is no point of its own: it is what is committed, and may go again.
      let root = group.state.withLock { $0.root }
      order[point] = order[Point(log: root.log, sequence: root.cut)] ?? 0
    } else if history[point] == nil || history[point] != tree {
      points += 1
      order[point] = points
    }
    history[point] = tree
  }

  /// The last record of the group's log; nil if it has none.
  func point(of group: Group) -> Point? {
    group.state.withLock { state in
      state.log.map { Point(log: $0.header.log, sequence: $0.lastSequence) }
    }
  }

  /// What the store must hold, by its root.
  func committed(_ root: Root) throws -> Tree {
    if root.cut == 0 { return [:] }
    guard let tree = history[Point(log: root.log, sequence: root.cut)] else {
      throw Unexpected("the root has a cut that never was: \(root.cut) of \(root.log)")
    }
    return tree
  }

  /// What the group must be when its log ends at `point` (a log without records: what is committed).
  func expected(at point: Point) throws -> Tree {
    if point.sequence == 0 { return [:] }
    guard let tree = history[point] else {
      throw Unexpected("the log ends at a point that never was: \(point)")
    }
    return tree
  }

  func compare(_ group: Group, _ expected: Tree, _ who: String) async throws {
    let found = try await group.tree()
    guard found != expected else { return }
    guard found.keys.sorted() == expected.keys.sorted() else {
      throw Unexpected("\(who) has \(found.keys.sorted()), not \(expected.keys.sorted())")
    }
    for (name, bytes) in found {
      try same(bytes, expected[name] ?? [], "\(who): \(name)")
    }
  }

  func same(_ found: [UInt8], _ expected: [UInt8], _ what: String) throws {
    guard found != expected else { return }
    guard found.count == expected.count else {
      throw Unexpected("\(what) has \(found.count) bytes, not \(expected.count)")
    }
    let at = zip(found, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? 0
    throw Unexpected(
      "\(what) differs at byte \(at) (page \(at >> 12)) of \(found.count): "
        + "\(found[at]), not \(expected[at])")
  }

  // MARK: Looking

  func read() async throws {
    guard let name = pick() else { return }
    let group = try group
    let inode = try find(name, group)
    let region = try group.open(inode.id, writable: false).region
    defer { group.close(inode.id, writable: false) }
    if random.oneIn(6) {
      log("pull all of \(name)")
      region.pullAll(reason: "test")
    }
    let bytes = tree[name] ?? []
    let first = place(below: Self.largest)
    let range = first..<first + place(below: 150_000)
    log("read \(name) \(range) of \(bytes.count)")
    do {
      let found = try await region.contents(range)
      try same(found, Array(bytes[range.clamped(to: 0..<bytes.count)]), "\(name) \(range)")
    } catch RegionError.io where isStormy {
      log("... could not")
    }
  }

  /// Starts pulls that the next changes will meet.
  func lookWithoutWaiting() throws {
    guard let name = pick() else { return }
    let group = try group
    let inode = try find(name, group)
    let region = try group.open(inode.id, writable: false).region
    defer { group.close(inode.id, writable: false) }
    let first = UInt64(place(below: Self.largest))
    log("look at \(name) from \(first)")
    region.demand(first..<first + 1) { _ in }
  }

  /// Whatever may make room goes, on any host.
  func evict() throws {
    for host in hosts {
      let regions = host.group?.state.withLock { $0.regions.sorted { $0.key < $1.key } } ?? []
      for (file, open) in regions where random.oneIn(2) {
        var evicted = 0
        for chunk in 0..<open.region.chunkCount where open.region.evict(chunk) == .evicted {
          evicted += 1
        }
        log("evict \(evicted) chunks of file \(file) on \(host.writer.low)")
      }
    }
  }

  func sync() async throws {
    log("sync")
    let group = try group
    let point = point(of: group)
    try await group.synced()
    if let point { durable = max(durable, order[point] ?? 0) }
  }

  func commit() async throws {
    let group = try group
    if hosts[current].daemon.isDown || random.oneIn(3) {
      log("commit soon")
      group.commit { _ in }
    } else {
      log("commit")
      try await group.committed()
    }
  }

  // MARK: Weather

  func changeWeather() async throws {
    clearFaults()
    let faults = hosts[current].daemon.faults
    let gets: Set<FaultStore.Operation> = [.get]
    isStormy = true
    switch Int.random(in: 0..<7, using: &random) {
    case 0:
      log("lost acknowledgements")
      faults.add(.init(.failAfter(.unavailable), on: [.put], probability: 0.4))
    case 1:
      log("the store is busy")
      faults.add(.init(.failBefore(.throttled), probability: 0.4))
    case 2:
      log("flipped bits")
      faults.add(.init(.flipBit, on: gets, keyContains: "/seg/", probability: 0.3))
      faults.add(.init(.flipBit, on: gets, keyContains: "/map/", probability: 0.3))
    case 3:
      log("short answers")
      faults.add(.init(.shorten(3), on: gets, probability: 0.3))
    case 4:
      log("the store is down")
      hosts[current].daemon.goDown()
    case 5:
      log("slow answers")
      faults.add(.init(.delay(.milliseconds(1)), probability: 0.5))
    default:
      log("zeros for bytes")
      faults.add(.init(.zeroBytes, on: gets, keyContains: "/seg/", probability: 0.3))
    }
  }

  func clearFaults() {
    isStormy = false
    for host in hosts { host.daemon.comeUp() }
  }
}

extension Daemon {
  /// Whether nothing reaches the store.
  var isDown: Bool { down.withLock { $0 } }

  /// Cuts the daemon off from the store.
  func goDown() {
    down.withLock { $0 = true }
    faults.add(FaultStore.Rule(.failBefore(.unavailable)))
  }

  /// Ends all faults.
  func comeUp() {
    down.withLock { $0 = false }
    faults.removeRules()
  }
}
