/// The header of a cached file's state: what its chunks' one-byte states, which follow the header,
/// agree with.
public struct StateFileHeader: Hashable, Sendable {
  /// The group.
  public var group: GroupID
  /// The file whose chunks it describes.
  public var file: FileID
  /// The group's geometry.
  public var geometry: Geometry
  /// The commit that the present chunks agree with.
  public var commit: CommitID
  /// The boot of the host during which the file was written: after another boot, what was not
  /// synced may be lost.
  public var bootID: Random128
  /// Whether the states were written completely at the end of a mount.
  public var isClean: Bool

  /// A header.
  public init(
    group: GroupID, file: FileID, geometry: Geometry, commit: CommitID, bootID: Random128,
    isClean: Bool
  ) {
    self.group = group
    self.file = file
    self.geometry = geometry
    self.commit = commit
    self.bootID = bootID
    self.isClean = isClean
  }
}

/// The bytes of a `StateFileHeader`.
public enum StateFileCodec {
  /// Length of the header, in bytes, and place of the first chunk's state: one page, so that the
  /// states can be mapped.
  public static let headerLength = 4096
  static let frame = Frame(magic: "RGFSSTAT", what: "state file", limit: headerLength)

  /// The header as bytes.
  public static func encode(_ header: StateFileHeader) -> [UInt8] {
    var writer = frame.begin(capacity: headerLength)
    writer.random128(header.group)
    writer.u64(header.file)
    writer.u8(UInt8(header.geometry.chunkShift))
    writer.u8(header.isClean ? 1 : 0)
    writer.reserved(6)
    writer.commit(header.commit)
    writer.random128(header.bootID)
    writer.pad(to: headerLength)
    return frame.sealFixed(writer)
  }

  /// The header in `bytes`, the first `headerLength` bytes of a state file.
  public static func decode(_ bytes: [UInt8]) throws(FormatError) -> StateFileHeader {
    var reader = try frame.open(bytes[...])
    let group = try reader.random128()
    let file = try reader.u64()
    try reader.require((1...Limits.fileID).contains(file), "inode number out of range")
    let geometry = try Geometry(decoding: &reader)
    let clean = try reader.u8()
    try reader.require(clean <= 1, "clean flag")
    try reader.reserved(6)
    let header = StateFileHeader(
      group: group, file: file, geometry: geometry, commit: try reader.commit(),
      bootID: try reader.random128(), isClean: clean == 1)
    try reader.reserved(headerLength - reader.consumed)
    try reader.finish()
    return header
  }
}
