/// How an inode is written, wherever one is: name pages, segment tables, log records.
enum InodeCodec {
  /// Fewest bytes an encoded inode takes.
  static let minimumLength = 72

  static func encode(_ inode: Inode, into writer: inout ByteWriter, what: String)
    throws(FormatError)
  {
    try validate(inode, what: what)
    writer.u64(inode.id)
    writer.u64(inode.parent)
    writer.u8(inode.kind.rawValue)
    writer.reserved(1)
    writer.u16(inode.mode)
    writer.u32(inode.uid)
    writer.u32(inode.gid)
    writer.u64(inode.size)
    writer.time(inode.accessed)
    writer.time(inode.modified)
    writer.time(inode.changed)
    writer.u16(UInt16(inode.name?.bytes.count ?? 0))
    writer.u16(UInt16(inode.target.count))
    writer.u32(UInt32(inode.xattrs.count))
    writer.u32(0)  // Reserved: flags.
    writer.raw(inode.name?.bytes ?? [])
    writer.raw(inode.target)
    for xattr in inode.xattrs {
      writer.u16(UInt16(xattr.name.count))
      writer.reserved(2)
      writer.u32(UInt32(xattr.value.count))
      writer.raw(xattr.name)
      writer.raw(xattr.value)
    }
  }

  static func decode(from reader: inout ByteReader) throws(FormatError) -> Inode {
    let id = try reader.u64()
    let parent = try reader.u64()
    guard let kind = InodeKind(rawValue: try reader.u8()) else {
      throw reader.invalid("unknown kind of inode")
    }
    try reader.reserved(1)
    let mode = try reader.u16()
    let uid = try reader.u32()
    let gid = try reader.u32()
    let size = try reader.u64()
    let times = (try reader.time(), try reader.time(), try reader.time())
    let nameLength = Int(try reader.u16())
    let targetLength = Int(try reader.u16())
    let xattrCount = try reader.u32()
    try reader.reserved(4)
    var name: FileName?
    if nameLength > 0 {
      guard let valid = FileName(try reader.raw(nameLength)) else {
        throw reader.invalid("inode \(id) has an impossible name")
      }
      name = valid
    }
    var inode = Inode(
      id: id, parent: parent, name: name, kind: kind, mode: mode, uid: uid, gid: gid, size: size,
      time: times.0, target: try reader.raw(targetLength))
    inode.size = size
    inode.modified = times.1
    inode.changed = times.2
    inode.xattrs = try decodeXattrs(count: xattrCount, from: &reader)
    try validate(inode, what: reader.what)
    return inode
  }

  private static func decodeXattrs(count: UInt32, from reader: inout ByteReader)
    throws(FormatError) -> [Inode.Xattr]
  {
    let count = try reader.count(
      count, limit: Limits.xattrTotalLength, minimum: 8, of: "extended attributes")
    var xattrs: [Inode.Xattr] = []
    xattrs.reserveCapacity(count)
    for _ in 0..<count {
      let nameLength = Int(try reader.u16())
      try reader.reserved(2)
      let valueLength = Int(try reader.u32())
      xattrs.append(
        Inode.Xattr(name: try reader.raw(nameLength), value: try reader.raw(valueLength)))
    }
    return xattrs
  }

  /// What must hold for any inode, whether written or read.
  static func validate(_ inode: Inode, what: String) throws(FormatError) {
    func require(_ condition: Bool, _ why: @autoclosure () -> String) throws(FormatError) {
      guard condition else {
        throw FormatError(.invalid("inode \(inode.id): \(why())"), what: what)
      }
    }
    try require((1...Limits.fileID).contains(inode.id), "number out of range")
    if inode.id == 1 {
      try require(inode.parent == 0 && inode.name == nil, "the top has a name or parent")
    } else {
      try require((1...Limits.fileID).contains(inode.parent), "parent out of range")
      try require(inode.parent != inode.id && inode.name != nil, "no name or its own parent")
    }
    try require(inode.mode <= 0o7777, "mode out of range")
    switch inode.kind {
    case .file: try require(inode.size <= Limits.regionSize, "size out of range")
    case .directory: try require(inode.size == 0, "a directory with a size")
    case .symlink:
      try require((1...Limits.symlinkLength).contains(inode.target.count), "target's length")
      try require(inode.size == UInt64(inode.target.count), "size is not the target's length")
      try require(!inode.target.contains(0), "NUL in a symlink's target")
    }
    try require(inode.kind == .symlink || inode.target.isEmpty, "a target but no symlink")
    try validateXattrs(inode.xattrs, require)
  }

  private static func validateXattrs(
    _ xattrs: [Inode.Xattr],
    _ require: (Bool, @autoclosure () -> String) throws(FormatError) -> Void
  ) throws(FormatError) {
    var total = 0
    var previous: [UInt8] = []
    for xattr in xattrs {
      try require(
        (1...Limits.xattrNameLength).contains(xattr.name.count), "attribute name's length")
      try require(!xattr.name.contains(0), "NUL in an attribute's name")
      try require(xattr.value.count <= Limits.xattrValueLength, "attribute value's length")
      try require(previous.lexicographicallyPrecedes(xattr.name), "attributes not in order")
      previous = xattr.name
      total += xattr.name.count + xattr.value.count
      try require(total <= Limits.xattrTotalLength, "attributes too long in all")
    }
  }
}

/// How a change of names is written: a kind, then the inode or its number.
enum NameChangeCodec {
  /// Fewest bytes an encoded change takes.
  static let minimumLength = 9
  /// The kinds, distinct from the kinds of data changes in a segment table.
  static let set: UInt8 = 3
  static let remove: UInt8 = 4

  static func encode(_ change: NameChange, into writer: inout ByteWriter, what: String)
    throws(FormatError)
  {
    switch change {
    case .set(let inode):
      writer.u8(set)
      try InodeCodec.encode(inode, into: &writer, what: what)
    case .remove(let id):
      guard (1...Limits.fileID).contains(id) else {
        throw FormatError(.invalid("inode \(id) out of range"), what: what)
      }
      writer.u8(remove)
      writer.u64(id)
    }
  }

  /// Decodes what follows the kind byte.
  static func decode(kind: UInt8, from reader: inout ByteReader) throws(FormatError) -> NameChange {
    switch kind {
    case set: return .set(try InodeCodec.decode(from: &reader))
    case remove:
      let id = try reader.u64()
      try reader.require((1...Limits.fileID).contains(id), "inode \(id) out of range")
      return .remove(id)
    default: throw reader.invalid("unknown kind of change \(kind)")
    }
  }
}

extension NameChange {
  /// The inode that it changes.
  var inode: FileID {
    switch self {
    case .set(let inode): inode.id
    case .remove(let id): id
    }
  }
}
