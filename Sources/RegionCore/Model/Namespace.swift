/// The names and attributes of one group, as a value: questions and changes, no I/O.
///
/// Operations compute the `NameChange`s that an edit makes; the caller logs them and then applies
/// them, so that what is in memory is always what the log says.
public struct Namespace: Sendable {
  /// The group's top.
  public static let top: FileID = 1

  private var inodes: [FileID: Inode] = [:]
  private var children: [FileID: [FileName: FileID]] = [:]
  /// The next number to hand out; never goes back.
  public private(set) var nextFileID: FileID

  /// A namespace holding `inodes`, which hands out ids from `nextFileID`.
  public init(inodes: some Sequence<Inode> = [], nextFileID: FileID = 2) {
    self.nextFileID = nextFileID
    for inode in inodes { apply(.set(inode)) }
  }

  /// All inodes, in no order.
  public var all: Dictionary<FileID, Inode>.Values { inodes.values }

  /// How many inodes there are.
  public var count: Int { inodes.count }

  /// The inode with this number.
  public subscript(id: FileID) -> Inode? { inodes[id] }

  /// The entry `name` of a directory.
  public func child(_ name: FileName, of parent: FileID) -> Inode? {
    children[parent]?[name].flatMap { inodes[$0] }
  }

  /// The entries of a directory, in order of name.
  public func entries(of parent: FileID) -> [(name: FileName, id: FileID)] {
    (children[parent] ?? [:]).map { (name: $0.key, id: $0.value) }.sorted { $0.name < $1.name }
  }

  /// Whether the directory has no entries.
  public func isEmpty(_ directory: FileID) -> Bool { children[directory]?.isEmpty ?? true }

  /// The path from the group's top, without it; nil if the inode is gone.
  public func path(of id: FileID) -> [FileName]? {
    var names: [FileName] = []
    var current = id
    while current != Self.top {
      guard let inode = inodes[current], let name = inode.name, names.count < 4096 else {
        return nil
      }
      names.append(name)
      current = inode.parent
    }
    return names.reversed()
  }

  /// Makes a change. Applying one twice is the same as once.
  public mutating func apply(_ change: NameChange) {
    switch change {
    case .set(let inode):
      detach(inode.id)
      inodes[inode.id] = inode
      if let name = inode.name { children[inode.parent, default: [:]][name] = inode.id }
      nextFileID = max(nextFileID, inode.id + 1)
    case .remove(let id):
      detach(id)
      inodes[id] = nil
      children[id] = nil
    }
  }

  /// Takes an inode's name out of its directory, if the name is still its own.
  private mutating func detach(_ id: FileID) {
    guard let old = inodes[id], let name = old.name, children[old.parent]?[name] == id else {
      return
    }
    children[old.parent]?[name] = nil
  }

  /// Replaces an inode without touching names: sizes and times, the frequent case.
  public mutating func update(_ id: FileID, _ body: (inout Inode) -> Void) {
    guard var inode = inodes[id] else { return }
    body(&inode)
    inodes[id] = inode
  }

  // MARK: Edits

  /// What making an inode takes: the inode itself and its directory's new times.
  public func make(
    _ kind: InodeKind, name: FileName, in parent: FileID, mode: UInt16, uid: UInt32, gid: UInt32,
    target: [UInt8] = [], at time: Timestamp
  ) throws(RegionError) -> (inode: Inode, changes: [NameChange]) {
    let directory = try self.directory(parent)
    guard child(name, of: parent) == nil else { throw .exists }
    guard UInt64(count) < Limits.inodes else { throw .limitReached }
    guard target.count <= Limits.symlinkLength else { throw .nameTooLong }
    // A set-gid directory hands its group down, as on other file systems.
    let inherits = directory.mode & 0o2000 != 0
    var inode = Inode(
      id: nextFileID, parent: parent, name: name, kind: kind, mode: mode, uid: uid,
      gid: inherits ? directory.gid : gid, time: time, target: target)
    if inherits, kind == .directory { inode.mode |= 0o2000 }
    return (inode, [.set(inode), touched(directory, at: time)])
  }

