import Glibc

/// What a data file with its state has for a region at the moment it is opened.
struct CachedRegion {
  var data: LocalFile
  var stateFile: StateFile
  var chunks: ChunkTable
  /// Runs of present chunks, in order.
  var present: [Range<ChunkIndex>]
  var cache: GroupCache
}

/// A group's directory in the cache: `log/`, `data/`, `state/`, `lineage`.
struct GroupCache: Sendable {
  let group: GroupID
  /// `<cache_dir>/<group uuid>`.
  let directory: String
  let disk: any LocalDisk
  /// Who must hear of files that are removed; nil where nobody counts them. Weak, for it keeps the
  /// caches of its files.
  weak let dormant: DormantFiles?

  var logDirectory: String { directory + "/log" }
  /// Where logs go that may not be replayed.
  var asideDirectory: String { directory + "/aside" }
  func dataPath(_ file: FileID) -> String { directory + "/data/\(file)" }
  func statePath(_ file: FileID) -> String { directory + "/state/\(file)" }

  init(
    group: GroupID, cacheDirectory: String, disk: any LocalDisk = HostDisk(),
    dormant: DormantFiles? = nil
  ) throws(LocalError) {
    self.group = group
    self.disk = disk
    self.dormant = dormant
    directory = cacheDirectory + "/\(group)"
    for name in ["", "/log", "/data", "/state"] {
      try disk.makeDirectory(directory + name)
    }
  }

  /// Makes the directories durable, before anything in them has to be: who only reads need not wait
  /// for the disk.
  func makeDurable() throws(LocalError) {
    try disk.syncDirectory(LocalDirectory.parent(of: directory))
    try disk.syncDirectory(directory)
  }

  /// Opens a file's cached bytes. What cannot be trusted is dropped: `trust` says whether the chunks
  /// agree with the commit the map shows, given the state's header.
  func open(
    _ file: FileID, geometry: Geometry, commit: CommitID, bootID: Random128,
    trust: (StateFileHeader) -> CacheTrust
  ) throws(LocalError) -> CachedRegion {
    let verdict = try self.verdict(file, geometry: geometry, bootID: bootID, trust: trust)
    if case .drop(let header) = verdict {
      // The names may come back after a power loss, one with and one without the other's bytes.
      if let header { try StateFile.withdraw(header, at: statePath(file), on: disk) }
      try removeNames(of: file)
    }
    let data = try disk.open(dataPath(file), flags: O_RDWR | O_CREAT)
    let header = StateFileHeader(
      group: group, file: file, geometry: geometry, commit: commit, bootID: bootID, isClean: false)
    let stateFile = try StateFile(
      path: statePath(file), header: header, claimsClean: verdict.claimsClean, on: disk)
    let chunks = ChunkTable(geometry: geometry)
    var present: [Range<ChunkIndex>] = []
    if case .keep(let changed, let isClean, _) = verdict {
      if !changed.isEmpty { try stateFile.declareInUse() }
      if !changed.isEmpty { try drop(changed, data, stateFile, geometry) }
      try stateFile.forEachPresent { run in
        for chunk in run { chunks.setPresent(chunk) }
        present.append(run)
      }
      // After a crash an absent chunk may hold bytes of a pull or a write that did not finish.
      if !isClean { try scrub(data, chunks, geometry) }
    }
    return CachedRegion(
      data: data, stateFile: stateFile, chunks: chunks, present: present, cache: self)
  }

  private enum Verdict {
    /// With what the state file says, if it says anything.
    case drop(StateFileHeader?)
    /// `claimsClean`: what the disk has would be believed after another boot.
    case keep(changed: [ChunkIndex], isClean: Bool, claimsClean: Bool)

    var claimsClean: Bool {
      if case .keep(_, _, let claimsClean) = self { claimsClean } else { false }
    }
  }

  private func verdict(
    _ file: FileID, geometry: Geometry, bootID: Random128, trust: (StateFileHeader) -> CacheTrust
  ) throws(LocalError) -> Verdict {
    guard let header = try StateFile.header(at: statePath(file), on: disk) else {
      return .drop(nil)
    }
    guard header.group == group, header.file == file, header.geometry == geometry else {
      return .drop(header)
    }
    // The power may have gone while both were removed, and left the state alone.
    guard try hasData(file) else { return .drop(header) }
    // After another boot only what was synced before a clean close is sure to be there.
    guard header.bootID == bootID || header.isClean && header.bootID == .zero else {
      return .drop(header)
    }
    let claimsClean = header.isClean && header.bootID == .zero
    switch trust(header) {
    case .all:
      return .keep(changed: [], isClean: header.isClean, claimsClean: claimsClean)
    case .allBut(let changed):
      return .keep(changed: changed, isClean: header.isClean, claimsClean: claimsClean)
    case .nothing: return .drop(header)
    }
  }

  private func hasData(_ file: FileID) throws(LocalError) -> Bool {
    do throws(LocalError) {
      _ = try disk.open(dataPath(file), flags: O_RDONLY)
      return true
    } catch {
      if error.code == ENOENT { return false }
      throw error
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
      guard let found = data.nextData(from: position) else { return }
      let chunk = geometry.chunk(ofByte: found)
      if !chunks.isPresent(chunk) { try data.punchHole(geometry.bytes(of: chunk)) }
      position = geometry.bytes(of: chunk).upperBound
    }
  }

  /// Removes a file's cached bytes.
  func remove(_ file: FileID) throws(LocalError) {
    try removeNames(of: file)
    dormant?.forget(DormantFiles.Name(group: group, file: file))
  }

  private func removeNames(of file: FileID) throws(LocalError) {
    try disk.removeFile(statePath(file))
    try disk.removeFile(dataPath(file))
  }

  /// Removes the cached bytes of files with changes that the group will not have, before their log
  /// goes: names that came back after a power loss would be believed.
  func removeDurably(_ files: Set<FileID>) throws(LocalError) {
    guard !files.isEmpty else { return }
    for file in files.sorted() { try remove(file) }
    try syncNames()
  }

  /// Removes the cached bytes of all files; the states first, so that none is there without its
  /// bytes.
  func removeFiles() throws(LocalError) {
    for directory in [directory + "/state", directory + "/data"] {
      try disk.removeFiles(in: directory)
    }
    dormant?.forget(group)
  }

  /// Makes the names of the cached files durable.
  func syncNames() throws(LocalError) {
    try makeDurable()
    for directory in [directory + "/data", directory + "/state"] {
      try disk.syncDirectory(directory)
    }
  }

  /// Removes everything of the group.
  func removeAll() throws(LocalError) {
    try disk.removeTree(directory)
    dormant?.forget(group)
  }

  // MARK: Lineage

  private var lineagePath: String { directory + "/lineage" }

  /// Which commits are known to be only ours; nil if nothing is known.
  func lineage() throws(LocalError) -> Lineage? {
    try disk.contents(of: lineagePath, limit: 4096).flatMap(Lineage.init(text:))
  }

  /// Remembers a lineage; not `durably`, a power loss may take it.
  func setLineage(_ lineage: Lineage, durably: Bool = true) throws(LocalError) {
    try disk.replaceFile(lineagePath, with: Array(lineage.text.utf8), durably: durably)
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
