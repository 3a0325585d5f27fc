import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// A store that keeps each root it was given: what a host that appears from nothing could find.
final class RootWitness: ObjectStore {
  let base: any ObjectStore
  private let roots = Lock<[[UInt8]]>([])

  init(_ base: any ObjectStore) { self.base = base }

  var address: String { base.address }

  /// The roots since the last call, in order.
  func takeRoots() -> [[UInt8]] {
    roots.withLock { roots in
      defer { roots = [] }
      return roots
    }
  }

  func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    try await base.get(key, range: range, into: buffer, priority: priority)
  }

  func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    let etag = try await base.put(key, body, condition: condition, priority: priority)
    // One swap is in flight at a time, so this order is theirs.
    if key.text.hasSuffix("/root") { roots.withLock { $0.append(body.array) } }
    return etag
  }

  func delete(_ key: ObjectKey) async throws(StoreError) { try await base.delete(key) }

  func list(prefix: String, from token: String?, limit: Int) async throws(StoreError) -> ListPage {
    try await base.list(prefix: prefix, from: token, limit: limit)
  }
}

/// A store as it was when a root was new. All other objects are immutable, and what later commits
/// added is not referred to. Nothing can be written.
final class PastStore: ObjectStore {
  let base: any ObjectStore
  let root: [UInt8]

  init(_ base: any ObjectStore, root: [UInt8]) {
    self.base = base
    self.root = root
  }

  var address: String { base.address }

  func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    guard key.text.hasSuffix("/root") else {
      return try await base.get(key, range: range, into: buffer, priority: priority)
    }
    guard range == nil, buffer.capacity >= root.count else { throw refused("GET", key) }
    buffer.count = 0
    // SAFETY: `append` copies at once.
    unsafe root.withUnsafeBytes { unsafe buffer.append($0) }
    return ObjectInfo(etag: ETag("past"), totalLength: UInt64(root.count))
  }

  func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag { throw refused("PUT", key) }

  func delete(_ key: ObjectKey) async throws(StoreError) { throw refused("DELETE", key) }

  func list(prefix: String, from token: String?, limit: Int) async throws(StoreError) -> ListPage {
    try await base.list(prefix: prefix, from: token, limit: limit)
  }

  private func refused(_ operation: String, _ key: ObjectKey) -> StoreError {
    StoreError(.accessDenied, operation: operation, object: key.text, detail: "this is the past")
  }
}

/// A group of many files that changes at random, and is opened from nothing as of each commit.
///
/// Each record of the log makes a new state; `history` keeps them until a commit has gone past. What
/// names and attributes must be is what the writer had in memory; bytes are plain arrays of our own.
final class CommitHistory {
  struct Snapshot {
    var namespace: Namespace
    var files: [FileID: [UInt8]]
  }

  struct Counts {
    var commits = 0
    var checkpoints = 0
    var crashes = 0
    var files = 0
  }

  let witness: RootWitness
  var random: SplitMix64
  let scratch: Scratch
  var daemon: Daemon
  var group: Group?
  var files: [FileID: [UInt8]] = [:]
  var history: [GroupModel.Point: Snapshot] = [:]
  var counts = Counts()
  var events: [String] = []
  private var lives: UInt64 = 0
  /// Called for each root that was found, with what it must hold.
  var onRoot: ((Root, Snapshot) async throws -> Void)?
  private var lastCut: (log: LogID, cut: SequenceNumber)?

  static let mostInodes = 40
  static let largest = 120_000

  init(seed: UInt64, store: any ObjectStore = MemoryStore()) throws {
    witness = RootWitness(store)
    random = SplitMix64(seed: seed)
    scratch = try Scratch()
    daemon = Self.daemon(witness, try scratch.directory("writer"), &random)
  }

  private static func daemon(
    _ store: any ObjectStore, _ cache: String, _ random: inout SplitMix64
  ) -> Daemon {
    let checkpointSegments = Int.random(in: 2...12, using: &random)
    let commitBytes = random.oneIn(2) ? Int.random(in: 1...100_000, using: &random) : 1 << 30
    return Daemon(store, cache: cache, writer: WriterID(high: 7, low: 1), seed: random.next()) {
      $0.checkpointSegments = checkpointSegments
      $0.commitBytes = commitBytes
    }
  }

  /// Goes on until at least so many commits were checked.
  func run(commits: Int) async throws {
    let made = try await daemon.create()
    group = made
    note()
    while counts.commits < commits { try await step() }
    let group = try writer
    guard await group.drain() else { throw Unexpected("did not drain") }
    try await checkNewCommits()
    group.closeRegions()
  }

