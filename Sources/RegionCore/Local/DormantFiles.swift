import Glibc
import Locks

/// Cached files that no region of this mount has open: of earlier mounts, or closed since. They count
/// against the limit and are the first to make room, the one that was used longest ago before others.
///
/// Its lock is held while a file is opened as a region and while one is made smaller, so that the two
/// never meet. It is taken inside a group's lock; inside it nothing but the disk is.
final class DormantFiles: Sendable {
  /// A file of one group.
  struct Name: Hashable, Sendable {
    var group: GroupID
    var file: FileID
  }

  fileprivate struct File {
    var cache: GroupCache
    var bytes: UInt64
    /// Larger is later.
    var age: Int64
  }

  fileprivate struct State {
    /// Files that regions have open, and how many.
    var open: [Name: Int] = [:]
    var files: [Name: File] = [:]
    var clock: Int64 = 0
    var bytes: UInt64 = 0
    /// Bytes of files that have nothing to give.
    var stuck: [Name: UInt64] = [:]
  }

  fileprivate let state = Lock(State())

  /// Bytes they take.
  var bytes: UInt64 { state.withLock { $0.bytes } }

  /// Opens a file's cached bytes by `body`; from then on, and until `closed`, the file is not dormant.
  func opening<Value>(
    _ name: Name, _ body: () throws(LocalError) -> Value
  ) throws(LocalError) -> Value {
    try state.withLock { (state) throws(LocalError) in
      let value = try body()
      state.open[name, default: 0] += 1
      state.forget(name)
      return value
    }
  }

  /// A region that `opening` began has ended. `bytes`: what its data file takes.
  func closed(_ name: Name, _ cache: GroupCache, bytes: UInt64) {
    state.withLock { state in
      let left = (state.open[name] ?? 1) - 1
      state.open[name] = left > 0 ? left : nil
      guard left == 0, bytes > 0 else { return }
      state.clock += 1
      state.add(name, File(cache: cache, bytes: bytes, age: state.clock))
    }
  }

  /// Notes what earlier mounts left in the cache. Ages of files are before those of this mount.
  func scan(_ cacheDirectory: String, on disk: any LocalDisk) throws(LocalError) {
    for directory in try disk.names(in: cacheDirectory) {
      guard let group = GroupID(directory), access(cacheDirectory + "/\(group)/data") else {
        continue
      }
      let cache = try GroupCache(group: group, cacheDirectory: cacheDirectory, disk: disk)
      for text in try disk.names(in: cache.directory + "/data") {
        guard let file = FileID(text) else { continue }
        add(Name(group: group, file: file), cache)
      }
    }
  }

  private func access(_ path: String) -> Bool { unsafe Glibc.access(path, F_OK) == 0 }

  private func add(_ name: Name, _ cache: GroupCache) {
    var status = stat()
    guard unsafe stat(cache.dataPath(name.file), &status) == 0, status.st_blocks > 0 else { return }
    let age = Int64(status.st_mtim.tv_sec) - Int64.max / 2
    state.withLock { state in
      guard state.open[name] == nil, state.files[name] == nil else { return }
      state.add(name, File(cache: cache, bytes: UInt64(status.st_blocks) * 512, age: age))
    }
  }

  /// The file was removed.
  func forget(_ name: Name) { state.withLock { $0.forget(name) } }

  /// The group's files were removed.
  func forget(_ group: GroupID) {
    state.withLock { state in
      for name in Array(state.files.keys) + Array(state.stuck.keys) where name.group == group {
        state.forget(name)
      }
    }
  }

  /// Makes the oldest file smaller by about `wanted` bytes. Returns by how many; 0 if none can be.
  func evict(_ wanted: UInt64, on disk: any LocalDisk) -> UInt64 {
    state.withLock { state in
      while let (name, file) = state.oldest {
        let left = (try? file.cache.shrink(name.file, by: wanted)) ?? file.bytes
        state.forget(name)
        guard left < file.bytes else {
          state.stuck[name] = file.bytes
          state.bytes += file.bytes
          continue
        }
        if left > 0 { state.add(name, File(cache: file.cache, bytes: left, age: file.age)) }
        return file.bytes - left
      }
      return 0
    }
  }
}

extension DormantFiles.State {
  fileprivate mutating func add(_ name: DormantFiles.Name, _ file: DormantFiles.File) {
    files[name] = file
    bytes += file.bytes
  }

  fileprivate mutating func forget(_ name: DormantFiles.Name) {
    if let file = files.removeValue(forKey: name) { bytes -= file.bytes }
    if let left = stuck.removeValue(forKey: name) { bytes -= left }
  }

  fileprivate var oldest: (DormantFiles.Name, DormantFiles.File)? {
    files.min { ($0.value.age, $0.key.file) < ($1.value.age, $1.key.file) }.map {
      ($0.key, $0.value)
    }
  }
}

extension GroupCache {
  /// Makes holes of about `wanted` bytes of present chunks of a file that no region has open. Returns
  /// the bytes that are left.
  fileprivate func shrink(_ file: FileID, by wanted: UInt64) throws(LocalError) -> UInt64 {
    guard let header = try StateFile.header(at: statePath(file), on: disk) else { return 0 }
    let data = try disk.open(dataPath(file), flags: O_RDWR)
    let claimsClean = header.isClean && header.bootID == .zero
    let stateFile = try StateFile(
      path: statePath(file), header: header, claimsClean: claimsClean, on: disk)
    let pinned = try Pins(self).chunks(of: file, geometry: header.geometry)
    let most = Int(clamping: max(1, wanted >> header.geometry.chunkShift))
    var victims: [ChunkIndex] = []
    try stateFile.forEachPresent { run in
      for chunk in run where victims.count < most && !pinned.contains(chunk) {
        victims.append(chunk)
      }
    }
    for chunk in victims {
      try stateFile.set(chunk..<chunk + 1, present: false)
      try data.punchHole(header.geometry.bytes(of: chunk))
    }
    // As it was, in every other respect.
    if claimsClean {
      try data.syncData()
      try stateFile.sync()
    }
    if header.isClean { try stateFile.close(as: header) }
    return try data.allocatedBytes()
  }
}
