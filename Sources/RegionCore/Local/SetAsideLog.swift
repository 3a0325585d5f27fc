import Glibc

/// A log that may not be replayed any more, because somebody else wrote its group since: kept in
/// `<cache_dir>/<uuid>/aside/<log>` with a note, until a person saves or discards it.
public struct SetAsideLog: Hashable, Sendable {
  /// The group whose changes these are.
  public var group: GroupID
  /// The log.
  public var log: LogID
  /// What the group was called when it was seen last.
  public var name: FileName?
  /// When it was set aside.
  public var since: Timestamp
  /// The claim that it belongs to.
  public var epoch: Epoch
  /// The cache that wrote it.
  public var writer: WriterID
  /// A commit that its records follow.
  public var base: CommitID
  /// Records up to this one are in that commit.
  public var cut: SequenceNumber
  /// Changes that are in no commit.
  public var records: Int
  /// Bytes that they take in the log.
  public var bytes: UInt64
  /// Why it was set aside, in words.
  public var reason: String
  /// Its directory.
  public var path: String

  static let noteName = "note"
  static let rootName = "root"

  /// The note, a line for each value, so that a person can read it.
  var text: String {
    """
    regionfs-aside 1
    since \(since.nanoseconds)
    epoch \(epoch)
    writer \(writer)
    base \(base.number) \(base.nonce)
    cut \(cut)
    records \(records)
    bytes \(bytes)
    reason \(reason.printable)

    """
  }

  /// Reads the note of a directory; nil if it has none or is none of ours.
  init?(group: GroupID, log: LogID, name: FileName?, path: String, text: String) {
    var values: [Substring: Substring] = [:]
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ", maxSplits: 1)
      if words.count == 2 { values[words[0]] = words[1] }
    }
    let base = (values["base"] ?? "").split(separator: " ")
    guard values["regionfs-aside"] == "1", let since = values["since"].flatMap({ Int64($0) }),
      let epoch = values["epoch"].flatMap({ Epoch($0) }),
      let writer = values["writer"].flatMap({ WriterID($0) }), base.count == 2,
      let number = CommitNumber(base[0]), let nonce = Nonce(base[1]),
      let cut = values["cut"].flatMap({ SequenceNumber($0) }),
      let records = values["records"].flatMap({ Int($0) }),
      let bytes = values["bytes"].flatMap({ UInt64($0) })
    else { return nil }
    self.group = group
    self.log = log
    self.name = name
    self.since = Timestamp(nanoseconds: since)
    self.epoch = epoch
    self.writer = writer
    self.base = CommitID(number: number, nonce: nonce)
    self.cut = cut
    self.records = records
    self.bytes = bytes
    reason = values["reason"].map(String.init) ?? ""
    self.path = path
  }

  /// What is set aside of `entries`, none of which is committed.
  init(
    _ header: LogFileHeader, base: CommitID, cut: SequenceNumber, entries: [LogEntry],
    reason: String, since: Timestamp, cache: GroupCache
  ) {
    group = cache.group
    log = header.log
    name = nil
    self.since = since
    epoch = header.epoch
    writer = header.writer
    self.base = base
    self.cut = cut
    records = entries.count
    bytes = entries.reduce(0) { $0 + UInt64($1.length) }
    self.reason = reason
    path = cache.asideDirectory + "/\(header.log)"
  }

  // MARK: Cache directories

  /// All logs set aside in a cache directory, oldest first. Needs no lock: what is set aside stays as
  /// it is.
  public static func all(
    in cacheDirectory: String, on disk: any LocalDisk = HostDisk()
  ) throws(LocalError) -> [SetAsideLog] {
    var found: [SetAsideLog] = []
    for directory in try disk.names(in: cacheDirectory) {
      guard let group = GroupID(directory) else { continue }
      let cache = cacheDirectory + "/" + directory
      for entry in try namesIfAny(cache + "/aside", disk) {
        guard let log = LogID(entry) else { continue }
        let path = cache + "/aside/" + entry
        guard let note = try disk.contents(of: path + "/" + noteName, limit: 64 << 10),
          let aside = SetAsideLog(
            group: group, log: log, name: try GroupCache.name(in: cache, on: disk), path: path,
            text: String(decoding: note, as: UTF8.self))
        else { throw LocalError("read", path: path + "/" + noteName, code: ENODATA) }
        found.append(aside)
      }
    }
    return found.sorted { ($0.since, $0.path) < ($1.since, $1.path) }
  }

  /// Groups with a log that the next mount replays or sets aside, with the bytes of its files.
  public static func pending(
    in cacheDirectory: String, on disk: any LocalDisk = HostDisk()
  ) throws(LocalError) -> [(group: GroupID, name: FileName?, bytes: UInt64)] {
    var found: [(group: GroupID, name: FileName?, bytes: UInt64)] = []
    for directory in try disk.names(in: cacheDirectory) {
      guard let group = GroupID(directory) else { continue }
      let cache = cacheDirectory + "/" + directory
      var bytes: UInt64 = 0
      for name in try namesIfAny(cache + "/log", disk) where WriteLog.isLogFile(name) {
        let size = try disk.open(cache + "/log/" + name, flags: O_RDONLY).size()
        bytes += size - min(size, UInt64(LogCodec.fileHeaderLength))
      }
      if bytes > 0 { found.append((group, try GroupCache.name(in: cache, on: disk), bytes)) }
    }
    return found
  }

  /// Whether the directory is one that a daemon has used.
  public static func isCacheDirectory(_ path: String) throws(LocalError) -> Bool {
    try namesIfAny(path, HostDisk()).contains("lock")
  }

  private static func namesIfAny(_ path: String, _ disk: any LocalDisk) throws(LocalError)
    -> [String]
  {
    do throws(LocalError) {
      return try disk.names(in: path)
    } catch {
      if error.code == ENOENT || error.code == ENOTDIR { return [] }
      throw error
    }
  }

  /// Removes it for good. Its cache directory must be locked.
  public func discard(on disk: any LocalDisk = HostDisk()) throws(LocalError) {
    try disk.removeTree(path)
  }
}