  var writer: Group {
    get throws {
      guard let group else { throw Unexpected("no group") }
      return group
    }
  }

  private func step() async throws {
    for _ in 0..<Int.random(in: 1...6, using: &random) { try await change() }
    switch Int.random(in: 0..<40, using: &random) {
    case 0: try await crash()
    case 1: try await restart()
    case 2: loseAnswers()
    case 3..<8: try writer.commit { _ in }
    default:
      events.append("commit")
      try await writer.committed()
    }
    try await checkNewCommits()
  }

  /// Remembers what there is as the state after the log's last record.
  func note() {
    let entry = group?.state.withLock { state in
      state.log.map {
        (GroupModel.Point(log: $0.header.log, sequence: $0.lastSequence), state.namespace)
      }
    }
    guard let (point, namespace) = entry else { return }
    history[point] = Snapshot(namespace: namespace, files: files)
  }

  // MARK: Lives

  private func crash() async throws {
    events.append("crash")
    counts.crashes += 1
    await daemon.crash(try writer)
    try await reload()
  }

  private func restart() async throws {
    events.append("restart")
    daemon.faults.removeRules()
    let old = try writer
    guard await old.drain() else { throw Unexpected("did not drain") }
    old.closeRegions()
    try await reload()
    try await writer.claim()
    note()
  }

  private func reload() async throws {
    daemon = Self.daemon(witness, daemon.cache, &random)
    let loaded = try await daemon.load(try writer.id)
    group = loaded
    try await compare(loaded, files, nil, "after the restart")
    note()
  }

  /// The next replacements of the root are done, and the writer does not hear of it.
  private func loseAnswers() {
    events.append("lost answers")
    daemon.faults.removeRules()
    daemon.faults.add(
      .init(.failAfter(.unavailable), on: [.put], keyContains: "/root", count: 3, probability: 0.5))
  }

  // MARK: From nothing

  private func checkNewCommits() async throws {
    for bytes in witness.takeRoots() {
      let root = try RootCodec.decode(bytes)
      guard root.cut > 0 else { continue }
      if let last = lastCut, last.log == root.log, last.cut > root.cut {
        throw Unexpected("commit \(root.commit.number) goes back from \(last.cut) to \(root.cut)")
      }
      guard let expected = history[.init(log: root.log, sequence: root.cut)] else {
        throw Unexpected("commit \(root.commit.number) has a cut that never was: \(root.cut)")
      }
      let isNew = lastCut.map { $0.log != root.log || $0.cut != root.cut } ?? true
      try await openFromNothing(PastStore(witness, root: bytes), root.group, expected)
      try await onRoot?(root, expected)
      counts.commits += isNew ? 1 : 0
      counts.checkpoints += isNew ? 0 : 1
      counts.files += expected.files.count
      lastCut = (root.log, root.cut)
      history = history.filter { $0.key.log != root.log || $0.key.sequence >= root.cut }
    }
  }

  /// Opens the group in a store with an empty cache, and compares everything.
  func openFromNothing(
    _ store: any ObjectStore, _ id: GroupID, _ expected: Snapshot
  ) async throws {
    lives += 1
    let other = Daemon(
      store, cache: try scratch.directory("elsewhere\(lives)"),
      writer: WriterID(high: 9, low: lives))
    let group = try await other.load(id)
    let commit = group.state.withLock { $0.root.commit.number }
    try await compare(group, expected.files, expected.namespace, "commit \(commit)")
    group.closeRegions()
    try group.removeCache()
  }

  private func compare(
    _ group: Group, _ files: [FileID: [UInt8]], _ namespace: Namespace?, _ what: String
  ) async throws {
    let found = group.state.withLock { $0.namespace }
    if let namespace {
      for inode in namespace.all where found[inode.id] != inode {
        throw Unexpected("\(what): \(String(describing: found[inode.id])), not \(inode)")
      }
      for inode in found.all where namespace[inode.id] == nil {
        throw Unexpected("\(what): \(inode) should not be there")
      }
    }
    for (file, bytes) in files {
      let region = try group.open(file, writable: false).region
      defer { group.close(file, writable: false) }
      let there = try await region.contents(0..<Self.largest * 2)
      guard there == bytes else {
        let at = zip(there, bytes).enumerated().first { $0.element.0 != $0.element.1 }?.offset
        throw Unexpected(
          "\(what): file \(file) has \(there.count) bytes, not \(bytes.count); "
            + "the first difference is at \(at.map(String.init) ?? "the end")")
      }
    }
  }
}
