import ArgumentParser
import Glibc
import RegionControl
import RegionCore
import RegionOptions

/// Copies a local file or tree into a store as a new group.
struct CopyIn: Sendable {
  let source: String
  let name: FileName
  let recursive: Bool
  let force: Bool
  let configuration: MountConfiguration

  /// Segments of one commit: what a resumed copy has to do again at most is 64 MiB.
  private static let commitSegments = 8
  /// Names of one commit.
  private static let commitNames = 1024
  /// How old the note of an interrupted copy may be: half of the time after which mounts remove what
  /// has no name.
  private static let resumeTime = Duration.seconds(1800)

  func run(_ progress: CopyProgress) throws(ExitCode) -> CopyResult {
    let top: SourceInode
    do throws(CommandError) {
      top = try SourceInode(path: source)
    } catch {
      throw fail(HumanText.printable(error.text), code: error.code)
    }
    guard top.kind != .directory || recursive else {
      throw fail(
        "\(HumanText.printable(source)) is a directory; copy it with -r", code: ExitStatus.usage)
    }
    let state: CopyState?
    do throws(CommandError) {
      state =
        top.kind == .file
        ? try CopyState(
          target: "\(configuration.store)/\(name)", sourcePath: resolvedPath(source),
          source: "\(top.size) \(top.modified.nanoseconds) \(configuration.options.chunkBytes)")
        : nil
    } catch {
      throw fail(HumanText.printable(error.text), code: error.code)
    }
    let session = try StoreSession(
      configuration, readOnly: false, purpose: "regionfs cp", writer: state?.writer ?? .random())
    let job = self
    let resumed = state?.group
    return try session.run(showsTraffic: false) { session in
      await outcome { () async throws(CommandError) in
        try await job.copy(top, session, resumed, state, progress)
      }
    }
  }

  private func copy(
    _ top: SourceInode, _ session: StoreSession, _ resumed: GroupID?, _ state: CopyState?,
    _ progress: CopyProgress
  ) async throws(CommandError) -> CopyResult {
    try await session.checkConditionalWrites()
    let old = try await existing(session)
    var group = try await Self.start(session, resumed)
    var result = CopyResult()
    // Where this fails, a file goes on from there next time; what is left of a tree goes by its note.
    try state?.note(group.group)
    if top.kind == .directory {
      try await copyTree(top, &group, &result, progress)
    } else {
      try await copyFile(top, &group, &result, progress)
    }
    try await publish(group, top, old, session)
    try state?.remove()
    return result
  }

  private static func start(
    _ session: StoreSession, _ resumed: GroupID?
  ) async throws(CommandError) -> GroupImport {
    do throws(ImportError) {
      if let resumed,
        let group = try await GroupImport.resume(resumed, session.engine, noteAge: resumeTime)
      {
        return group
      }
      return try await GroupImport.begin(session.engine)
    } catch {
      throw CommandError(error)
    }
  }

  // MARK: The name

  private func existing(
    _ session: StoreSession
  ) async throws(CommandError) -> (record: GroupRecord, etag: ETag)? {
    let found: (record: GroupRecord, etag: ETag)?
    do throws(RemoteError) {
      found = try await session.catalogue.record(name)
      if let found, force {
        // Once more at the end, and for good; here so that nobody copies for hours in vain.
        try await session.catalogue.checkNotHeld(found.record.group, engine: session.engine)
      }
    } catch {
      throw CommandError(error)
    }
    if found != nil, !force {
      throw CommandError(
        "\(configuration.store)/\(name) exists; replace it with --force, or choose another name")
    }
    return found
  }

  private func publish(
    _ group: GroupImport, _ top: SourceInode, _ old: (record: GroupRecord, etag: ETag)?,
    _ session: StoreSession
  ) async throws(CommandError) {
    var group = group
    if let old {
      do throws(RemoteError) {
        try await session.catalogue.claimForRemoval(old.record.group, engine: session.engine)
      } catch {
        throw CommandError(error)
      }
    }
    do throws(ImportError) {
      if case .taken = try await group.publish(name, kind: top.kind, replacing: old) {
        try await group.discard()
        throw .remote(
          .store(
            StoreError(
              .preconditionFailed, operation: "cp", object: "\(configuration.store)/\(name)",
              detail: "somebody made the name meanwhile; replace it with --force")))
      }
    } catch {
      throw CommandError(error)
    }
  }

  // MARK: One file

