/// Objects that a page or index refers to, so that each reference is a small number.
///
/// They stand in order of their first use, once each, and readers insist on it: equal content has
/// one encoding, so unchanged pages are found by comparing bytes.
struct ObjectTable {
  private var objects: [ObjectID] = []
  private var places: [ObjectID: UInt32] = [:]
  private var used = 0

  /// An encoded object: 8 reserved bytes (its kind, for imports; its origin group, for clones),
  /// epoch, random bits.
  static let entryLength = 32

  /// An empty table.
  init() {}

  /// Adds `object` unless it is there.
  mutating func add(_ object: ObjectID) {
    guard places[object] == nil else { return }
    places[object] = UInt32(objects.count)
    objects.append(object)
  }

  /// The number of an object that was added.
  func index(of object: ObjectID) -> UInt32 {
    guard let place = places[object] else { preconditionFailure("object was not added") }
    return place
  }

  func encode(into writer: inout ByteWriter) {
    writer.u32(UInt32(objects.count))
    writer.reserved(4)
    for object in objects {
      writer.reserved(8)
      writer.object(object)
    }
  }

  init(decoding reader: inout ByteReader) throws(FormatError) {
    let found = try reader.u32()
    try reader.reserved(4)
    let count = try reader.count(
      found, limit: Limits.indexLength / Self.entryLength, minimum: Self.entryLength, of: "objects")
    objects.reserveCapacity(count)
    places.reserveCapacity(count)
    for _ in 0..<count {
      try reader.reserved(8)
      let object = try reader.object()
      try reader.require(object.epoch >= 1, "object of epoch 0")
      try reader.require(places[object] == nil, "an object is listed twice")
      add(object)
    }
  }

  /// The object with number `index`; throws if it does not exist or is used before an earlier one.
  mutating func object(at index: UInt32, _ reader: ByteReader) throws(FormatError) -> ObjectID {
    guard index < objects.count else { throw reader.invalid("object number out of range") }
    try reader.require(index <= used, "objects are not in order of use")
    if index == used { used += 1 }
    return objects[Int(index)]
  }

  /// Throws if an object was never used.
  func finish(_ reader: ByteReader) throws(FormatError) {
    try reader.require(used == objects.count, "an object is listed but not used")
  }
}
