/// 128 random bits: the base of every identifier that must never collide.
public struct Random128: Hashable, Sendable, CustomStringConvertible {
  /// The upper 64 bits.
  public var high: UInt64
  /// The lower 64 bits.
  public var low: UInt64

  /// The value with these halves.
  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// A fresh value from `generator`.
  public static func random(using generator: inout some RandomNumberGenerator) -> Self {
    Self(high: generator.next(), low: generator.next())
  }

  /// A fresh value from the system's generator.
  public static func random() -> Self {
    var generator = SystemRandomNumberGenerator()
    return random(using: &generator)
  }

  /// All zero: "none" where a format has no optional.
  public static let zero = Self(high: 0, low: 0)

  /// 32 lower-case hexadecimal digits.
  public var description: String { Self.hex(high) + Self.hex(low) }

  /// Parses 32 hexadecimal digits.
  public init?(_ text: some StringProtocol) {
    guard text.utf8.count == 32, text.allSatisfy({ $0.isASCII && $0.isHexDigit }),
      let high = UInt64(text.prefix(16), radix: 16), let low = UInt64(text.suffix(16), radix: 16)
    else { return nil }
    self.init(high: high, low: low)
  }

  private static func hex(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
  }
}

/// A group's uuid: names its objects in the store and its directory in the cache.
public typealias GroupID = Random128
/// Identity of a cache directory, and with it of the only daemon that may write through it.
public typealias WriterID = Random128
/// Tells one attempt to replace a root from every other.
public typealias Nonce = Random128
/// Identity of one write log (a claim starts a new one).
public typealias LogID = Random128
/// How often the group was claimed by a writer. Starts at 1.
public typealias Epoch = UInt64
/// Counts the commits of a group. The empty group as created is commit 0.
public typealias CommitNumber = UInt64
/// Position in a group's history as one log counts it: the first record is 1.
public typealias SequenceNumber = UInt64
/// A file, directory or symlink within its group. 1 is the group's own top; never reused.
public typealias FileID = UInt64
/// A 4 KiB page within a file, counted from 0.
public typealias PageIndex = UInt64
/// A chunk within a file, counted from 0.
public typealias ChunkIndex = UInt64

/// One commit in a group's history.
public struct CommitID: Hashable, Sendable {
  /// Its number.
  public var number: CommitNumber
  /// The nonce of the root that made it.
  public var nonce: Nonce
  /// Names a commit.
  public init(number: CommitNumber, nonce: Nonce) {
    self.number = number
    self.nonce = nonce
  }
}

/// An immutable object of a group: `seg/<epoch>-<random>` or `map/<epoch>-<random>`.
public struct ObjectID: Hashable, Comparable, Sendable {
  /// The epoch of the writer that made it: orphans are only ever sought in lower epochs.
  public var epoch: Epoch
  /// What makes the name unique.
  public var random: Random128
  /// Names an object.
  public init(epoch: Epoch, random: Random128) {
    self.epoch = epoch
    self.random = random
  }
  /// The last part of the object's key.
  public var name: String { "\(epoch)-\(random)" }

  /// By epoch, then by the random part: the order of their names.
  public static func < (one: ObjectID, other: ObjectID) -> Bool {
    (one.epoch, one.random.high, one.random.low)
      < (other.epoch, other.random.high, other.random.low)
  }
}
