/// Makes sure that an accepted change finds room in the data file: far from a full disk by knowing
/// the free space, near it by allocating the blocks first.
struct SpaceGuard: Sendable {
  /// Free bytes below which every change allocates before it is accepted.
  static let tight: UInt64 = 1 << 30
  /// Bytes that may be accepted between two looks at the free space. Far below `tight`, so that
  /// other users of the disk have to fill it faster than that to be noticed late.
  static let interval = 16 << 20

  private var bytesUntilCheck = 0
  private var isTight = false

  /// Before the record is logged. Throws ENOSPC with nothing changed.
  mutating func reserve(_ record: DataRecord, _ bytes: Int, _ region: Region) throws(LocalError) {
    bytesUntilCheck -= bytes
    if bytesUntilCheck <= 0 || isTight {
      isTight = try region.data.freeSpace() < Self.tight
      bytesUntilCheck = Self.interval
    }
    guard isTight else { return }
    for run in record.runs where !run.isZero {
      let range =
        run.pages.lowerBound << Geometry.pageShift..<run.pages.upperBound << Geometry.pageShift
      try region.data.reserve(range)
    }
  }
}
