/// The index of a checkpoint: which page of map and names lies where. Unchanged pages are
/// references into older checkpoint objects.
public struct CheckpointIndex: Hashable, Sendable {
  /// The group.
  public var group: GroupID
  /// The commit the checkpoint contains everything up to.
  public var commit: CommitID
  /// Map pages by file, then number; files with no mapped chunk have none.
  public var mapPages: [MapPageEntry]
  /// Name pages by number (`inode id / Limits.inodesPerNamePage`).
  public var namePages: [NamePageEntry]

  /// Where a page lies.
  public struct PageReference: Hashable, Sendable {
    /// The `map/` object.
    public var object: ObjectID
    /// Offset in it, in bytes.
    public var offset: UInt64
    /// Length, in bytes.
    public var length: UInt32
    /// CRC-32C of the page.
    public var checksum: UInt32
    /// Refers to a page.
    public init(object: ObjectID, offset: UInt64, length: UInt32, checksum: UInt32) {
      self.object = object
      self.offset = offset
      self.length = length
      self.checksum = checksum
    }
  }

  /// A page of the map: `Limits.chunksPerMapPage` chunks of one file.
  public struct MapPageEntry: Hashable, Sendable {
    /// The file.
    public var file: FileID
    /// `chunk / Limits.chunksPerMapPage`.
    public var number: UInt32
    /// Where it lies.
    public var page: PageReference
    /// Places a map page.
    public init(file: FileID, number: UInt32, page: PageReference) {
      self.file = file
      self.number = number
      self.page = page
    }
  }

  /// A page of the names.
  public struct NamePageEntry: Hashable, Sendable {
    /// `inode id / Limits.inodesPerNamePage`.
    public var number: UInt32
    /// Where it lies.
    public var page: PageReference
    /// Places a name page.
    public init(number: UInt32, page: PageReference) {
      self.number = number
      self.page = page
    }
  }

  /// An index.
  public init(
    group: GroupID, commit: CommitID, mapPages: [MapPageEntry], namePages: [NamePageEntry]
  ) {
    self.group = group
    self.commit = commit
    self.mapPages = mapPages
    self.namePages = namePages
  }
}

/// One page of the map. Chunks and extents are relative to the page, so equal content gives equal
/// bytes wherever it stands.
public struct MapPage: Hashable, Sendable {
  /// Mapped chunks in order. Absent ones read as zeros.
  public var chunks: [Chunk]

  /// The extents of one chunk.
  public struct Chunk: Hashable, Sendable {
    /// The chunk's index within the page, 0 ..< `Limits.chunksPerMapPage`.
    public var index: UInt16
    /// Unit extents in order of page, not overlapping; `firstPage` counts from the chunk's start.
    /// Pages between them are zero.
    public var extents: [Extent]
    /// A chunk's extents.
    public init(index: UInt16, extents: [Extent]) {
      self.index = index
      self.extents = extents
    }
  }

  /// A page.
  public init(chunks: [Chunk]) { self.chunks = chunks }
}

/// One page of the names: the inodes whose ids share a quotient by `Limits.inodesPerNamePage`,
/// in order of id.
public struct NamePage: Hashable, Sendable {
  /// The inodes.
  public var inodes: [Inode]
  /// A page.
  public init(inodes: [Inode]) { self.inodes = inodes }
}
