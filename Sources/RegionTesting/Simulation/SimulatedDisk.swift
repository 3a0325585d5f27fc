import Glibc
import Locks
import RegionCore

/// A disk in memory that can lose its power: then it keeps what was synced, and of the rest whatever
/// a chooser says, sector by sector and name by name.
///
/// - A sector of 512 bytes that was written since the last sync of its file holds, after the loss,
///   what it held at any moment since; sectors choose independently, and so does the file's length.
/// - A name that was made, removed or changed since the last sync of its directory may be as before;
///   changes of one name happen in order, a rename is one step.
/// - A synced file whose name was not synced is gone with its name.
public final class SimulatedDisk: LocalDisk {
  struct State {
    var nodes: [UInt64: Node] = [1: Node(isDirectory: true)]
    var nextNode: UInt64 = 2
    /// Changes of names that no sync has made durable, in order.
    var pending: [NameChange] = []
    var trace = Trace()
    var changes: UInt64 = 0
  }

  /// A change of one or two directory entries.
  struct NameChange {
    struct Entry: Hashable {
      var directory: UInt64
      var name: String
    }
    /// What the entries become: a node, or nothing.
    var effects: [(entry: Entry, node: UInt64?)]
  }

  let state: Lock<State>
  private let willChange = Lock<(@Sendable (UInt64) -> Void)?>(nil)

  /// An empty disk.
  public init() { state = Lock(State()) }

  init(_ state: State) { self.state = Lock(state) }

  /// Called before every change and every sync, with their number so far.
  public func onChange(_ body: (@Sendable (UInt64) -> Void)?) { willChange.withLock { $0 = body } }

  /// What was done to the disk so far, as a number.
  public var trace: UInt64 { state.withLock { $0.trace.value } }

  /// Changes and syncs so far.
  public var changes: UInt64 { state.withLock { $0.changes } }

  /// Before a change: tells the observer.
  func announce() {
    let changes = self.changes
    willChange.withLock { $0 }?(changes)
  }

  private func change<Value>(
    _ what: String, _ path: String, _ body: (inout State) throws(LocalError) -> Value
  ) throws(LocalError) -> Value {
    announce()
    return try state.withLock { (state) throws(LocalError) in
      state.changes += 1
      state.trace.add(what)
      state.trace.add(path)
      return try body(&state)
    }
  }

  // MARK: Names

  /// `open(2)`.
  public func open(_ path: String, flags: Int32) throws(LocalError) -> LocalFile {
    let existing = state.withLock { $0.find(path) }
    if let existing, flags & O_EXCL == 0, flags & O_TRUNC == 0 { return file(existing, path) }
    guard existing != nil || flags & O_CREAT != 0 else {
      throw LocalError("open", path: path, code: ENOENT)
    }
    let node = try change("open", path) { (state) throws(LocalError) -> UInt64 in
      if let node = state.find(path) {
        if flags & O_EXCL != 0 { throw LocalError("open", path: path, code: EEXIST) }
        if flags & O_TRUNC != 0 { state.nodes[node]?.truncate(to: 0) }
        return node
      }
      return try state.make(Node(isDirectory: false, path: path), at: path)
    }
    return file(node, path)
  }

  private func file(_ node: UInt64, _ path: String) -> LocalFile {
    LocalFile(path: path, substitute: File(disk: self, node: node, path: path))
  }

  /// `mkdir(2)`, with all missing parents, each durable.
  public func createDirectory(_ path: String) throws(LocalError) {
    for parent in try makeMissing(path) { try syncDirectory(parent) }
  }

  /// `mkdir(2)`, with all missing parents.
  public func makeDirectory(_ path: String) throws(LocalError) { _ = try makeMissing(path) }

  /// Returns the parents of what was made, in order.
  private func makeMissing(_ path: String) throws(LocalError) -> [String] {
    var parents: [String] = []
    var current = ""
    for part in path.split(separator: "/") {
      let parent = current.isEmpty ? "/" : current
      current += "/" + part
      let made = current
      if state.withLock({ $0.find(made) }) != nil { continue }
      try change("mkdir", made) { (state) throws(LocalError) in
        _ = try state.make(Node(isDirectory: true), at: made)
      }
      parents.append(parent)
    }
    return parents
  }

