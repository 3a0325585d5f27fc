import FuseKit
import Glibc
import RegionCore

/// Pulls that users ask for: by the control socket, and by extended attributes of open files.
extension RegionFilesystem {
  /// Attributes of the file system itself: they say what is, are in no list and are not stored.
  static let ownPrefix = Array("user.regionfs.".utf8)

  /// The open region at a path under the mount.
  public func openRegion(at path: [FileName]) -> Region? {
    guard let name = path.first else { return nil }
    return groups.top(name)?.group.openRegion(at: Array(path.dropFirst()))
  }

  /// The value of an attribute of the file system's own: `user.regionfs.pull` says what is here.
  func ownAttribute(_ node: Node, _ name: [UInt8]) -> [UInt8]? {
    guard name == Self.ownPrefix + Array("pull".utf8),
      let region = node.group.openRegion(of: node.file)
    else { return nil }
    let pull = region.pullReading
    return Array(
      "present=\(pull.presentBytes) size=\(pull.size) mode=\(pull.mode) reason=\(pull.reason)".utf8)
  }

  /// Sets an attribute of the file system's own; the error number, 0 if it was taken:
  /// `user.regionfs.pull` takes `START:END`, in bytes, each of which may be left out.
  func setOwnAttribute(_ node: Node, _ name: [UInt8], _ value: [UInt8]) -> Int32 {
    guard name == Self.ownPrefix + Array("pull".utf8) else { return EPERM }
    guard let region = node.group.openRegion(of: node.file) else { return ENODATA }
    guard let bytes = Self.byteRange(value, size: region.size) else { return EINVAL }
    _ = RequestedPull(region, bytes: bytes, priority: 5)
    return 0
  }

  /// `START:END`; nil if it is none.
  static func byteRange(_ text: [UInt8], size: UInt64) -> Range<UInt64>? {
    let parts = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    guard parts.count == 2 else { return nil }
    let numbers = parts.map { UInt64(String(decoding: $0, as: UTF8.self)) }
    guard numbers[0] != nil || parts[0].isEmpty, numbers[1] != nil || parts[1].isEmpty else {
      return nil
    }
    let start = numbers[0] ?? 0
    let end = min(numbers[1] ?? size, size)
    return start <= end ? start..<end : nil
  }
}
