import RegionTesting

@testable import RegionCore

/// What happens to the files: bytes, sizes, names, attributes.
extension CommitHistory {
  func change() async throws {
    switch Int.random(in: 0..<100, using: &random) {
    case 0..<16: try make()
    case 16..<48: try await write()
    case 48..<58: try await resize()
    case 58..<65: try await zero()
    case 65..<80: try move()
    case 80..<84: try remove()
    default: try setAttributes()
    }
    note()
  }

  private var all: [Inode] {
    get throws {
      try writer.state.withLock { state in state.namespace.all.sorted { $0.id < $1.id } }
    }
  }

  private func pick(_ kinds: Set<InodeKind>) throws -> Inode? {
    try all.filter { kinds.contains($0.kind) && $0.id != Namespace.top }
      .randomElement(using: &random)
  }

  private func directory() throws -> FileID {
    try all.filter { $0.kind == .directory }.randomElement(using: &random)?.id ?? Namespace.top
  }

  private func name() throws -> FileName {
    // Few short names, so that renames meet one another, and a long one now and then.
    let text = "n\(Int.random(in: 0..<80, using: &random))"
    guard let name = FileName(random.oneIn(12) ? String(repeating: text, count: 50) : text) else {
      throw Unexpected("no name: \(text)")
    }
    return name
  }

  private func make() throws {
    guard try all.count < Self.mostInodes else { return }
    let kind: InodeKind = random.oneIn(4) ? .directory : random.oneIn(4) ? .symlink : .file
    let (name, parent) = (try name(), try directory())
    let target = kind == .symlink ? random.bytes(40).map { $0 | 1 } : []
    events.append("make \(kind) \(name) in \(parent)")
    let made = try allowing(.exists) {
      try writer.edit { (names, now) throws(RegionError) in
        let made = try names.make(
          kind, name: name, in: parent, mode: 0o640, uid: 5, gid: 6, target: target, at: now)
        return (made.inode, made.changes)
      }
    }
    if let made, kind == .file { files[made.id] = [] }
  }

  private func move() throws {
    guard let inode = try pick([.file, .directory, .symlink]), let old = inode.name else { return }
    let (new, parent) = (try name(), try directory())
    events.append("rename \(inode.id) to \(new) in \(parent)")
    let isExchange = random.oneIn(5)
    let replaced = try allowing(
      .exists, .invalid, .notEmpty, .isDirectory, .notDirectory, .notFound
    ) {
      try writer.edit { (names, now) throws(RegionError) -> (Inode?, [NameChange]) in
        if isExchange {
          let changes = try names.exchange(old, in: inode.parent, with: new, in: parent, at: now)
          return (nil, changes)
        }
        let moved = try names.rename(
          old, in: inode.parent, to: new, in: parent, replacing: true, at: now)
        return (moved.replaced, moved.changes)
      }
    }
    if let gone = replaced ?? nil { files[gone.id] = nil }
  }

  private func remove() throws {
    guard let inode = try pick([.file, .file, .directory, .symlink]), let name = inode.name else {
      return
    }
    events.append("remove \(inode.id)")
    let gone = try allowing(.notEmpty) {
      try writer.edit { (names, now) throws(RegionError) in
        let removed = try names.remove(
          name, in: inode.parent, directory: inode.kind == .directory, at: now)
        return (removed.inode, removed.changes)
      }
    }
    if let gone { files[gone.id] = nil }
  }

  private func setAttributes() throws {
    let inode = try all.randomElement(using: &random)
    guard let inode else { return }
    events.append("attributes of \(inode.id)")
    let value = random.bytes(random.oneIn(10) ? 3000 : 20)
    let which = Int.random(in: 0..<5, using: &random)
    let number = UInt32.random(in: 0...UInt32.max, using: &random)
    _ = try writer.editInode(inode.id) { (inode, now) throws(RegionError) in
      switch which {
      case 0: inode.mode = UInt16(number & 0o7777)
      case 1: (inode.uid, inode.gid) = (number, number ^ 1)
      case 2: inode.modified = Timestamp(nanoseconds: Int64(number))
      case 3: inode.xattrs = [.init(name: Array("user.a".utf8), value: value)]
      default: inode.xattrs = []
      }
      inode.changed = now
    }
  }

  /// Nil where the change is refused for a reason that these names give.
  private func allowing<Value>(
    _ refusals: RegionError..., body: () throws -> Value
  ) throws -> Value? {
    do {
      return try body()
    } catch {
      guard let refusal = error as? RegionError, refusals.contains(refusal) else { throw error }
      return nil
    }
  }

  // MARK: Bytes

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
    _ what: String, _ body: (Group, Region, inout [UInt8]) async throws -> Void
  ) async throws {
    guard let inode = try pick([.file]) else { return }
    events.append("\(what) in \(inode.id)")
    let group = try writer
    let region = try group.open(inode.id, writable: true).region
    defer { group.close(inode.id, writable: true) }
    var bytes = files[inode.id] ?? []
    try await body(group, region, &bytes)
    files[inode.id] = bytes
  }

  private func write() async throws {
    let offset = place(below: Self.largest)
    let length = max(1, place(below: min(random.oneIn(4) ? 80_000 : 6000, Self.largest - offset)))
    // Zeros now and then, which may be there already: then only the times change.
    let stamp = random.oneIn(10) ? 0 : random.next() | 1
    let new = (0..<length).map {
      UInt8(truncatingIfNeeded: (stamp &* UInt64($0 + offset + 1)) >> 29)
    }
    try await change("write \(offset)..<\(offset + length)") { group, region, bytes in
      try await group.put(new, region, at: offset)
      bytes += [UInt8](repeating: 0, count: max(0, offset + length - bytes.count))
      bytes.replaceSubrange(offset..<offset + length, with: new)
    }
  }

  private func resize() async throws {
    let size = place(below: Self.largest)
    try await change("resize to \(size)") { group, region, bytes in
      try await group.perform(region) { group.resize(region, to: UInt64(size)) }
      if size < bytes.count { bytes.removeLast(bytes.count - size) }
      bytes += [UInt8](repeating: 0, count: size - bytes.count)
    }
  }

  private func zero() async throws {
    let first = place(below: Self.largest - 1)
    let end = first + 1 + place(below: Self.largest - first - 1)
    try await change("zero \(first)..<\(end)") { group, region, bytes in
      try await group.perform(region) {
        group.zero(region, UInt64(first)..<UInt64(end), size: nil)
      }
      let range = (first..<end).clamped(to: 0..<bytes.count)
      bytes.replaceSubrange(range, with: repeatElement(0, count: range.count))
    }
  }
}
