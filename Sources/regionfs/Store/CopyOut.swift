import Glibc
import RegionControl
import RegionCore

/// Copies a file or a tree of a group to local files.
struct CopyOut: Sendable {
  let path: StorePath
  let target: String
  let recursive: Bool
  let force: Bool

  func run(
    _ session: StoreSession, _ progress: CopyProgress
  ) async throws(CommandError) -> CopyResult {
    let (_, group) = try await session.group(path.name)
    guard let top = group.inode(at: path.inside) else {
      throw CommandError("\(session.configuration.store)//\(path.path): no such file in the group")
    }
    guard top.kind != .directory || recursive else {
      throw CommandError(
        "\(path.path) is a directory; copy it with -r", code: ExitStatus.usage)
    }
    var place = target
    if Self.isDirectory(target), top.kind != .directory || !Self.isEmpty(target) {
      place = target + "/" + (path.inside.last ?? path.name).description
    }
    if unsafe access(place, F_OK) == 0, !force, !(top.kind == .directory && Self.isEmpty(place)) {
      throw CommandError("\(place) exists; replace it with --force", code: ExitStatus.system)
    }
    let files = Self.tree(top, place, group)
    progress.begin(path.path, total: files.reduce(0) { $0 + $1.inode.size })
    var result = CopyResult()
    for (inode, place) in files {
      switch inode.kind {
      case .directory: try local { () throws(LocalError) in try LocalDirectory.create(place) }
      case .symlink: try Self.link(inode, place, replacing: force)
      case .file:
        try await FileCopyOut(inode: inode, group: group, target: place).run(&result, progress)
      }
    }
    // Modes of directories last: one may forbid what is made in it.
    for (inode, place) in files.reversed() where inode.kind == .directory {
      try Self.setAttributes(inode, place)
    }
    return result
  }

  /// The inode and all below it, directories before what is in them, with their paths.
  private static func tree(
    _ top: Inode, _ place: String, _ group: StoredGroup
  ) -> [(inode: Inode, place: String)] {
    var found = [(inode: top, place: place)]
    var at = 0
    while at < found.count {
      let (inode, place) = found[at]
      at += 1
      guard inode.kind == .directory else { continue }
      for entry in group.namespace.entries(of: inode.id) {
        if let child = group.namespace[entry.id] {
          found.append((child, place + "/" + entry.name.description))
        }
      }
    }
    return found
  }

  private static func isDirectory(_ path: String) -> Bool {
    var status = stat()
    return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
  }

  private static func isEmpty(_ path: String) -> Bool {
    isDirectory(path) && (try? LocalDirectory.names(in: path).isEmpty) == true
  }

  private static func link(
    _ inode: Inode, _ place: String, replacing: Bool
  ) throws(CommandError) {
    if replacing {
      try local { () throws(LocalError) in try LocalDirectory.removeFile(place) }
    }
    guard unsafe symlink(String(decoding: inode.target, as: UTF8.self), place) == 0 else {
      throw CommandError(LocalError("symlink", path: place, code: errno))
    }
  }

  /// Mode and time of modification.
  static func setAttributes(_ inode: Inode, _ place: String) throws(CommandError) {
    guard unsafe chmod(place, mode_t(inode.mode & 0o777)) == 0 else {
      throw CommandError(LocalError("chmod", path: place, code: errno))
    }
    let time = timespec(
      tv_sec: Int(inode.modified.seconds), tv_nsec: Int(inode.modified.fraction))
    let times = [time, time]
    guard unsafe utimensat(AT_FDCWD, place, times, 0) == 0 else {
      throw CommandError(LocalError("utimensat", path: place, code: errno))
    }
  }
}

/// Runs a body on local files.
func local<Value>(_ body: () throws(LocalError) -> Value) throws(CommandError) -> Value {
  do throws(LocalError) { return try body() } catch { throw CommandError(error) }
}

/// Copies one file: into `TARGET.regionfs-part`, which becomes the target once it is whole. Beside it,
/// `TARGET.regionfs-part.at` says how far it is of which commit.
struct FileCopyOut: Sendable {
  let inode: Inode
  let group: StoredGroup
  let target: String

