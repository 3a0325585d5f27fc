import CLinux
import FuseKit
import Glibc
import RegionCore

/// The daemon's own mount, as its threads see it from outside. Only for threads with a table of
/// descriptors of their own (`KernelCache.leaveDescriptors`), which hold no lock.
struct OwnMount: Sendable {
  private let mountpoint: String
  let device: UInt64

  init(mountpoint: String, device: MountTable.Device) {
    self.mountpoint = mountpoint
    // The kernel's encoding of small device numbers (makedev(3)).
    self.device =
      UInt64(device.major) << 8 | UInt64(device.minor & 0xff)
      | UInt64(device.minor & ~0xff) << 12
  }

  /// Opens the file for a moment, for an open one would make umount(8) say EBUSY. Not if it was renamed
  /// or removed meanwhile, or the mount is gone. Returns whether it was opened, and so `body` called. open(2)
  @discardableResult
  func withFile(_ path: [FileName], _ body: (Int32) -> Void) -> Bool {
    let bytes = Array(mountpoint.utf8) + path.flatMap { [UInt8(ascii: "/")] + $0.bytes } + [0]
    let descriptor = unsafe bytes.withUnsafeBufferPointer { bytes -> Int32 in
      // SAFETY: NUL-terminated, used during the call only.
      guard let start = bytes.baseAddress else { return -1 }
      return unsafe UnsafeRawPointer(start).withMemoryRebound(to: CChar.self, capacity: bytes.count)
      {
        unsafe open($0, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
      }
    }
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0, UInt64(status.st_dev) == device else {
      return false
    }
    body(descriptor)
    return true
  }
}
