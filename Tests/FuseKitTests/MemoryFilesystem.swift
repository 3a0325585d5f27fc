import FuseKit
import Glibc
import Locks

/// A small filesystem in memory, to exercise FuseKit by. Beyond ordinary files it has some whose
/// names say how they behave; see `Behaviour`.
final class MemoryFilesystem: FuseFilesystem {
  /// What reading a file does instead of answering with its data.
  enum Behaviour: String {
    /// The reply is dropped.
    case dropped
    /// The reply is parked, and only ever answered by an interrupt.
    case parked
    /// The reply is armed late, after the interrupt has come; the interrupt answers it.
    case armedLate
  }

  struct Node {
    var mode: UInt32
    var data: [UInt8] = []
    var names: [[UInt8]: NodeID] = [:]
    var xattrs: [[UInt8]: [UInt8]] = [:]
    var modified = FileTime(seconds: 1_000_000_000, nanoseconds: 7)
    var behaviour: Behaviour?
  }

  struct State {
    var nodes: [NodeID: Node] = [1: Node(mode: S_IFDIR | 0o755)]
    var nextNode: NodeID = 2
    var parked = ParkedReplies()
    var nextKey: UInt64 = 1
    var counts: [String: Int] = [:]
    var forgotten: UInt64 = 0
    var lastRenameFlags: UInt32 = 0
    var writeBacks = 0
  }

  let state = Lock(State())
  /// How long the kernel may trust names and attributes, in seconds.
  let timeout = 60.0

  func count(_ operation: String) -> Int { state.withLock { $0.counts[operation] ?? 0 } }

  /// Counts a call and works on the state.
  func perform<Result>(
    _ operation: String, _ body: (inout State) throws(Errno) -> Result
  ) throws(Errno) -> Result {
    try state.withLock { state throws(Errno) in
      state.counts[operation, default: 0] += 1
      return try body(&state)
    }
  }

  struct Errno: Error {
    var code: Int32
    init(_ code: Int32) { self.code = code }
  }

  func attributes(_ id: NodeID, _ node: Node) -> FileAttributes {
    FileAttributes(
      inode: id, mode: node.mode, linkCount: 1, uid: 0, gid: 0, size: UInt64(node.data.count),
      blocks: UInt64((node.data.count + 511) / 512), blockSize: 4096, accessed: node.modified,
      modified: node.modified, changed: node.modified)
  }

  func entry(_ id: NodeID, _ node: Node) -> Entry {
    Entry(
      node: id, attributes: attributes(id, node), entryTimeout: timeout, attributeTimeout: timeout)
  }

  /// Adds a file before or while the mount is used.
  @discardableResult
  func add(_ name: String, _ data: [UInt8] = [], behaviour: Behaviour? = nil) -> NodeID {
    state.withLock { state in
      var node = Node(mode: S_IFREG | 0o644, data: data)
      node.behaviour = behaviour
      return state.insert(node, Array(name.utf8), into: 1)
    }
  }

  /// Takes the parked replies out of the table.
  func takeParked() -> [ParkedReplies.Box] {
    state.withLock { state in
      defer { state.parked.boxes.removeAll() }
      return Array(state.parked.boxes.values)
    }
  }

  /// Answers what is parked with an errno.
  func failParked(_ errno: Int32) {
    for box in takeParked() {
      if let reply = box.take() { reply.error(errno) }
    }
  }

  func data(of node: NodeID) -> [UInt8] { state.withLock { $0.nodes[node]?.data ?? [] } }
}

extension MemoryFilesystem.State {
  mutating func insert(
    _ node: MemoryFilesystem.Node, _ name: [UInt8], into parent: NodeID
  ) -> NodeID {
    let id = nextNode
    nextNode += 1
    nodes[id] = node
    nodes[parent]?.names[name] = id
    return id
  }

  func node(_ id: NodeID) throws(MemoryFilesystem.Errno) -> MemoryFilesystem.Node {
    guard let node = nodes[id] else { throw MemoryFilesystem.Errno(ENOENT) }
    return node
  }

  func child(_ parent: NodeID, _ name: [UInt8]) throws(MemoryFilesystem.Errno) -> NodeID {
    guard let id = try node(parent).names[name] else { throw MemoryFilesystem.Errno(ENOENT) }
    return id
  }
}

/// Parked replies by key. A class, because noncopyable values do not go into a dictionary.
struct ParkedReplies {
  final class Box {
    private var reply: ReadReply?
    init(_ reply: consuming ReadReply) { self.reply = consume reply }
    func take() -> ReadReply? {
      let taken = reply.take()
      return taken
    }
  }
  var boxes: [UInt64: Box] = [:]
}