  /// Bytes fetched at a time by one of the tasks.
  private static let window: UInt64 = 8 << 20
  private static let width = 6
  /// Bytes after which the place is noted.
  private static let noteInterval: UInt64 = 256 << 20

  private var partPath: String { target + ".regionfs-part" }
  private var notePath: String { partPath + ".at" }

  func run(
    _ result: inout CopyResult, _ progress: CopyProgress
  ) async throws(CommandError) {
    let start = try resumePoint()
    let file = try local { () throws(LocalError) in
      let flags = start == 0 ? O_RDWR | O_CREAT | O_TRUNC : O_RDWR
      let file = try LocalFile(path: partPath, flags: flags)
      try file.truncate(to: inode.size)
      return file
    }
    progress.advance(start)
    result.resumedBytes += start
    var at = start
    while at < inode.size {
      let end = min(inode.size, at + Self.noteInterval)
      result.bytes += try await copy(at..<end, file, progress)
      at = end
      if at < inode.size { try note(at, file) }
    }
    try local { () throws(LocalError) in
      try file.sync()
      guard unsafe rename(partPath, target) == 0 else {
        throw LocalError("rename", path: target, code: errno)
      }
      try LocalDirectory.removeFile(notePath)
    }
    try CopyOut.setAttributes(inode, target)
    result.files += 1
  }

  /// Copies a part of the file, several windows at a time; the bytes that were no hole.
  private func copy(
    _ bytes: Range<UInt64>, _ file: LocalFile, _ progress: CopyProgress
  ) async throws(CommandError) -> UInt64 {
    let windows = stride(from: bytes.lowerBound, to: bytes.upperBound, by: Int(Self.window)).map {
      $0..<min($0 + Self.window, bytes.upperBound)
    }
    let results = await mapConcurrently(windows, width: Self.width) { window in
      await outcome { () async throws(CommandError) in
        let count = try await copyWindow(window, file)
        progress.advance(UInt64(window.count))
        return count
      }
    }
    var sum: UInt64 = 0
    for result in results { sum += try result.get() }
    return sum
  }

  private func copyWindow(
    _ window: Range<UInt64>, _ file: LocalFile
  ) async throws(CommandError) -> UInt64 {
    let pieces: [StoredGroup.Piece]
    do throws(RemoteError) {
      pieces = try await group.read(inode.id, group.root.geometry.chunks(touching: window))
    } catch {
      throw CommandError(error)
    }
    var count: UInt64 = 0
    for piece in pieces where piece.offset < inode.size {
      let length = min(UInt64(piece.bytes.count), inode.size - piece.offset)
      try local { () throws(LocalError) in
        try file.write(
          length == UInt64(piece.bytes.count) ? piece.bytes : Array(piece.bytes[..<Int(length)]),
          at: piece.offset)
      }
      count += length
    }
    return count
  }

  // MARK: Going on

  private var heading: String {
    "regionfs-part 1 \(group.root.group) \(group.root.commit.number) \(group.root.commit.nonce) "
      + "\(inode.id) \(inode.size)"
  }

  /// How far an interrupted copy of this very commit got.
  private func resumePoint() throws(CommandError) -> UInt64 {
    let text = try local { () throws(LocalError) in
      try LocalDirectory.contents(of: notePath, limit: 4096)
    }
    guard let text, unsafe access(partPath, W_OK) == 0 else { return 0 }
    let words = String(decoding: text, as: UTF8.self)
    guard words.hasPrefix(heading + " "),
      let place = UInt64(words.dropFirst(heading.count + 1).prefix { $0.isNumber }),
      place <= inode.size
    else { return 0 }
    return place
  }

  /// Notes that everything before `place` is in the file, durably.
  private func note(_ place: UInt64, _ file: LocalFile) throws(CommandError) {
    try local { () throws(LocalError) in
      try file.syncData()
      try LocalDirectory.replaceFile(notePath, with: Array("\(heading) \(place)\n".utf8))
    }
  }
}