  /// What removing a name takes. `directory` says whether rmdir or unlink asked.
  public func remove(_ name: FileName, in parent: FileID, directory: Bool, at time: Timestamp)
    throws(RegionError) -> (inode: Inode, changes: [NameChange])
  {
    let holder = try self.directory(parent)
    guard let inode = child(name, of: parent) else { throw .notFound }
    try checkRemovable(inode, asDirectory: directory)
    return (inode, [.remove(inode.id), touched(holder, at: time)])
  }

  /// What a rename takes; all in one step. `replaced` is what the new name meant before.
  public func rename(
    _ name: FileName, in parent: FileID, to newName: FileName, in newParent: FileID,
    replacing: Bool, at time: Timestamp
  ) throws(RegionError) -> (replaced: Inode?, changes: [NameChange]) {
    let from = try directory(parent)
    let into = try directory(newParent)
    guard var inode = child(name, of: parent) else { throw .notFound }
    if inode.kind == .directory, isInside(newParent, inode.id) { throw .invalid }
    let replaced = child(newName, of: newParent)
    if let replaced {
      if replaced.id == inode.id { return (nil, []) }
      guard replacing else { throw .exists }
      try checkRemovable(replaced, asDirectory: inode.kind == .directory)
    }
    inode.parent = newParent
    inode.name = newName
    inode.changed = time
    var changes: [NameChange] = replaced.map { [.remove($0.id)] } ?? []
    changes += [.set(inode), touched(from, at: time)]
    if newParent != parent { changes.append(touched(into, at: time)) }
    return (replaced, changes)
  }

  /// What swapping two names takes (RENAME_EXCHANGE).
  public func exchange(
    _ name: FileName, in parent: FileID, with other: FileName, in otherParent: FileID,
    at time: Timestamp
  ) throws(RegionError) -> [NameChange] {
    let first = try directory(parent)
    let second = try directory(otherParent)
    guard var a = child(name, of: parent), var b = child(other, of: otherParent) else {
      throw .notFound
    }
    if a.id == b.id { return [] }
    if a.kind == .directory, isInside(otherParent, a.id) { throw .invalid }
    if b.kind == .directory, isInside(parent, b.id) { throw .invalid }
    (a.parent, b.parent) = (b.parent, a.parent)
    (a.name, b.name) = (b.name, a.name)
    a.changed = time
    b.changed = time
    var changes: [NameChange] = [.set(a), .set(b), touched(first, at: time)]
    if otherParent != parent { changes.append(touched(second, at: time)) }
    return changes
  }

  private func directory(_ id: FileID) throws(RegionError) -> Inode {
    guard let inode = inodes[id] else { throw .notFound }
    guard inode.kind == .directory else { throw .notDirectory }
    return inode
  }

  private func checkRemovable(_ inode: Inode, asDirectory: Bool) throws(RegionError) {
    if asDirectory {
      guard inode.kind == .directory else { throw .notDirectory }
      guard isEmpty(inode.id) else { throw .notEmpty }
    } else if inode.kind == .directory {
      throw .isDirectory
    }
  }

  /// Whether `id` is `ancestor` or lies below it.
  private func isInside(_ id: FileID, _ ancestor: FileID) -> Bool {
    var current = id
    // Bounded: directories of a damaged store may be inside each other. Such a one takes no renames.
    for _ in 0...count {
      if current == ancestor { return true }
      guard current != Self.top, let inode = inodes[current] else { return false }
      current = inode.parent
    }
    return true
  }

  private func touched(_ directory: Inode, at time: Timestamp) -> NameChange {
    var directory = directory
    directory.modified = time
    directory.changed = time
    return .set(directory)
  }
}
