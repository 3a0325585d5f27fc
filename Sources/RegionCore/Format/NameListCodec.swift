/// What a cache directory remembers of the names at the top of its store, to show them while the
/// store does not answer.
public struct NameList: Hashable, Sendable {
  /// What is known of one name.
  public struct Entry: Hashable, Sendable {
    /// The name.
    public var name: FileName
    /// Its record, if it was read.
    public var record: GroupRecord?
    /// The record's version in the store; empty without a record.
    public var etag: ETag

    /// An entry.
    public init(name: FileName, record: GroupRecord?, etag: ETag) {
      self.name = name
      self.record = record
      self.etag = etag
    }
  }

  /// The store that has them: its address, and its endpoint if it was named.
  public var store: String
  /// Conditional writes were seen to be honoured there.
  public var isChecked: Bool
  /// The names, each once, in order.
  public var entries: [Entry]

  /// A list.
  public init(store: String, isChecked: Bool, entries: [Entry]) {
    self.store = store
    self.isChecked = isChecked
    self.entries = entries
  }
}

/// The bytes of a `NameList`.
public enum NameListCodec {
  static let frame = Frame(magic: "RGFSNAML", what: "list of names", limit: Limits.nameListLength)

  /// The list as bytes; throws if it is too long.
  public static func encode(_ list: NameList) throws(FormatError) -> [UInt8] {
    var writer = frame.begin(capacity: 256 + 80 * list.entries.count)
    guard list.store.utf8.count <= Limits.storeNameLength else {
      throw FormatError(.invalid("store's name is too long"), what: frame.what)
    }
    writer.u16(UInt16(list.store.utf8.count))
    writer.u8(list.isChecked ? 1 : 0)
    writer.reserved(1)
    writer.u32(UInt32(list.entries.count))
    writer.raw(list.store.utf8)
    for entry in list.entries {
      let etag = entry.record == nil ? [] : Array(entry.etag.text.utf8)
      guard etag.count <= Limits.etagLength else {
        throw FormatError(.invalid("version is too long"), what: frame.what)
      }
      writer.u8(entry.record?.kind.rawValue ?? 0)
      writer.reserved(1)
      writer.u16(UInt16(entry.name.bytes.count))
      writer.u16(UInt16(etag.count))
      writer.reserved(2)
      writer.random128(entry.record?.group ?? .zero)
      writer.u64(entry.record?.serial ?? 0)
      writer.raw(entry.name.bytes)
      writer.raw(etag)
    }
    return try frame.seal(writer)
  }

  /// The list in `bytes`.
  public static func decode(_ bytes: [UInt8]) throws(FormatError) -> NameList {
    var reader = try frame.open(bytes[...])
    let length = Int(try reader.u16())
    let checked = try reader.u8()
    try reader.require(checked <= 1, "flag")
    try reader.reserved(1)
    let count = try reader.u32()
    try reader.require(length <= Limits.storeNameLength, "length of the store's name")
    guard let store = String(validating: try reader.raw(length), as: UTF8.self) else {
      throw reader.invalid("store's name is not UTF-8")
    }
    let entries = try reader.count(count, limit: Int(UInt32.max), minimum: 33, of: "names")
    var list = NameList(store: store, isChecked: checked == 1, entries: [])
    for _ in 0..<entries {
      let entry = try decodeEntry(from: &reader)
      try reader.require(list.entries.last.map { $0.name < entry.name } ?? true, "order of names")
      list.entries.append(entry)
    }
    try reader.finish()
    return list
  }

  private static func decodeEntry(from reader: inout ByteReader) throws(FormatError)
    -> NameList.Entry
  {
    let kind = try reader.u8()
    try reader.reserved(1)
    let nameLength = Int(try reader.u16())
    let etagLength = Int(try reader.u16())
    try reader.reserved(2)
    let group = try reader.random128()
    let serial = try reader.u64()
    guard let name = FileName(try reader.raw(nameLength)) else { throw reader.invalid("name") }
    try reader.require(etagLength <= Limits.etagLength, "length of a version")
    guard let etag = String(validating: try reader.raw(etagLength), as: UTF8.self) else {
      throw reader.invalid("version is not UTF-8")
    }
    guard kind != 0 else {
      try reader.require(
        group == .zero && serial == 0 && etag.isEmpty, "a name without a record has one")
      return NameList.Entry(name: name, record: nil, etag: ETag(""))
    }
    guard let kind = InodeKind(rawValue: kind) else {
      throw reader.invalid("unknown kind of inode")
    }
    let record = GroupRecord(group: group, name: name, kind: kind, serial: serial)
    return NameList.Entry(name: name, record: record, etag: ETag(etag))
  }
}
