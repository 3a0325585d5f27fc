/// Why bytes were not what a format says. Names the object, so that a person can act on it.
public struct FormatError: Error, Sendable, Equatable, CustomStringConvertible {
  /// What is wrong.
  public enum Kind: Hashable, Sendable {
    /// Shorter than the format says.
    case truncated
    /// The checksum does not match.
    case checksum
    /// The magic number is another: not an object of this kind.
    case notOurs
    /// Written by a newer version of regionfs.
    case newerVersion(UInt16)
    /// A value is out of its range or contradicts another.
    case invalid(String)
  }

  /// What is wrong.
  public var kind: Kind
  /// What was being read: root, segment table, checkpoint index, map page, name page, log, …
  public var what: String

  /// An error in `what`.
  public init(_ kind: Kind, what: String) {
    self.kind = kind
    self.what = what
  }

  /// The problem in words.
  public var description: String {
    switch kind {
    case .truncated: "\(what) is truncated"
    case .checksum: "\(what) is damaged (checksum does not match)"
    case .notOurs: "\(what) is not in regionfs format"
    case .newerVersion(let version):
      "\(what) has format version \(version), newer than this regionfs reads (1): install a newer regionfs"
    case .invalid(let why): "\(what) is damaged (\(why))"
    }
  }
}
