import Glibc

/// Which chunks of a region's data file are present, so that a warm cache survives an unmount or a
/// crash of the daemon: a header and one byte a chunk (1: present).
///
/// It is written after the bytes it speaks of and never makes a change durable; lost, it costs a pull.
final class StateFile: Sendable {
  private let file: LocalFile
  private let header: StateFileHeader

  /// Opens or makes the file and declares it in use (not clean) as of `header`.
  init(path: String, header: StateFileHeader) throws(LocalError) {
    file = try LocalFile(path: path, flags: O_RDWR | O_CREAT)
    self.header = header
    var dirty = header
    dirty.isClean = false
    try file.write(StateFileCodec.encode(dirty), at: 0)
  }

  /// What an existing file says, or nil if there is none or it makes no sense (then it is as good
  /// as lost).
  static func header(at path: String) throws(LocalError) -> StateFileHeader? {
    let file: LocalFile
    do throws(LocalError) {
      file = try LocalFile(path: path, flags: O_RDONLY)
    } catch {
      if error.code == ENOENT { return nil }
      throw error
    }
    let buffer = IOBuffer(capacity: StateFileCodec.headerLength)
    buffer.count = try unsafe file.read(into: buffer.memory, at: 0)
    return try? StateFileCodec.decode(buffer.array)
  }

  /// Notes that the chunks are present (or not any more).
  func set(_ chunks: Range<ChunkIndex>, present: Bool) throws(LocalError) {
    guard !chunks.isEmpty else { return }
    let offset = UInt64(StateFileCodec.headerLength) + chunks.lowerBound
    if present {
      try file.write([UInt8](repeating: 1, count: chunks.count), at: offset)
    } else {
      let size = try file.size()
      guard offset < size else { return }
      try file.punchHole(offset..<min(size, offset + UInt64(chunks.count)))
    }
  }

  /// Calls `body` for each run of present chunks.
  func forEachPresent(_ body: (Range<ChunkIndex>) -> Void) throws(LocalError) {
    let buffer = IOBuffer(capacity: 1 << 20)
    var first: ChunkIndex = 0
    while true {
      let offset = UInt64(StateFileCodec.headerLength) + first
      // Holes of a sparse region's state are passed over, not read.
      let data = lseek(file.descriptor, off_t(offset), 3 /* SEEK_DATA */)
      if data < 0 { return }
      let start = max(offset, UInt64(data))
      first = start - UInt64(StateFileCodec.headerLength)
      buffer.count = try unsafe file.read(into: buffer.memory, at: start)
      if buffer.count == 0 { return }
      var run: ChunkIndex?
      for index in 0..<buffer.count {
        let isPresent = unsafe buffer.bytes[index] == 1
        if isPresent, run == nil { run = first + UInt64(index) }
        if !isPresent, let from = run {
          body(from..<first + UInt64(index))
          run = nil
        }
      }
      if let from = run { body(from..<first + UInt64(buffer.count)) }
      first += UInt64(buffer.count)
    }
  }

  /// Makes what was noted durable.
  func sync() throws(LocalError) { try file.syncData() }

  /// Declares the file complete: it agrees with `commit` after everything was written.
  func close(commit: CommitID, bootID: Random128) throws(LocalError) {
    var clean = header
    clean.isClean = true
    clean.commit = commit
    clean.bootID = bootID
    try file.write(StateFileCodec.encode(clean), at: 0)
  }
}
