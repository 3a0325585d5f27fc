/// In which order a group's chunks were first read after a cold start, merged over several starts. Pure.
///
/// A hint: only the order of pulls depends on it, and it may be old, wrong or lost.
public struct AccessTrace: Hashable, Sendable {
  /// Neighbouring chunks of one file that are wanted together.
  public struct Entry: Hashable, Sendable {
    /// The file.
    public var file: FileID
    /// Its chunks; not empty.
    public var chunks: Range<ChunkIndex>
    /// Starts in a row for which these chunks were pulled and that did not read them.
    public var unreadStarts: UInt8

    /// An entry.
    public init(file: FileID, chunks: Range<ChunkIndex>, unreadStarts: UInt8 = 0) {
      self.file = file
      self.chunks = chunks
      self.unreadStarts = unreadStarts
    }
  }

  /// One chunk of one file.
  struct Place: Hashable, Sendable {
    var file: FileID
    var chunk: ChunkIndex
  }

  /// The group.
  public let group: GroupID
  /// Its geometry, which gives chunk numbers their meaning.
  public let geometry: Geometry
  /// What to pull, in this order; no chunk is in two of them, and neighbours are joined.
  public internal(set) var entries: [Entry] = []

  /// Nothing recorded yet.
  public init(group: GroupID, geometry: Geometry) {
    self.group = group
    self.geometry = geometry
  }

  /// Chunks that a trace may hold: bounded by number and by bytes.
  static func capacity(_ geometry: Geometry) -> Int {
    min(Limits.traceChunks, Int(Limits.traceBytes >> geometry.chunkShift))
  }

  /// Chunks in all entries.
  public var chunkCount: Int { entries.reduce(0) { $0 + $1.chunks.count } }

  /// The entries' chunks one by one.
  private var places: [(place: Place, unread: UInt8)] {
    entries.flatMap { entry in
      entry.chunks.map { (Place(file: entry.file, chunk: $0), entry.unreadStarts) }
    }
  }

  /// Appends a chunk that no entry has, unless the trace is full.
  private mutating func append(_ place: Place, unread: UInt8, _ count: inout Int) {
    guard count < Self.capacity(geometry) else { return }
    count += 1
    if let last = entries.last, last.continues(place, unread) {
      entries[entries.count - 1].chunks = last.chunks.lowerBound..<place.chunk + 1
    } else {
      entries.append(
        Entry(file: place.file, chunks: place.chunk..<place.chunk + 1, unreadStarts: unread))
    }
  }

  /// The trace after one more start.
  ///
  /// What was read comes in the order of this start. What was not read stays behind what stood before
  /// it, and goes when enough starts in a row pulled it for nothing. A start that read little of what
  /// it was offered was another program's and says nothing about that.
  func merged(with start: TraceRecording) -> AccessTrace {
    let isAnother = start.order.count * 4 < start.offered.count
    var behind: [Place?: [(place: Place, unread: UInt8)]] = [:]
    var anchor: Place?
    for (place, unread) in places {
      if start.isInOrder(place) {
        anchor = place
        continue
      }
      let isForNothing = start.offered.contains(place) && !start.hasRead(place) && !isAnother
      let now = isForNothing ? unread + 1 : unread
      if now < Limits.traceUnreadStarts { behind[anchor, default: []].append((place, now)) }
    }
    var merged = AccessTrace(group: group, geometry: geometry)
    var count = 0
    for (place, unread) in behind[nil] ?? [] { merged.append(place, unread: unread, &count) }
    for place in start.order {
      merged.append(place, unread: 0, &count)
      for (place, unread) in behind[place] ?? [] { merged.append(place, unread: unread, &count) }
    }
    return merged
  }

  /// Bytes of the trace within which neighbours are joined: they are pulled at about one time.
  private static let step: UInt64 = 8 << 20

  /// What to pull of each file: files in the order in which they were first read, and neighbours that
  /// are wanted at about the same time together.
  var byFile: [(file: FileID, ranges: [Range<ChunkIndex>])] {
    var files: [FileID] = []
    var ranges: [FileID: [Range<ChunkIndex>]] = [:]
    for entry in entries {
      if ranges[entry.file] == nil { files.append(entry.file) }
      ranges[entry.file, default: []].append(entry.chunks)
    }
    return files.map { ($0, Self.joined(ranges[$0] ?? [], step: Self.step >> geometry.chunkShift)) }
  }

