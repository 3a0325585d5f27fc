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

  private struct Point: Hashable {
    var log: LogID
    var sequence: SequenceNumber
  }

  private struct Host {
    var cache: String
    var writer: WriterID
    var daemon: Daemon
    var group: Group?
  }

  /// A file that lost its name while it was open.
  private struct Orphan {
    var host: Int
    var file: FileID
    var region: Region
    var bytes: [UInt8]
  }

  private let store: any ObjectStore
  private var random: SplitMix64
  private let scratch: Scratch
  private var hosts: [Host] = []
  private var current = 0
  private var id = GroupID.zero
  private var tree: Tree = [:]
  private var history: [Point: Tree] = [:]
  private var orphans: [Orphan] = []
  private var lives: UInt64 = 0
  /// What happened, for the message of a failure.
  private(set) var events: [String] = []

  private static let names = ["a", "b", "c", "d"]
  private static let largest = 300_000

  init(seed: UInt64, store: any ObjectStore = MemoryStore()) throws {
    self.store = store
    random = SplitMix64(seed: seed)
    scratch = try Scratch()
    for index in 0..<2 {
      let writer = WriterID(high: 7, low: UInt64(index + 1))
      let cache = try scratch.directory("host\(index)")
      hosts.append(
        Host(
          cache: cache, writer: writer, daemon: Self.daemon(store, cache, writer, &random),
          group: nil))
    }
  }

  private func daemon(_ cache: String, _ writer: WriterID) -> Daemon {
    lives += 1
    return Self.daemon(store, cache, writer, &random)
  }

  private static func daemon(
    _ store: any ObjectStore, _ cache: String, _ writer: WriterID, _ random: inout SplitMix64
  ) -> Daemon {
    let checkpointSegments = Int.random(in: 2...8, using: &random)
    // Now and then a commit takes only a part of what there is.
    let commitBytes = random.oneIn(2) ? Int.random(in: 1...200_000, using: &random) : 1 << 30
    return Daemon(store, cache: cache, writer: writer, seed: random.next()) {
      $0.takeover = true
      $0.checkpointSegments = checkpointSegments
      $0.commitBytes = commitBytes
      $0.logLimit = 4 << 20
    }
  }

  /// The writing host's group.
  private var group: Group {
    get throws {
      guard let group = hosts[current].group else { throw Unexpected("no group") }
      return group
    }
  }

  // MARK: Running

  func run(steps: Int) async throws {
    let group = try await hosts[0].daemon.create()
    hosts[0].group = group
    id = group.id
    note(group)
    for _ in 0..<steps { try await step() }
    try await end()
  }

  private func step() async throws {
    switch Int.random(in: 0..<100, using: &random) {
    case 0..<12: try await make()
    case 12..<42: try await write()
    case 42..<50: try await resize()
    case 50..<57: try await zero()
    case 57..<67: try await read()
    case 67..<71: try await rename()
    case 71..<74: try await remove()
    case 74..<77: try await useOrphan()
    case 77..<80: try await sync()
    case 80..<88: try await commit()
    case 88..<90: try await crash()
    case 90..<92: try await restart()
    case 92..<94: try await switchHost()
    case 94..<95: try await takeOver()
    case 95..<97: try await loseHost()
    case 97..<98: try await follow()
    default: try await changeWeather()
    }
  }

  private func end() async throws {
    log("end")
    clearFaults()
    try await compare(try group, tree, "the writer")
    try await group.committed()
    try await loseHost()
    try await closeOrphans(of: 0)
    try await closeOrphans(of: 1)
    guard await (try group).drain() else { throw Unexpected("did not drain") }
    for host in hosts { host.group?.closeRegions() }
  }

  private func log(_ event: String) { events.append(event) }

  /// What the daemons said last.
  var lines: [String] { hosts.flatMap { $0.daemon.lines.withLock { $0.suffix(5) } } }

  /// Remembers the group's state as that of its log's last record.
  private func note(_ group: Group) {
    let point = group.state.withLock { state in
      state.log.map { Point(log: $0.header.log, sequence: $0.lastSequence) }
    }
    if let point { history[point] = tree }
  }

  /// What the store must hold, by its root.
  private func committed(_ root: Root) throws -> Tree {
    if root.cut == 0 { return [:] }
    guard let tree = history[Point(log: root.log, sequence: root.cut)] else {
      throw Unexpected("the root has a cut that never was: \(root.cut) of \(root.log)")
    }
    return tree
  }

  private func compare(_ group: Group, _ expected: Tree, _ who: String) async throws {
    let found = try await group.tree()
    guard found != expected else { return }
    guard found.keys.sorted() == expected.keys.sorted() else {
      throw Unexpected("\(who) has \(found.keys.sorted()), not \(expected.keys.sorted())")
    }
    for (name, bytes) in found {
      try same(bytes, expected[name] ?? [], "\(who): \(name)")
    }
  }

  private func same(_ found: [UInt8], _ expected: [UInt8], _ what: String) throws {
    guard found != expected else { return }
    guard found.count == expected.count else {
      throw Unexpected("\(what) has \(found.count) bytes, not \(expected.count)")
    }
    let at = zip(found, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset ?? 0
    throw Unexpected(
      "\(what) differs at byte \(at) (page \(at >> 12)) of \(found.count): "
        + "\(found[at]), not \(expected[at])")
  }

  // MARK: Changes

  /// Makes sure that the writer has the claim.
  private func claimed() async throws -> Group {
    let group = try group
    if !group.isWriter {
      clearFaults()
      try await group.claim()
      note(group)
    }
    return group
  }

  private func pick() -> String? { tree.keys.sorted().randomElement(using: &random) }

  private func find(_ name: String, _ group: Group) throws -> Inode {
    guard let name = FileName(name), let inode = group.child(name, of: Namespace.top) else {
      throw Unexpected("\(name) is not there")
    }
    return inode
  }

  private func make() async throws {
    guard let name = Self.names.filter({ tree[$0] == nil }).randomElement(using: &random) else {
      return
    }
    log("make \(name)")
    let group = try await claimed()
    try group.make(name)
    tree[name] = []
    note(group)
  }

  /// A random place, at a page's or chunk's edge more often than not.
  private func place(below end: Int) -> Int {
    let at = Int.random(in: 0...end, using: &random)
    switch Int.random(in: 0..<4, using: &random) {
    case 0: return at
    case 1: return min(end, at & ~0xFFFF)
    case 2: return min(end, max(0, (at & ~0xFFF) + Int.random(in: -1...1, using: &random)))
    default: return at & ~0xFFF
    }
  }

  private func change(
    _ name: String, _ body: (Group, Region, inout [UInt8]) async throws -> Void
  ) async throws {
    let group = try await claimed()
    let inode = try find(name, group)
    let region = try group.open(inode.id, writable: true).region
    var bytes = tree[name] ?? []
    var outcome: Result<Void, any Error> = .success(())
    do { try await body(group, region, &bytes) } catch { outcome = .failure(error) }
    group.close(inode.id, writable: true)
    try outcome.get()
    tree[name] = bytes
    note(group)
  }

  private func write() async throws {
    guard let name = pick() else { return }
    let offset = place(below: Self.largest)
    let length = max(1, place(below: min(120_000, Self.largest + 1 - offset)))
    let fill = random.oneIn(8) ? 0 : UInt8.random(in: 1...255, using: &random)
    log("write \(name) \(offset)..<\(offset + length) of \(tree[name]?.count ?? 0) with \(fill)")
    try await attempt(name) { (group, region, bytes) in
      var new = [UInt8](repeating: fill, count: length)
      // A mark in each page, so that a page in a wrong place is noticed.
      for at in stride(from: 0, to: length, by: 509) { new[at] = UInt8((offset + at) >> 9 & 0xFF) }
      try await group.put(new, region, at: offset)
      if bytes.count < offset + length {
        bytes += [UInt8](repeating: 0, count: offset + length - bytes.count)
      }
      bytes.replaceSubrange(offset..<offset + length, with: new)
    }
  }

  /// A change that may need the store, which may be failing: then it is as if it was never asked.
  private func attempt(
    _ name: String, _ body: (Group, Region, inout [UInt8]) async throws -> Void
  ) async throws {
    do {
      try await change(name, body)
    } catch RegionError.io where isStormy {
      log("... could not")
    }
  }

  private func resize() async throws {
    guard let name = pick() else { return }
    let size = place(below: Self.largest)
    log("resize \(name) from \(tree[name]?.count ?? 0) to \(size)")
    try await attempt(name) { (group, region, bytes) in
      try await group.perform(region) { group.resize(region, to: UInt64(size)) }
      if size < bytes.count { bytes.removeLast(bytes.count - size) }
      bytes += [UInt8](repeating: 0, count: size - bytes.count)
    }
  }

  private func zero() async throws {
    guard let name = pick() else { return }
    let first = place(below: Self.largest)
    let end = first + place(below: Self.largest - first)
    let grows = random.oneIn(3)
    log("zero \(name) \(first)..<\(end) of \(tree[name]?.count ?? 0)\(grows ? ", growing" : "")")
    try await attempt(name) { (group, region, bytes) in
      let size = grows ? max(region.size, UInt64(end)) : nil
      try await group.perform(region) {
        group.zero(region, UInt64(first)..<UInt64(end), size: size)
      }
      if grows { bytes += [UInt8](repeating: 0, count: max(0, end - bytes.count)) }
      let range = (first..<end).clamped(to: 0..<bytes.count)
      bytes.replaceSubrange(range, with: repeatElement(0, count: range.count))
    }
  }

  private func rename() async throws {
    guard let name = pick(), let other = Self.names.randomElement(using: &random), other != name
    else { return }
    let group = try await claimed()
    let exchanging = tree[other] != nil && random.oneIn(3)
    log("rename \(name) \(other)\(exchanging ? ", exchanging" : "")")
    if !exchanging, tree[other] != nil { try keepOpen(other, group) }
    try group.move(name, other, exchanging: exchanging)
    (tree[other], tree[name]) = (tree[name], exchanging ? tree[other] : nil)
    note(group)
  }

  private func remove() async throws {
    guard let name = pick() else { return }
    log("remove \(name)")
    let group = try await claimed()
    try keepOpen(name, group)
    try group.unlink(name)
    tree[name] = nil
    note(group)
  }

  /// Whether `body` worked; where the store is failing, it need not.
  private func succeeds(_ body: () async throws -> Void) async throws -> Bool {
    do {
      try await body()
      return true
    } catch {
      if isStormy, error as? RegionError == .io { return false }
      throw error
    }
  }

  // MARK: Files without a name

  private func keepOpen(_ name: String, _ group: Group) throws {
    guard random.oneIn(2) else { return }
    let file = try find(name, group).id
    let region = try group.open(file, writable: false).region
    orphans.append(Orphan(host: current, file: file, region: region, bytes: tree[name] ?? []))
    log("... which stays open")
  }

  private func useOrphan() async throws {
    guard let index = orphans.indices.randomElement(using: &random) else { return }
    let orphan = orphans[index]
    guard let group = hosts[orphan.host].group else { return }
    if group.isWriter, random.oneIn(2) {
      let offset = place(below: 200_000)
      log("write an open file without a name at \(offset)")
      let new = [UInt8](repeating: 0xEE, count: 5000)
      guard try await succeeds({ try await group.put(new, orphan.region, at: offset) }) else {
        return
      }
      var bytes = orphan.bytes
      bytes += [UInt8](repeating: 0, count: max(0, offset + 5000 - bytes.count))
      bytes.replaceSubrange(offset..<offset + 5000, with: new)
      orphans[index].bytes = bytes
      note(group)
    } else if random.oneIn(2) {
      try await check(orphan)
    } else {
      try await check(orphan)
      log("close a file without a name")
      group.close(orphan.file, writable: false)
      orphans.remove(at: index)
    }
  }

  private func check(_ orphan: Orphan) async throws {
    log("read a file without a name")
    do {
      let found = try await orphan.region.contents(0..<orphan.bytes.count + 10)
      try same(found, orphan.bytes, "file \(orphan.file) without a name")
    } catch RegionError.io where isStormy {
    }
  }

  private func closeOrphans(of host: Int) async throws {
    for orphan in orphans where orphan.host == host {
      try await check(orphan)
      hosts[host].group?.close(orphan.file, writable: false)
    }
    orphans.removeAll { $0.host == host }
  }

  // MARK: Looking

  private func read() async throws {
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

  private func sync() async throws {
    log("sync")
    try await group.synced()
  }

  private func commit() async throws {
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

  private var isStormy = false

  private func changeWeather() async throws {
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

  private func clearFaults() {
    isStormy = false
    for host in hosts { host.daemon.comeUp() }
  }

  // MARK: Lives

  private func replaceDaemon(of host: Int) {
    hosts[host].group = nil
    hosts[host].daemon = daemon(hosts[host].cache, hosts[host].writer)
  }

  /// The daemon is killed; the next one finds everything accepted.
  private func crash() async throws {
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
  private func restart() async throws {
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
  private func switchHost() async throws {
    log("switch")
    clearFaults()
    guard await (try group).drain() else { throw Unexpected("did not drain") }
    current = 1 - current
    try await bringUp(current)
    try await compare(try group, tree, "after a switch, the other host")
  }

  private func bringUp(_ host: Int) async throws {
    if let group = hosts[host].group {
      await group.refresh(maxAge: .zero)
    } else {
      hosts[host].group = try await hosts[host].daemon.load(id)
    }
  }

  /// The other host takes the claim of this one, which dies or finds out when it pushes.
  private func takeOver() async throws {
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
    tree = try committed(try self.group.state.withLock { $0.root })
    note(try self.group)
    try await compare(try self.group, tree, "after a takeover, the new writer")
    if !isKilled {
      try? await group.committed()
      group.commit { _ in }
      try await closeOrphans(of: loser)
      _ = try? group.make("lost")
      await waitUntilStopped(group)
      group.closeRegions()
      replaceDaemon(of: loser)
    }
    hosts[loser].group = try await hosts[loser].daemon.load(id)
    guard let old = hosts[loser].group else { return }
    try await compare(old, try committed(old.state.withLock { $0.root }), "the former writer")
  }

  private func waitUntilStopped(_ group: Group) async {
    while group.isWriter {
      group.commit { _ in }
      await Task.yield()
    }
  }

  /// What a mount elsewhere would find, were this host gone: a prefix of the history.
  private func loseHost() async throws {
    let cache = try scratch.directory("elsewhere\(lives)")
    let other = daemon(cache, WriterID(high: 9, low: lives))
    let group = try await other.load(id)
    let root = group.state.withLock { $0.root }
    log("elsewhere, at commit \(root.commit.number)")
    try await compare(group, try committed(root), "elsewhere, commit \(root.commit.number)")
    group.closeRegions()
    try group.removeCache()
  }

  /// The reading host looks for news while the other one writes.
  private func follow() async throws {
    guard let reader = hosts[1 - current].group, !reader.isWriter else { return }
    clearFaults()
    await reader.refresh(maxAge: .zero)
    let root = reader.state.withLock { $0.root }
    log("follow to commit \(root.commit.number)")
    try await compare(reader, try committed(root), "the reader at commit \(root.commit.number)")
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