extension GroupCache {
  private static let nameFile = "/name"

  /// What the group in a cache was called when it was seen last; nil if nobody said.
  static func name(in directory: String, on disk: any LocalDisk) throws(LocalError) -> FileName? {
    try disk.contents(of: directory + nameFile, limit: Limits.nameLength).flatMap {
      FileName($0)
    }
  }

  /// Remembers what the group is called, for people: written only when it changes, and not synced.
  func setName(_ name: FileName) throws(LocalError) {
    if try Self.name(in: directory, on: disk) == name { return }
    try disk.replaceFile(directory + Self.nameFile, with: name.bytes, durably: false)
  }

  /// Moves the log's files to a directory of their own, where they stay until a person decides; the
  /// note and the root that they follow come first.
  func setLogAside(_ aside: SetAsideLog, base root: Root?) throws(LocalError) {
    try disk.createDirectory(aside.path)
    // A move that a crash interrupted is gone on with; the note that has all of it stays.
    if try disk.contents(of: aside.path + "/" + SetAsideLog.noteName, limit: 64 << 10)
      == nil
    {
      if let root, let bytes = try? RootCodec.encode(root) {
        try disk.replaceFile(aside.path + "/" + SetAsideLog.rootName, with: bytes)
      }
      try disk.replaceFile(
        aside.path + "/" + SetAsideLog.noteName, with: Array(aside.text.utf8))
    }
    for name in try disk.names(in: logDirectory) {
      try disk.rename(logDirectory + "/" + name, to: aside.path + "/" + name)
    }
    try disk.syncDirectory(aside.path)
    try disk.syncDirectory(asideDirectory)
    try disk.syncDirectory(logDirectory)
  }
}
