/// The name of an object, relative to the store's prefix.
///
/// Only `[A-Za-z0-9._/-]`; segments are 1 ... 200 bytes, none is `.` or `..`; no leading or trailing
/// `/`; at most 900 bytes in all. Such names pass unchanged through every store, signer and proxy.
public struct ObjectKey: Hashable, Comparable, Sendable, CustomStringConvertible {
  /// The key as text.
  public let text: String

  /// A key, or nil if `text` breaks the rules above.
  public init?(_ text: String) {
    guard Self.isValid(text) else { return nil }
    self.text = text
  }

  /// A key that this module put together itself from parts that cannot break the rules.
  init(composed text: String) {
    assert(Self.isValid(text), "composed an invalid key")
    self.text = text
  }

  /// The same as `text`.
  public var description: String { text }

  /// Orders keys by bytes, as S3 lists them.
  public static func < (a: Self, b: Self) -> Bool {
    a.text.utf8.lexicographicallyPrecedes(b.text.utf8)
  }

  private static func isValid(_ text: String) -> Bool {
    guard !text.isEmpty, text.utf8.count <= 900 else { return false }
    for segment in text.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
      guard (1...200).contains(segment.count) else { return false }
      if segment.elementsEqual(".".utf8) || segment.elementsEqual("..".utf8) { return false }
      guard segment.allSatisfy(isAllowed) else { return false }
    }
    return true
  }

  private static func isAllowed(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"),
      UInt8(ascii: "-"):
      true
    default: false
    }
  }
}

/// An object's version as its store names it. Opaque: only equality means anything.
public struct ETag: Hashable, Sendable, CustomStringConvertible {
  /// The text exactly as the store gave it.
  public let text: String
  /// Wraps the store's text.
  public init(_ text: String) { self.text = text }
  /// The same as `text`.
  public var description: String { text }
}

/// What a PUT demands of the object that is there.
public enum PutCondition: Hashable, Sendable {
  /// Nothing: replace whatever is there.
  case none
  /// There is no such object (If-None-Match: *).
  case absent
  /// The object is exactly this version (If-Match).
  case matches(ETag)
}

/// What a GET learned beside the bytes.
public struct ObjectInfo: Hashable, Sendable {
  /// The version that was read.
  public var etag: ETag
  /// The length of the whole object, in bytes.
  public var totalLength: UInt64
  /// When the store was asked, if that was before the call; nil: since it.
  public var asOf: MonotonicTime?
  /// Names the version and length of an object.
  public init(etag: ETag, totalLength: UInt64, asOf: MonotonicTime? = nil) {
    self.etag = etag
    self.totalLength = totalLength
    self.asOf = asOf
  }
}

/// Which request goes first when transfers are scarce.
public enum TransferPriority: Int, Comparable, Sendable {
  /// Someone waits for it now (a fault, a commit).
  case demand = 0
  /// Someone will probably wait for it soon (read-ahead).
  case readAhead = 1
  /// Nobody waits for it.
  case background = 2
  /// Orders by urgency: `demand` is the smallest.
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// One page of a listing.
public struct ListPage: Hashable, Sendable {
  /// Keys, each once in all pages together, in an order of the store's own: byte order on most, but
  /// SeaweedFS and S3 directory buckets, for two, have another around `/`.
  public var keys: [ObjectKey]
  /// Where to go on; nil at the end.
  public var next: String?
  /// A page of `keys`, with the token of the next one.
  public init(keys: [ObjectKey], next: String?) {
    self.keys = keys
    self.next = next
  }
}

/// The written contract of everything that can hold a group remotely. `StoreContractTests` runs it
/// over each implementation.
///
/// 1. A GET after a PUT that was answered returns those bytes or later ones (strong consistency).
/// 2. A PUT is atomic: readers see all of it or none. When it throws `.unavailable` or
///    `.damagedAnswer` it may have happened.
/// 3. Conditional PUTs are atomic: of several racing ones with the same condition exactly one wins;
///    the others throw `.preconditionFailed` (or `.conflict`, undecided).
/// 4. A GET returns exactly the bytes asked for or throws. Never short, never padded.
/// 5. Methods return when the thing is done, do not block a thread while they wait for a network,
///    and honour cancellation with `.cancelled`.
/// 6. Keys that do not parse as `ObjectKey` are passed over by `list`.
public protocol ObjectStore: Sendable {
  /// The store's address as users write it, e.g. `s3://bucket/prefix`.
  var address: String { get }

  /// Reads `range` of an object (all of it if nil) into `buffer` from its start and sets the
  /// buffer's count. A range that ends past the object's end throws `.damagedAnswer`; a whole read
  /// that does not fit throws `.tooLarge`; an absent object throws `.notFound`.
  func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo

  /// Writes all valid bytes of `body` as the object and returns its new version.
  func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag

  /// Removes the object. Removing what is not there is success.
  func delete(_ key: ObjectKey) async throws(StoreError)

  /// Lists up to `limit` (1 ... 1,000) keys that start with `prefix` (any text, may be empty), going
  /// on from `token` (a former page's `next`).
  func list(prefix: String, from token: String?, limit: Int) async throws(StoreError) -> ListPage
}
