import Glibc
import Locks

/// Copies of a group's newest root and of the small immutable pieces of objects that it refers to
/// (tables of segments, index and pages of the checkpoint), in the group's cache directory. With them
/// a group can be opened while the store does not answer, and with fewer requests while it does.
///
/// A copy is a hint like the rest of the cache: whoever refers to a piece knows its length and
/// checksum, the root has its own, and what does not match is as good as absent. So nothing here has
/// to be synced to be right; `sync` only makes it outlive a power loss.
final class MetadataCache: Sendable {
  /// What the copy of the root shows, so that an older one never replaces it.
  private struct Saved {
    var epoch: Epoch = 0
    var commit: CommitNumber = 0
    /// Files written since the last `sync`.
    var unsynced = Set<String>()
  }

  /// `<cache_dir>/<group uuid>`.
  private let directory: String
  private let disk: any LocalDisk
  private let state = Lock(Saved())

  private var pieces: String { directory + "/meta" }
  private var rootPath: String { directory + "/root" }

  /// The copies in a group's directory of the cache.
  init(group: GroupID, cacheDirectory: String, disk: any LocalDisk) {
    self.disk = disk
    directory = cacheDirectory + "/\(group)"
  }

  // MARK: The root

  /// The copy of the root; nil if there is none that is whole.
  func root(of group: GroupID) -> Root? {
    guard let bytes = try? disk.contents(of: rootPath, limit: Limits.rootLength),
      let root = try? RootCodec.decode(bytes), root.group == group
    else { return nil }
    return root
  }

  /// Keeps a root that the store has. If that does not work there is no copy any more: an old one
  /// might be taken for the newest after the log that would tell otherwise is gone.
  func keep(_ root: Root) throws(LocalError) {
    guard let bytes = try? RootCodec.encode(root) else { return }
    try state.withLock { (state) throws(LocalError) in
      guard (root.epoch, root.commit.number) >= (state.epoch, state.commit) else { return }
      do throws(LocalError) {
        try replace(rootPath, with: bytes, &state)
        (state.epoch, state.commit) = (root.epoch, root.commit.number)
      } catch {
        try disk.removeFile(rootPath)
        throw error
      }
    }
  }

  // MARK: Pieces

  /// What a piece of an object is called here.
  static func name(_ key: ObjectKey, offset: UInt64) -> String {
    key.text.split(separator: "/").suffix(2).joined(separator: "-") + "-\(offset)"
  }

  /// A piece of that length and checksum; nil if it is not here.
  func piece(_ name: String, length: Int, checksum: UInt32) -> [UInt8]? {
    guard let bytes = try? disk.contents(of: pieces + "/" + name, limit: length),
      bytes.count == length, CRC32C.checksum(bytes) == checksum
    else { return nil }
    return bytes
  }

  /// Keeps a piece that the store has.
  func keep(_ bytes: [UInt8], as name: String) throws(LocalError) {
    try disk.makeDirectory(pieces)
    try state.withLock { (state) throws(LocalError) in
      try replace(pieces + "/" + name, with: bytes, &state)
    }
  }

  /// Removes all pieces but those in `names`.
  func retain(_ names: Set<String>) throws(LocalError) {
    for name in try ifThere({ () throws(LocalError) in try disk.names(in: pieces) }) ?? []
    where !names.contains(name) {
      try disk.removeFile(pieces + "/" + name)
      state.withLock { _ = $0.unsynced.remove(pieces + "/" + name) }
    }
  }

  /// Makes everything durable.
  func sync() throws(LocalError) {
    let files = state.withLock { state in
      defer { state.unsynced = [] }
      return state.unsynced
    }
    guard !files.isEmpty else { return }
    for path in files.sorted() {
      try ifThere { () throws(LocalError) in try disk.open(path, flags: O_RDONLY).sync() }
    }
    try ifThere { () throws(LocalError) in try disk.syncDirectory(pieces) }
    try disk.syncDirectory(directory)
  }

  /// Replaces a file in one step for whoever opens it. Not synced: torn by a power loss it fails its
  /// checksum.
  private func replace(_ path: String, with bytes: [UInt8], _ state: inout Saved)
    throws(LocalError)
  {
    do throws(LocalError) {
      try disk.replaceFile(path, with: bytes, durably: false)
    } catch {
      try disk.removeFile(path + ".new")
      throw error
    }
    state.unsynced.insert(path)
  }

  /// Nil where there is no such file.
  @discardableResult
  private func ifThere<Value>(_ body: () throws(LocalError) -> Value) throws(LocalError) -> Value? {
    do throws(LocalError) {
      return try body()
    } catch {
      guard error.code == ENOENT else { throw error }
      return nil
    }
  }
}

extension Root {
  /// The pieces that it and its checkpoint's index refer to, by their names in the cache.
  func pieceNames(_ index: CheckpointIndex?) -> Set<String> {
    var names = Set(
      tail.map {
        MetadataCache.name(
          ObjectKeys.segment(group, $0.object), offset: UInt64($0.tableOffset))
      })
    if let checkpoint {
      names.insert(
        MetadataCache.name(
          ObjectKeys.map(group, checkpoint.object), offset: checkpoint.indexOffset))
    }
    for page in (index?.mapPages ?? []).map(\.page) + (index?.namePages ?? []).map(\.page) {
      names.insert(MetadataCache.name(ObjectKeys.map(group, page.object), offset: page.offset))
    }
    return names
  }
}
