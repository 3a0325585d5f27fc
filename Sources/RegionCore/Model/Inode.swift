/// What an inode is.
public enum InodeKind: UInt8, Sendable {
  /// A region: bytes that can be mapped.
  case file = 1
  /// A directory.
  case directory = 2
  /// A symbolic link.
  case symlink = 3
}

/// A name as Linux has them: 1 ... 255 bytes, any but `/` and NUL; not `.` or `..`.
public struct FileName: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The bytes, without a NUL.
  public let bytes: [UInt8]

  /// A name, or nil if the bytes are not one.
  public init?(_ bytes: [UInt8]) {
    guard (1...Limits.nameLength).contains(bytes.count),
      !bytes.contains(0), !bytes.contains(UInt8(ascii: "/")),
      bytes != [UInt8(ascii: ".")], bytes != [UInt8(ascii: "."), UInt8(ascii: ".")]
    else { return nil }
    self.bytes = bytes
  }

  /// A name from text.
  public init?(_ text: String) { self.init([UInt8](text.utf8)) }

  /// The bytes as UTF-8, repaired where they are not.
  public var description: String { String(decoding: bytes, as: UTF8.self) }

  /// Orders names by bytes.
  public static func < (a: Self, b: Self) -> Bool { a.bytes.lexicographicallyPrecedes(b.bytes) }
}

/// Everything known about a file, directory or symlink but its data. There are no hard links, so
/// its one name is part of it.
public struct Inode: Hashable, Sendable {
  /// Its number within the group; 1 is the group's top, whose parent is 0 and whose name is empty.
  public var id: FileID
  /// The directory it is in.
  public var parent: FileID
  /// Its name there; nil only for the group's top.
  public var name: FileName?
  /// What it is.
  public var kind: InodeKind
  /// Permission bits with set-id and sticky bits, 0 ... 0o7777.
  public var mode: UInt16
  /// Owner.
  public var uid: UInt32
  /// Owning group.
  public var gid: UInt32
  /// Bytes of a file, 0 ... `Limits.regionSize`; 0 for a directory; the target's length for a symlink.
  public var size: UInt64
  /// Last access, as set by utimens; reads do not change it.
  public var accessed: Timestamp
  /// Last change of the content.
  public var modified: Timestamp
  /// Last change of the inode.
  public var changed: Timestamp
  /// A symlink's target; empty otherwise.
  public var target: [UInt8]
  /// Extended attributes by name, sorted by name.
  public var xattrs: [Xattr]

  /// One extended attribute.
  public struct Xattr: Hashable, Sendable {
    /// The full name, e.g. `user.comment`, as bytes.
    public var name: [UInt8]
    /// The value.
    public var value: [UInt8]
    /// Names a value.
    public init(name: [UInt8], value: [UInt8]) {
      self.name = name
      self.value = value
    }
  }

  /// An inode with all times at `time` and no attributes.
  public init(
    id: FileID, parent: FileID, name: FileName?, kind: InodeKind, mode: UInt16, uid: UInt32,
    gid: UInt32, size: UInt64 = 0, time: Timestamp, target: [UInt8] = []
  ) {
    self.id = id
    self.parent = parent
    self.name = name
    self.kind = kind
    self.mode = mode
    self.uid = uid
    self.gid = gid
    self.size = kind == .symlink ? UInt64(target.count) : size
    accessed = time
    modified = time
    changed = time
    self.target = target
    xattrs = []
  }
}

/// One change of a group's names or attributes. Complete in itself, so that applying it twice is
/// harmless and the last one for an inode says all.
public enum NameChange: Hashable, Sendable {
  /// The inode is now exactly this (made, renamed, resized, attributes set).
  case set(Inode)
  /// The inode and all its data are gone.
  case remove(FileID)
}
