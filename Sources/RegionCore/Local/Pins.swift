/// Which bytes of a group's files stay in the cache whatever its limit says: `<uuid>/pins`, lines of an
/// inode and its ranges. They hold for this cache only, and from mount to mount.
struct Pins: Sendable {
  private let cache: GroupCache
  /// Ranges of bytes by file.
  private(set) var files: [FileID: [Range<UInt64>]] = [:]

  /// Longest file: more pins than this are refused, in bytes.
  private static let limit = 1 << 20
  private static let magic = "regionfs-pins 1"

  private var path: String { cache.directory + "/pins" }

  /// The pins as they are on the disk; a file that makes no sense counts as none.
  init(_ cache: GroupCache) throws(LocalError) {
    self.cache = cache
    guard let bytes = try cache.disk.contents(of: path, limit: Self.limit) else { return }
    let lines = String(decoding: bytes, as: UTF8.self).split(separator: "\n")
    guard lines.first == Self.magic[...] else { return }
    for line in lines.dropFirst() {
      let words = line.split(separator: " ")
      guard let first = words.first, let file = FileID(first) else { continue }
      files[file] = words.dropFirst().compactMap { PinText.range($0) }
    }
  }

  /// Sets a file's ranges, durably.
  mutating func set(_ ranges: [Range<UInt64>], of file: FileID) throws(LocalError) {
    files[file] = ranges.isEmpty ? nil : ranges
    guard !files.isEmpty else { return try cache.disk.removeFile(path) }
    let lines = files.sorted { $0.key < $1.key }.map { file, ranges in
      "\(file) " + ranges.map(PinText.text).joined(separator: " ")
    }
    let bytes = Array(([Self.magic] + lines).joined(separator: "\n").utf8) + [10]
    guard bytes.count <= Self.limit else { throw LocalError("write", path: path, code: 28) }
    try cache.disk.replaceFile(path, with: bytes)
  }

  /// The chunks that the file's pinned bytes touch.
  func chunks(of file: FileID, geometry: Geometry) -> RangeSet<ChunkIndex> {
    var chunks = RangeSet<ChunkIndex>()
    for range in files[file] ?? [] {
      chunks.insert(contentsOf: geometry.chunks(touching: range))
    }
    return chunks
  }
}

/// Pinned ranges as text: `FIRST:END` in bytes, the end not included; `all` for the whole file.
public enum PinText {
  /// All that a file may ever have.
  public static let everything: Range<UInt64> = 0..<Limits.regionSize

  /// The ranges in `text`, separated by blanks or commas; nil if it is none. Empty: none.
  public static func ranges(_ text: String) -> [Range<UInt64>]? {
    let words = text.split(whereSeparator: { $0 == " " || $0 == "," || $0 == "\n" })
    if words == ["none"] { return [] }
    let ranges = words.compactMap { range($0) }
    return ranges.count == words.count ? merged(ranges) : nil
  }

  /// What `ranges` reads back.
  public static func text(_ ranges: [Range<UInt64>]) -> String {
    ranges.isEmpty ? "none" : ranges.map(text).joined(separator: " ")
  }

  static func text(_ range: Range<UInt64>) -> String {
    range == everything ? "all" : "\(range.lowerBound):\(range.upperBound)"
  }

  static func range(_ word: Substring) -> Range<UInt64>? {
    if word == "all" { return everything }
    let ends = word.split(separator: ":", omittingEmptySubsequences: false)
    guard ends.count == 2, let first = UInt64(ends[0]), let end = UInt64(ends[1]), first < end,
      end <= Limits.regionSize
    else { return nil }
    return first..<end
  }

  /// In order, and without overlaps.
  public static func merged(_ ranges: [Range<UInt64>]) -> [Range<UInt64>] {
    var merged: [Range<UInt64>] = []
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
      if let last = merged.last, last.upperBound >= range.lowerBound {
        merged[merged.count - 1] = last.lowerBound..<max(last.upperBound, range.upperBound)
      } else {
        merged.append(range)
      }
    }
    return merged
  }
}