  private static func joined(_ ranges: [Range<ChunkIndex>], step: UInt64) -> [Range<ChunkIndex>] {
    var joined: [Range<ChunkIndex>] = []
    var (first, count) = (0, UInt64(0))
    for (at, range) in ranges.enumerated() {
      count += UInt64(range.count)
      guard count >= step || at == ranges.count - 1 else { continue }
      joined += Self.joined(ranges[first...at])
      (first, count) = (at + 1, 0)
    }
    return joined
  }

  /// Neighbours joined, each where its first part stands.
  private static func joined(_ ranges: ArraySlice<Range<ChunkIndex>>) -> [Range<ChunkIndex>] {
    var left = RangeSet<ChunkIndex>()
    for range in ranges { left.insert(contentsOf: range) }
    return ranges.compactMap { range in
      guard let whole = left.ranges.first(where: { $0.contains(range.lowerBound) }) else {
        return nil
      }
      left.remove(contentsOf: whole)
      return whole
    }
  }
}

extension AccessTrace.Entry {
  /// Whether a chunk belongs to this entry as its next one.
  func continues(_ place: AccessTrace.Place, _ unread: UInt8) -> Bool {
    file == place.file && chunks.upperBound == place.chunk && unreadStarts == unread
  }
}

/// The first reads of one start, in order. Pure.
struct TraceRecording: Sendable {
  /// Bytes of a stream that are recorded: read-ahead has found its pace by then.
  private static let streamBytes: UInt64 = 16 << 20
  /// Bytes that a stream may be read further without being seen: two windows of read-ahead.
  private static let blindBytes: UInt64 = 64 << 20

  /// Chunks in the order of their first reads.
  private(set) var order: [AccessTrace.Place] = []
  /// Chunks that a trace had pulled: a first read of one would have been seen.
  private(set) var offered: Set<AccessTrace.Place> = []
  /// How many neighbours before it each chunk has that was read; of what is left to read-ahead only the
  /// last one.
  private var streaks: [AccessTrace.Place: UInt64] = [:]
  private var lastRead: [FileID: ChunkIndex] = [:]
  private let capacity: Int
  private let longestStreak: UInt64
  private let longestGap: UInt64

  init(geometry: Geometry) {
    capacity = AccessTrace.capacity(geometry)
    longestStreak = max(2, Self.streamBytes >> geometry.chunkShift)
    longestGap = max(4, Self.blindBytes >> geometry.chunkShift)
  }

  /// Nothing more is taken.
  var isFull: Bool { order.count >= capacity }

  func hasRead(_ place: AccessTrace.Place) -> Bool { streaks[place] != nil }

  /// Whether `order` has the chunk.
  func isInOrder(_ place: AccessTrace.Place) -> Bool {
    streaks[place].map { $0 < longestStreak } ?? false
  }

  /// A read of `chunk` was seen; if it goes on where others ended, those between were read, too.
  mutating func note(_ file: FileID, _ chunk: ChunkIndex, isStream: Bool) {
    var first = chunk
    if isStream, let last = lastRead[file], last < chunk, chunk - last <= longestGap {
      first = last + 1
    }
    for chunk in first...chunk { note(AccessTrace.Place(file: file, chunk: chunk)) }
    lastRead[file] = chunk
  }

  private mutating func note(_ place: AccessTrace.Place) {
    guard streaks[place] == nil, !isFull else { return }
    var before: UInt64 = 0
    if place.chunk > 0 {
      let neighbour = AccessTrace.Place(file: place.file, chunk: place.chunk - 1)
      before = streaks[neighbour].map { $0 + 1 } ?? 0
      if before > longestStreak { streaks[neighbour] = nil }
    }
    streaks[place] = before
    if before < longestStreak { order.append(place) }
  }

  /// These chunks are absent and pulled because a trace has them.
  mutating func offer(_ file: FileID, _ chunks: RangeSet<ChunkIndex>) {
    for range in chunks.ranges {
      for chunk in range where offered.count < capacity {
        offered.insert(AccessTrace.Place(file: file, chunk: chunk))
      }
    }
  }
}
