import Glibc

/// What a data file with its state has for a region at the moment it is opened.
struct CachedRegion {
  var data: LocalFile
  var stateFile: StateFile
  var chunks: ChunkTable
  var presentCount: Int
}

/// A group's directory in the cache: `log/`, `data/`, `state/`, `lineage`.
struct GroupCache: Sendable {
  let group: GroupID
  /// `<cache_dir>/<group uuid>`.
  let directory: String

  var logDirectory: String { directory + "/log" }
  /// Where logs go that may not be replayed.
  var asideDirectory: String { directory + "/aside" }
  func dataPath(_ file: FileID) -> String { directory + "/data/\(file)" }
  func statePath(_ file: FileID) -> String { directory + "/state/\(file)" }

  init(group: GroupID, cacheDirectory: String) throws(LocalError) {
    self.group = group
    directory = cacheDirectory + "/\(group)"
    for name in ["", "/log", "/data", "/state"] {
      try LocalDirectory.create(directory + name)
    }
  }

  /// Opens a file's cached bytes. What cannot be trusted is dropped: `trust` says whether the chunks
  /// agree with the commit the map shows, given the state's header.
  func open(
    _ file: FileID, geometry: Geometry, commit: CommitID, bootID: Random128,
    trust: (StateFileHeader) -> CacheTrust
  ) throws(LocalError) -> CachedRegion {
    let verdict = try self.verdict(file, geometry: geometry, bootID: bootID, trust: trust)
    if case .drop = verdict { try remove(file) }
    let data = try LocalFile(path: dataPath(file), flags: O_RDWR | O_CREAT)
    let header = StateFileHeader(
      group: group, file: file, geometry: geometry, commit: commit, bootID: bootID, isClean: false)
    let stateFile = try StateFile(path: statePath(file), header: header)
    let chunks = ChunkTable(geometry: geometry)
    var count = 0
    if case .keep(let changed, let isClean) = verdict {
      if !changed.isEmpty { try drop(changed, data, stateFile, geometry) }
      try stateFile.forEachPresent { run in
        for chunk in run { chunks.setPresent(chunk) }
        count += run.count
      }
      // After a crash an absent chunk may hold bytes of a pull or a write that did not finish.
      if !isClean { try scrub(data, chunks, geometry) }
    }
    return CachedRegion(data: data, stateFile: stateFile, chunks: chunks, presentCount: count)
  }

  private enum Verdict {
    case drop
    case keep(changed: [ChunkIndex], isClean: Bool)
  }

  private func verdict(
    _ file: FileID, geometry: Geometry, bootID: Random128, trust: (StateFileHeader) -> CacheTrust
  ) throws(LocalError) -> Verdict {
    guard let header = try StateFile.header(at: statePath(file)), header.group == group,
      header.file == file, header.geometry == geometry
    else { return .drop }
    // After another boot only what was synced before a clean close is sure to be there.
    guard header.bootID == bootID || header.isClean && header.bootID == .zero else { return .drop }
    switch trust(header) {
    case .all: return .keep(changed: [], isClean: header.isClean)
    case .allBut(let changed): return .keep(changed: changed, isClean: header.isClean)
    case .nothing: return .drop
    }
  }

  private func drop(
    _ chunks: [ChunkIndex], _ data: LocalFile, _ stateFile: StateFile, _ geometry: Geometry
  ) throws(LocalError) {
    for chunk in chunks {
      try stateFile.set(chunk..<chunk + 1, present: false)
      try data.punchHole(geometry.bytes(of: chunk))
    }
  }

  /// Makes holes of all that is allocated outside present chunks.
  private func scrub(_ data: LocalFile, _ chunks: ChunkTable, _ geometry: Geometry)
    throws(LocalError)
  {
    let size = try data.size()
    var position: UInt64 = 0
    while position < size {
      let found = lseek(data.descriptor, off_t(position), 3 /* SEEK_DATA */)
      if found < 0 { return }
      let chunk = geometry.chunk(ofByte: UInt64(found))
      if !chunks.isPresent(chunk) { try data.punchHole(geometry.bytes(of: chunk)) }
      position = geometry.bytes(of: chunk).upperBound
    }
  }

  /// Removes a file's cached bytes.
  func remove(_ file: FileID) throws(LocalError) {
    try LocalDirectory.removeFile(statePath(file))
    try LocalDirectory.removeFile(dataPath(file))
  }

  /// Removes the cached bytes of all files.
  func removeFiles() throws(LocalError) {
    for directory in [directory + "/state", directory + "/data"] {
      for name in try LocalDirectory.names(in: directory) {
        try LocalDirectory.removeFile(directory + "/" + name)
      }
    }
  }

  /// Removes everything of the group.
  func removeAll() throws(LocalError) { try LocalDirectory.removeTree(directory) }

  // MARK: Lineage

  private var lineagePath: String { directory + "/lineage" }

  /// Which commits are known to be only ours; nil if nothing is known.
  func lineage() throws(LocalError) -> Lineage? {
    try LocalDirectory.contents(of: lineagePath, limit: 4096).flatMap(Lineage.init(text:))
  }

  /// Remembers a lineage, durably.
  func setLineage(_ lineage: Lineage) throws(LocalError) {
    try LocalDirectory.replaceFile(lineagePath, with: Array(lineage.text.utf8))
  }
}

/// What of a cached file agrees with the commit that the map shows.
enum CacheTrust {
  case all
  case allBut([ChunkIndex])
  case nothing
}

/// A run of commits that were all made through this cache: between `since` and `until` its bytes
/// cannot have become old. `until` is unknown while the log is in use.
struct Lineage: Hashable, Sendable {
  var since: CommitID
  var until: CommitID
  var log: LogID
  /// The cache's identity: a copy of the directory has another, and these commits were not its own.
  var writer: WriterID

  init(since: CommitID, until: CommitID, log: LogID, writer: WriterID) {
    self.since = since
    self.until = until
    self.log = log
    self.writer = writer
  }

  /// One line of text, so that a person can read it.
  var text: String {
    "regionfs-lineage 1 \(since.number) \(since.nonce) \(until.number) \(until.nonce) \(log) \(writer)\n"
  }

  init?(text bytes: [UInt8]) {
    let words = String(decoding: bytes, as: UTF8.self).split(whereSeparator: {
      $0 == " " || $0 == "\n"
    })
    guard words.count == 8, words[0] == "regionfs-lineage", words[1] == "1",
      let since = UInt64(words[2]), let sinceNonce = Nonce(words[3]), let until = UInt64(words[4]),
      let untilNonce = Nonce(words[5]), let log = LogID(words[6]),
      let writer = WriterID(words[7])
    else { return nil }
    self.init(
      since: CommitID(number: since, nonce: sinceNonce),
      until: CommitID(number: until, nonce: untilNonce), log: log,
      writer: writer)
  }
}
