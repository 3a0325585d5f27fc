import Glibc
import Locks
import Synchronization

/// Which chunks of a region's data file are present, so that a warm cache survives an unmount or a
/// crash of the daemon: a header and one byte a chunk (1: present).
///
/// It is written after the bytes it speaks of and never makes a change durable; lost, it costs a pull.
final class StateFile: Sendable {
  private let file: LocalFile
  private let header: StateFileHeader
  /// Whether what the disk has may still say that the file is clean, whatever the boot.
  private let claimsClean: Atomic<Bool>
  private let declaring = Lock(())

  /// Opens or makes the file, in use (not clean) as of `header`. If it `claimsClean`, it goes on doing
  /// so until `declareInUse`.
  init(
    path: String, header: StateFileHeader, claimsClean: Bool, on disk: any LocalDisk
  ) throws(LocalError) {
    file = try disk.open(path, flags: O_RDWR | O_CREAT)
    var dirty = header
    dirty.isClean = false
    self.header = dirty
    self.claimsClean = Atomic(claimsClean)
    if !claimsClean { try file.write(StateFileCodec.encode(dirty), at: 0) }
  }

  /// To be called before the data file is changed. The claim of a clean file holds after a power loss
  /// too, so it is taken back durably before the first change; later calls cost one load.
  func declareInUse() throws(LocalError) {
    guard claimsClean.load(ordering: .acquiring) else { return }
    try declaring.withLock { (_) throws(LocalError) in
      guard claimsClean.load(ordering: .relaxed) else { return }
      try file.write(StateFileCodec.encode(header), at: 0)
      try file.syncData()
      claimsClean.store(false, ordering: .releasing)
    }
  }

  /// Makes a file that claims to be clean after any boot not do so any more, durably.
  static func withdraw(_ header: StateFileHeader, at path: String, on disk: any LocalDisk)
    throws(LocalError)
  {
    guard header.isClean, header.bootID == .zero else { return }
    let file = try disk.open(path, flags: O_RDWR)
    var dirty = header
    dirty.isClean = false
    try file.write(StateFileCodec.encode(dirty), at: 0)
    try file.syncData()
  }

  /// What an existing file says, or nil if there is none or it makes no sense (then it is as good
  /// as lost).
  static func header(at path: String, on disk: any LocalDisk) throws(LocalError)
    -> StateFileHeader?
  {
    let file: LocalFile
    do throws(LocalError) {
      file = try disk.open(path, flags: O_RDONLY)
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
    try declareInUse()
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
      guard let data = file.nextData(from: offset) else { return }
      let start = max(offset, data)
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

  /// Makes the header what it was before chunks were taken away; everything else is as durable as it
  /// claims.
  func close(as header: StateFileHeader) throws(LocalError) {
    try file.write(StateFileCodec.encode(header), at: 0)
  }

  /// Declares the file complete: it agrees with `commit` after everything was written.
  func close(commit: CommitID, bootID: Random128) throws(LocalError) {
    var clean = header
    clean.isClean = true
    clean.commit = commit
    // Nothing was changed since an earlier clean end: that still holds after any boot.
    clean.bootID = claimsClean.load(ordering: .acquiring) ? .zero : bootID
    try file.write(StateFileCodec.encode(clean), at: 0)
  }
}