  private func copyFile(
    _ source: SourceInode, _ group: inout GroupImport, _ result: inout CopyResult,
    _ progress: CopyProgress
  ) async throws(CommandError) {
    let file = try source.open()
    // The size that was committed is how far it got.
    let done = min(group.namespace[Namespace.top]?.size ?? 0, source.size)
    progress.begin(source.path, total: source.size, resumed: done)
    (result.files, result.resumedBytes) = (1, done)
    var at = done
    repeat {
      let plan = try SegmentPlan(
        Namespace.top, file, from: at, size: source.size, segments: Self.commitSegments)
      let isLast = plan.end == source.size
      if isLast { try source.checkUnchanged() }
      var inode = source.inode(id: Namespace.top, parent: 0, name: nil)
      inode.size = plan.end
      try await Self.commit(&group, plan.segments, [.set(inode)])
      result.bytes += plan.bytes
      progress.advance(plan.end - at)
      at = plan.end
    } while at < source.size
  }

  private static func commit(
    _ group: inout GroupImport, _ segments: [[ImportPart]], _ names: [NameChange]
  ) async throws(CommandError) {
    do throws(ImportError) {
      try await group.commit(segments, names: names)
    } catch {
      throw CommandError(error)
    }
  }

  // MARK: A tree

  private func copyTree(
    _ top: SourceInode, _ group: inout GroupImport, _ result: inout CopyResult,
    _ progress: CopyProgress
  ) async throws(CommandError) {
    let tree = try SourceTree(top)
    progress.begin(top.path, total: tree.bytes)
    for names in tree.inodes.chunked(by: Self.commitNames) {
      try await Self.commit(&group, [], names.map { .set($0.inode) })
    }
    var pending: [[ImportPart]] = []
    var pendingBytes: UInt64 = 0
    for (inode, source) in tree.inodes where inode.kind == .file {
      result.files += 1
      let file = try source.open()
      var at: UInt64 = 0
      while at < source.size {
        // A file that is longer fills segments of its own; small ones share the last.
        let plan = try SegmentPlan(
          inode.id, file, from: at, size: source.size, segments: Self.commitSegments)
        for parts in plan.segments {
          let bytes = parts.reduce(0) { $0 + UInt64($1.bytes.count) }
          if let last = pending.indices.last,
            pendingBytes + bytes <= UInt64(Limits.segmentTarget), pending[last].count < 4096
          {
            pending[last] += parts
            pendingBytes += bytes
          } else {
            pending.append(parts)
            pendingBytes = bytes
          }
        }
        result.bytes += plan.bytes
        progress.advance(plan.end - at)
        at = plan.end
        // The last one may still take small files.
        if pending.count > Self.commitSegments {
          try await Self.commit(&group, Array(pending.dropLast()), [])
          pending = [pending[pending.count - 1]]
        }
      }
      try source.checkUnchanged()
    }
    if !pending.isEmpty { try await Self.commit(&group, pending, []) }
  }
}

/// Which bytes of a file make the segments of one commit. Holes are passed over.
struct SegmentPlan {
  var segments: [[ImportPart]] = []
  /// Where the next commit goes on.
  var end: UInt64
  /// Bytes that are read.
  var bytes: UInt64 = 0

  /// - Parameter segments: how many there are at most.
  init(
    _ id: FileID, _ file: LocalFile, from start: UInt64, size: UInt64, segments limit: Int
  ) throws(CommandError) {
    let target = UInt64(Limits.segmentTarget)
    var at = start
    while segments.count < limit, at < size {
      guard let data = Self.nextData(file, from: at, size: size) else {
        at = size
        break
      }
      // Segments begin and end at a multiple of their size, and so at a chunk's end.
      let begin = data.lowerBound / target * target
      let range = max(begin, at)..<min(begin + target, size)
      segments.append([ImportPart(file: id, source: file, bytes: range)])
      bytes += UInt64(range.count)
      at = range.upperBound
    }
    end = at
  }

  /// The next bytes that are no hole; all of the rest where the file system does not know.
  private static func nextData(_ file: LocalFile, from start: UInt64, size: UInt64) -> Range<
    UInt64
  >? {
    let data = lseek(file.descriptor, off_t(start), 3 /* SEEK_DATA */)
    if data < 0 { return errno == ENXIO ? nil : start..<size }
    return UInt64(data) < size ? UInt64(data)..<size : nil
  }
}
