import RegionTesting
import Testing

@testable import RegionCore

/// What a power loss leaves of what was not synced: of each part nothing, everything or anything.
struct LossPattern: Sendable, CustomStringConvertible {
  enum Rest: Sendable, CaseIterable { case nothing, everything, anything }

  var rests: [SimulatedDisk.Part: Rest]
  var seed: UInt64

  /// The same for each part.
  init(_ rest: Rest, seed: UInt64 = 1) {
    rests = Dictionary(uniqueKeysWithValues: SimulatedDisk.Part.allCases.map { ($0, rest) })
    self.seed = seed
  }

  /// One for each part, by chance.
  init(using random: inout SplitMix64) {
    self.init(.nothing, seed: random.next())
    for part in SimulatedDisk.Part.allCases {
      rests[part] = Rest.allCases.randomElement(using: &random) ?? .anything
    }
  }

  /// Cached bytes and their states are ahead of the log, which has nothing that was not synced.
  static var dataAheadOfTheLog: LossPattern {
    var pattern = LossPattern(.everything)
    pattern.rests[.log] = .nothing
    return pattern
  }

  /// The log is ahead of everything else.
  static var logAheadOfTheData: LossPattern {
    var pattern = LossPattern(.nothing)
    pattern.rests[.log] = .everything
    return pattern
  }

  var description: String {
    let parts = SimulatedDisk.Part.allCases.map { "\($0) \(rests[$0] ?? .nothing)" }
    return parts.joined(separator: ", ") + ", seed \(seed)"
  }

  func image(of disk: SimulatedDisk) -> SimulatedDisk {
    var random = SplitMix64(seed: seed)
    return disk.afterPowerLoss { part, count in
      switch rests[part] ?? .nothing {
      case .nothing: 0
      case .everything: count
      case .anything: random.oneIn(2) ? count : Int.random(in: 0...count, using: &random)
      }
    }
  }
}

/// A moment at which the power of a host goes, in the midst of whatever it does.
final class PowerCut: @unchecked Sendable {
  // Sound because a simulation runs in one thread.
  private(set) var image: SimulatedDisk?
  /// How much of the history was durable at that moment.
  private(set) var durable = 0
  private let model: GroupModel

  /// Cuts the power of the model's current host before its disk's change number `number`.
  init(_ model: GroupModel, _ disk: SimulatedDisk, before number: UInt64, _ pattern: LossPattern) {
    self.model = model
    let daemon = model.hosts[model.current].daemon
    disk.onChange { [self] changes in
      guard changes == number, image == nil else { return }
      image = pattern.image(of: disk)
      durable = self.model.durable
      daemon.faults.removeRules()
      daemon.faults.add(FaultStore.Rule(.failBefore(.accessDenied)))
      if let group = self.model.hosts[self.model.current].group {
        daemon.engine.executor.spawn { group.crash() }
      }
    }
  }
}

/// Hosts that lose their power. Only in a simulation.
extension GroupModel {
  func disk(of host: Int) throws -> SimulatedDisk {
    guard let disk = hosts[host].disk as? SimulatedDisk else {
      throw Unexpected("the disk is no simulated one")
    }
    return disk
  }

  /// The writing host's power goes: at once, or in the midst of a change.
  func losePower() async throws {
    if random.oneIn(5) { return try await losePowerOfReader() }
    let host = current
    let disk = try disk(of: host)
    let pattern = LossPattern(using: &random)
    let ahead = UInt64.random(in: 0...12, using: &random)
    log("the power will go, \(pattern), after \(ahead) changes of the disk")
    let cut = PowerCut(self, disk, before: disk.changes + ahead, pattern)
    for _ in 0..<20 where cut.image == nil {
      do { try await localStep() } catch { if cut.image == nil { throw error } }
    }
    disk.onChange(nil)
    let image = cut.image ?? pattern.image(of: disk)
    let bound = cut.image == nil ? durable : cut.durable
    log("the power is gone, \(cut.image == nil ? "between changes" : "in the midst of one")")
    await hosts[host].daemon.crash(try group)
    orphans.removeAll { $0.host == host }
    try await recover(image, bound)
  }

  /// A step that needs nobody but this host and the store.
  func localStep() async throws {
    switch Int.random(in: 0..<9, using: &random) {
    case 0: try await make()
    case 1, 2: try await write()
    case 3: try await resize()
    case 4: try await zero()
    case 5: try await rename()
    case 6: try await read()
    case 7: try await sync()
    default: try await commit()
    }
  }

  /// The host comes up on what its disk still has; maybe the power goes again meanwhile.
  private func recover(_ image: SimulatedDisk, _ bound: Int) async throws {
    var image = image
    while true {
      hosts[current].boot = Random128.random(using: &random)
      hosts[current].disk = image
      replaceDaemon(of: current)
      clearFaults()
      let pattern = LossPattern(using: &random)
      let number = random.oneIn(3) ? UInt64.random(in: 0...12, using: &random) : .max
      let cut = PowerCut(self, image, before: number, pattern)
      do {
        let next = try await hosts[current].daemon.load(id)
        image.onChange(nil)
        guard let again = cut.image else {
          hosts[current].group = next
          break
        }
        log("the power went during recovery")
        await hosts[current].daemon.crash(next)
        image = again
      } catch {
        image.onChange(nil)
        guard let again = cut.image else { throw error }
        log("the power went during recovery, which ended with \(error)")
        image = again
      }
    }
    durable = bound
    try await checkRecovered()
  }

  /// What is there after a power loss: a state that the group had, none older than what was durable.
  private func checkRecovered() async throws {
    let group = try group
    let root = group.state.withLock { $0.root }
    let committed = Point(log: root.log, sequence: root.cut)
    var found = committed
    // A log without records continues what is committed.
    if let end = point(of: group), end.sequence > 0 { found = end }
    let expected = try expected(at: found)
    let reached = max(order[found] ?? 0, point(of: group).flatMap { order[$0] } ?? 0)
    guard reached >= durable else {
      throw Unexpected("recovered point \(reached) of the history, \(durable) was durable")
    }
    tree = expected
    durable = reached
    // What came after never was: equal states that come again are new ones.
    for (point, at) in order where at > reached {
      order[point] = nil
      history[point] = nil
    }
    note(group)
    try await compare(group, tree, "after a power loss, the host")
  }

  /// The reading host's power goes: what it shows is what the store has.
  private func losePowerOfReader() async throws {
    let host = 1 - current
    guard let reader = hosts[host].group, !reader.isWriter else { return }
    log("the reader's power is gone")
    let image = LossPattern(using: &random).image(of: try disk(of: host))
    await hosts[host].daemon.crash(reader)
    orphans.removeAll { $0.host == host }
    hosts[host].disk = image
    hosts[host].boot = Random128.random(using: &random)
    replaceDaemon(of: host)
    clearFaults()
    let next = try await hosts[host].daemon.load(id)
    hosts[host].group = next
    let root = next.state.withLock { $0.root }
    try await compare(next, try committed(root), "after a power loss, the reader")
  }
}
