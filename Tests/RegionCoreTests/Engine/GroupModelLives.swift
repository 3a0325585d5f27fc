import RegionTesting
import Testing

@testable import RegionCore

/// How daemons end and begin, and what others see.
extension GroupModel {
  func replaceDaemon(of host: Int) {
    hosts[host].group = nil
    // A dead process evicts nothing.
    hosts[host].daemon.engine.cacheBudget.stop()
    hosts[host].daemon = daemon(
      hosts[host].cache, hosts[host].writer, hosts[host].disk, hosts[host].boot)
  }

  /// The daemon is killed; the next one finds everything accepted.
  func crash() async throws {
    let group = try group
    log("crash with \(group.uncommittedBytes) bytes uncommitted")
    await hosts[current].daemon.crash(group)
    orphans.removeAll { $0.host == current }
    replaceDaemon(of: current)
    clearFaults()
    let next = try await hosts[current].daemon.load(id)
    hosts[current].group = next
    note(next)
    try await compare(next, tree, "after a crash, the writer")
  }

  /// An orderly unmount, and a mount.
  func restart() async throws {
    log("restart")
    clearFaults()
    let group = try group
    guard await group.drain() else { throw Unexpected("did not drain") }
    try await closeOrphans(of: current)
    group.closeRegions()
    replaceDaemon(of: current)
    let next = try await hosts[current].daemon.load(id)
    hosts[current].group = next
    try await compare(next, tree, "after a restart, the mount")
  }

  /// The other host writes from now on; this one stays as a reader.
  func switchHost() async throws {
    log("switch")
    clearFaults()
    guard await (try group).drain() else { throw Unexpected("did not drain") }
    for index in orphans.indices where orphans[index].host == current {
      orphans[index].mayBeCollected = true
    }
    current = 1 - current
    try await bringUp(current)
    try await compare(try group, tree, "after a switch, the other host")
  }

  func bringUp(_ host: Int) async throws {
    if let group = hosts[host].group {
      await group.refresh(maxAge: .zero)
    } else {
      hosts[host].group = try await hosts[host].daemon.load(id)
    }
  }

  /// The other host takes the claim of this one, which dies or finds out when it pushes.
  func takeOver() async throws {
    let loser = current
    let group = try group
    guard group.isWriter else { return }
    let isKilled = random.oneIn(2)
    log(
      "take over from a \(isKilled ? "dead" : "living") host, \(group.uncommittedBytes) bytes lost")
    clearFaults()
    if isKilled {
      await hosts[loser].daemon.crash(group)
      orphans.removeAll { $0.host == loser }
      replaceDaemon(of: loser)
    }
    current = 1 - loser
    try await bringUp(current)
    try await (try self.group).claim()
    // What was durable on the other host is lost with it, unless it was committed.
    tree = try committed(try self.group.state.withLock { $0.root })
    durable = 0
    note(try self.group)
    try await compare(try self.group, tree, "after a takeover, the new writer")
    if !isKilled {
      try? await group.committed()
      group.commit { _ in }
      try await closeOrphans(of: loser)
      _ = try? group.make("lost")
      await waitUntilStopped(group)
      group.closeRegions()
      // Its process ends: what it still had to do (to give a claim back) must not meet the next one.
      await hosts[loser].daemon.crash(group)
      replaceDaemon(of: loser)
    }
    hosts[loser].group = try await hosts[loser].daemon.load(id)
    guard let old = hosts[loser].group else { return }
    try await compare(old, try committed(old.state.withLock { $0.root }), "the former writer")
  }

  func waitUntilStopped(_ group: Group) async {
    while group.isWriter {
      group.commit { _ in }
      await hosts[current].daemon.engine.clock.sleep(for: .milliseconds(1))
    }
  }

  /// What a mount elsewhere would find, were this host gone: a prefix of the history.
  func loseHost() async throws {
    let cache = try scratch?.directory("elsewhere\(lives)") ?? "/elsewhere"
    let disk: any LocalDisk = executor == nil ? HostDisk() : SimulatedDisk()
    try disk.createDirectory(cache)
    let other = daemon(cache, WriterID(high: 9, low: lives), disk)
    let group = try await other.load(id)
    let root = group.state.withLock { $0.root }
    log("elsewhere, at commit \(root.commit.number)")
    try await compare(group, try committed(root), "elsewhere, commit \(root.commit.number)")
    group.closeRegions()
    try group.removeCache()
  }

  /// The reading host looks for news while the other one writes.
  func follow() async throws {
    guard let reader = hosts[1 - current].group, !reader.isWriter else { return }
    clearFaults()
    await reader.refresh(maxAge: .zero)
    let root = reader.state.withLock { $0.root }
    log("follow to commit \(root.commit.number)")
    try await compare(reader, try committed(root), "the reader at commit \(root.commit.number)")
  }
}