  /// `readdir(3)`, sorted.
  public func names(in path: String) throws(LocalError) -> [String] {
    try state.withLock { (state) throws(LocalError) in
      guard let node = state.find(path) else {
        throw LocalError("opendir", path: path, code: ENOENT)
      }
      return (state.nodes[node]?.entries.keys).map { $0.sorted() } ?? []
    }
  }

  /// `unlink(2)`; absent is success.
  public func removeFile(_ path: String) throws(LocalError) {
    guard state.withLock({ $0.find(path) }) != nil else { return }
    try change("unlink", path) { (state) throws(LocalError) in
      let entry = try state.entry(path)
      state.apply(NameChange(effects: [(entry, nil)]))
    }
  }

  /// Removes a directory with all that is in it.
  public func removeTree(_ path: String) throws(LocalError) { try removeFile(path) }

  /// `rename(2)`.
  public func rename(_ path: String, to other: String) throws(LocalError) {
    try change("rename", path + " " + other) { (state) throws(LocalError) in
      guard let node = state.find(path) else {
        throw LocalError("rename", path: path, code: ENOENT)
      }
      let (from, to) = (try state.entry(path), try state.entry(other))
      state.apply(NameChange(effects: [(from, nil), (to, node)]))
    }
  }

  /// `fsync(2)` on a directory.
  public func syncDirectory(_ path: String) throws(LocalError) {
    try change("syncdir", path) { (state) throws(LocalError) in
      guard let node = state.find(path) else {
        throw LocalError("open", path: path, code: ENOENT)
      }
      state.syncNames(of: node)
    }
  }
}

extension SimulatedDisk {
  /// An open file.
  private final class File: VirtualFile {
    let disk: SimulatedDisk
    let node: UInt64
    let path: String

    init(disk: SimulatedDisk, node: UInt64, path: String) {
      self.disk = disk
      self.node = node
      self.path = path
    }

    private func change(_ what: String, _ words: UInt64..., body: (inout Node) -> Void) {
      disk.announce()
      disk.state.withLock { state in
        state.changes += 1
        state.trace.add(what)
        state.trace.add(path)
        for word in words { state.trace.add(word) }
        // In place: a copy would copy the file's content.
        if state.nodes[node] != nil { body(&state.nodes[node, default: Node(isDirectory: false)]) }
      }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(LocalError)
      -> Int
    {
      disk.state.withLock { state in
        guard let content = state.nodes[node]?.content, Int(offset) < content.count else {
          return 0
        }
        let count = min(buffer.count, content.count - Int(offset))
        unsafe content.withUnsafeBytes { source in
          unsafe buffer.copyMemory(
            from: UnsafeRawBufferPointer(rebasing: source[Int(offset)..<Int(offset) + count]))
        }
        return count
      }
    }

    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(LocalError) {
      let copy = unsafe Array(bytes)
      change("write", offset, UInt64(CRC32C.checksum(copy)), UInt64(copy.count)) {
        $0.write(copy, at: Int(offset))
      }
    }

    func truncate(to size: UInt64) throws(LocalError) {
      change("truncate", size) { $0.truncate(to: Int(size)) }
    }

    func punchHole(_ range: Range<UInt64>) throws(LocalError) {
      change("punch", range.lowerBound, range.upperBound) {
        $0.punch(Int(range.lowerBound)..<Int(clamping: range.upperBound))
      }
    }

    func size() throws(LocalError) -> UInt64 {
      disk.state.withLock { UInt64($0.nodes[node]?.content.count ?? 0) }
    }

    func freeSpace() throws(LocalError) -> UInt64 { 1 << 40 }

    func seek(_ offset: UInt64, data: Bool) -> UInt64? {
      disk.state.withLock { $0.nodes[node]?.seek(Int(offset), data: data).map { UInt64($0) } }
    }

    func sync() throws(LocalError) { change("sync") { $0.sync() } }
  }
}
