import RegionTesting
import Testing

@testable import RegionCore

/// What the model does to its files.
extension GroupModel {
  // MARK: Changes

  /// Makes sure that the writer has the claim.
  func claimed() async throws -> Group {
    let group = try group
    // A claim may have been given back again before this is looked at.
    while !group.isWriter {
      clearFaults()
      try await group.claim()
      note(group)
    }
    return group
  }

  func pick() -> String? { tree.keys.sorted().randomElement(using: &random) }

  func find(_ name: String, _ group: Group) throws -> Inode {
    guard let name = FileName(name), let inode = group.child(name, of: Namespace.top) else {
      throw Unexpected("\(name) is not there")
    }
    return inode
  }

  func make() async throws {
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
  func place(below end: Int) -> Int {
    let at = Int.random(in: 0...end, using: &random)
    switch Int.random(in: 0..<4, using: &random) {
    case 0: return at
    case 1: return min(end, at & ~0xFFFF)
    case 2: return min(end, max(0, (at & ~0xFFF) + Int.random(in: -1...1, using: &random)))
    default: return at & ~0xFFF
    }
  }

  func change(
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

  func write() async throws {
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
  func attempt(
    _ name: String, _ body: (Group, Region, inout [UInt8]) async throws -> Void
  ) async throws {
    do {
      try await change(name, body)
    } catch RegionError.io where isStormy {
      log("... could not")
    }
  }

  func resize() async throws {
    guard let name = pick() else { return }
    let size = place(below: Self.largest)
    log("resize \(name) from \(tree[name]?.count ?? 0) to \(size)")
    try await attempt(name) { (group, region, bytes) in
      try await group.perform(region) { group.resize(region, to: UInt64(size)) }
      if size < bytes.count { bytes.removeLast(bytes.count - size) }
      bytes += [UInt8](repeating: 0, count: size - bytes.count)
    }
  }

  func zero() async throws {
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

  func rename() async throws {
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

  func remove() async throws {
    guard let name = pick() else { return }
    log("remove \(name)")
    let group = try await claimed()
    try keepOpen(name, group)
    try group.unlink(name)
    tree[name] = nil
    note(group)
  }

  /// Whether `body` worked; where the store is failing, it need not.
  func succeeds(_ body: () async throws -> Void) async throws -> Bool {
    do {
      try await body()
      return true
    } catch {
      if isStormy, error as? RegionError == .io { return false }
      throw error
    }
  }

  // MARK: Files without a name

  func keepOpen(_ name: String, _ group: Group) throws {
    guard random.oneIn(2) else { return }
    let file = try find(name, group).id
    let region = try group.open(file, writable: false).region
    orphans.append(Orphan(host: current, file: file, region: region, bytes: tree[name] ?? []))
    log("... which stays open")
  }

  func useOrphan() async throws {
    guard let index = orphans.indices.randomElement(using: &random) else { return }
    let orphan = orphans[index]
    guard let group = hosts[orphan.host].group else { return }
    if group.isWriter, random.oneIn(2) {
      let offset = place(below: 200_000)
      log("write an open file without a name at \(offset)")
      let new = [UInt8](repeating: 0xEE, count: 5000)
      do {
        guard try await succeeds({ try await group.put(new, orphan.region, at: offset) }) else {
          return
        }
      } catch RegionError.unclaimed {
        // Given back meanwhile: nothing here says, as a mount's open file does, that it is written.
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

  func check(_ orphan: Orphan) async throws {
    log("read a file without a name")
    do {
      let found = try await orphan.region.contents(0..<orphan.bytes.count + 10)
      try same(found, orphan.bytes, "file \(orphan.file) without a name")
    } catch RegionError.io where isStormy || orphan.mayBeCollected {
    }
  }

  func closeOrphans(of host: Int) async throws {
    for orphan in orphans where orphan.host == host {
      try await check(orphan)
      hosts[host].group?.close(orphan.file, writable: false)
    }
    orphans.removeAll { $0.host == host }
  }
}
