/// Where the bytes lie that mounts with an empty cache asked for first. Pure.
///
/// It stands at a known place, so that the next such mount can ask for these bytes before it knows which
/// groups there are. A hint: it may be old, wrong or lost, and costs a few requests then.
public struct StartHint: Hashable, Sendable {
  /// One chunk of one file.
  public struct Place: Hashable, Sendable {
    /// The group.
    public var group: GroupID
    /// The file.
    public var file: FileID
    /// Its chunk.
    public var chunk: ChunkIndex

    /// A place.
    public init(group: GroupID, file: FileID, chunk: ChunkIndex) {
      (self.group, self.file, self.chunk) = (group, file, chunk)
    }
  }

  /// One request of those that brought a chunk.
  public struct Entry: Hashable, Sendable {
    /// The chunk.
    public var place: Place
    /// The segment that has bytes of it.
    public var segment: ObjectID
    /// Which bytes of the segment; at least 1, at most `Limits.startHintRange`.
    public var range: Range<UInt64>

    /// An entry.
    public init(place: Place, segment: ObjectID, range: Range<UInt64>) {
      (self.place, self.segment, self.range) = (place, segment, range)
    }
  }

  /// The requests, those of the last start first; at most `Limits.startHintEntries`.
  public private(set) var entries: [Entry]

  /// A hint of the first of `entries`, each once; those that are too long for it are left out.
  public init(_ entries: [Entry] = []) {
    self.entries = []
    for entry in entries where 1...Limits.startHintRange ~= entry.range.count {
      guard self.entries.count < Limits.startHintEntries else { break }
      if !self.entries.contains(entry) { self.entries.append(entry) }
    }
  }

  /// The hint after one more start: what that asked for, then what others did of other groups.
  func merged(with start: [Entry]) -> StartHint {
    with(start, of: Set(start.map(\.place.group)))
  }

  /// The hint with these entries of some groups, and no others of them.
  func with(_ own: [Entry], of groups: Set<GroupID>) -> StartHint {
    StartHint(own + entries.filter { !groups.contains($0.place.group) })
  }

  /// The chunks of a group, each once.
  func places(of group: GroupID) -> [Place] {
    var places: [Place] = []
    for entry in entries where entry.place.group == group && places.last != entry.place {
      places.append(entry.place)
    }
    return places
  }
}

extension FetchPlan {
  /// The requests that bring this chunk, as entries of a hint.
  func hints(_ place: StartHint.Place) -> [StartHint.Entry] {
    fetches.map { StartHint.Entry(place: place, segment: $0.segment, range: $0.range) }
  }
}
