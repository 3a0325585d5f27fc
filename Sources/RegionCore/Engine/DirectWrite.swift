import CLinux
import Glibc

/// Writes of pulled bytes past the page cache. The bytes are in memory already and will be in the
/// kernel's cache of the region; in the cache of the data file they would be a third copy, and
/// copying them there costs more than receiving them.
extension Region {
  /// Direct writes at a time. While the disk is slower than the network these stay busy, and the
  /// rest takes the page cache, as long as the kernel lets it.
  static let directWriteLimit = 3

  /// Writes whole chunks into the data file: if wanted directly, unless that is not possible or too
  /// many do.
  func writePulled(_ bytes: UnsafeRawBufferPointer, at offset: UInt64, direct wanted: Bool)
    throws(LocalError)
  {
    try stateFile.declareInUse()
    guard wanted, let direct, unsafe Self.isAligned(bytes) else {
      return try unsafe data.write(bytes, at: offset)
    }
    let others = engine.directWrites.add(1, ordering: .relaxed).oldValue
    defer { engine.directWrites.subtract(1, ordering: .relaxed) }
    guard others < Self.directWriteLimit else { return try unsafe data.write(bytes, at: offset) }
    do throws(LocalError) {
      try unsafe direct.write(bytes, at: offset)
    } catch {
      // Some file systems find out only now that they cannot.
      guard error.code == EINVAL else { throw error }
      try unsafe data.write(bytes, at: offset)
    }
  }

  /// O_DIRECT wants memory, offset and length in blocks of the disk; pages are multiples of all.
  private static func isAligned(_ bytes: UnsafeRawBufferPointer) -> Bool {
    UInt(bitPattern: bytes.baseAddress) & UInt(Geometry.pageSize - 1) == 0
  }

  /// The data file once more, with `O_DIRECT`; nil where its file system does not have it.
  static func directFile(_ data: LocalFile) -> LocalFile? {
    do throws(LocalError) {
      return try LocalFile(path: data.path, flags: O_WRONLY | linux_o_direct())
    } catch {
      return nil
    }
  }
}
