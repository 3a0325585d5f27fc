import FuseKit
import Glibc
import RegionCore

/// `user.regionfs.pinned`: what of a file stays in this mount's cache, as `PinText`. Not stored with the
/// inode, for it says nothing about the file elsewhere; no claim is needed to set it, and it is not
/// listed, so that copies of the file do not take it along.
extension RegionFilesystem {
  static let pinnedName = Array("user.regionfs.pinned".utf8)

  func setPinned(_ id: NodeID, _ value: [UInt8], reply: consuming EmptyReply) {
    guard let node = node(id) else { return reply.error(id == Self.top ? EPERM : ESTALE) }
    guard let ranges = PinText.ranges(String(decoding: value, as: UTF8.self)) else {
      return reply.error(EINVAL)
    }
    do throws(RegionError) {
      try node.group.pin(node.file, ranges)
    } catch {
      return reply.error(error.code)
    }
    reply.success()
  }

  func getPinned(_ id: NodeID, size: Int, reply: consuming XattrReply) {
    guard let node = node(id) else { return reply.error(id == Self.top ? ENODATA : ESTALE) }
    let ranges: [Range<UInt64>]
    do throws(RegionError) {
      ranges = try node.group.pins(of: node.file)
    } catch {
      return reply.error(error.code)
    }
    guard !ranges.isEmpty else { return reply.error(ENODATA) }
    reply.value(Array(PinText.text(ranges).utf8), size: size)
  }
}
