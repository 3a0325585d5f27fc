import CLinux
import FuseKit
import Glibc
import RegionCore

/// The daemon's own mount, as its threads see it from outside. Only for threads with a table of
/// descriptors of their own (`startThread`), which hold no lock.
struct OwnMount: Sendable {
  private let mountpoint: String
  private let device: UInt64

  init(mountpoint: String, device: MountTable.Device) {
    self.mountpoint = mountpoint
    // The kernel's encoding of small device numbers (makedev(3)).
    self.device =
      UInt64(device.major) << 8 | UInt64(device.minor & 0xff)
      | UInt64(device.minor & ~0xff) << 12
  }

  /// Opens the file for a moment, for an open one would make umount(8) say EBUSY. Not if it was renamed
  /// or removed meanwhile, or the mount is gone. Returns whether it was opened, and so `body` called.
  @discardableResult
  func withFile(_ path: [FileName], _ body: (Int32) -> Void) -> Bool {
    guard let descriptor = openFile(path) else { return false }
    defer { close(descriptor) }
    body(descriptor)
    return true
  }

  /// Opens the file for the caller, who must close it; nil if it is not there any more, or the mount is
  /// gone. `tree`: a private copy of the mount to find it in, see `clone`. openat(2)
  func openFile(_ path: [FileName], in tree: Int32? = nil) -> Int32? {
    let descriptor = unsafe withPath(path, isRelative: tree != nil) { path in
      unsafe openat(tree ?? AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
    }
    guard let descriptor, descriptor >= 0 else { return nil }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0, UInt64(status.st_dev) == device else {
      close(descriptor)
      return nil
    }
    return descriptor
  }

  /// The descriptor of a private copy of the mount, which is gone when it is closed; negative, with errno,
  /// without the permission for it. open_tree(2)
  func clone() -> Int32 { unsafe mountpoint.withCString { unsafe linux_clone_mount($0) } }

  /// The path of a file for system calls, of the mount or relative to it.
  func withPath<Value>(
    _ path: [FileName], isRelative: Bool = false, _ body: (UnsafePointer<CChar>) -> Value
  ) -> Value? {
    let base = isRelative ? [] : Array(mountpoint.utf8) + [UInt8(ascii: "/")]
    let bytes = base + path.map(\.bytes).joined(separator: [UInt8(ascii: "/")]) + [0]
    return unsafe bytes.withUnsafeBufferPointer { bytes in
      // SAFETY: NUL-terminated, used during the call only; bytes are bound to chars of the same size.
      guard let start = bytes.baseAddress else { return nil }
      return unsafe UnsafeRawPointer(start).withMemoryRebound(
        to: CChar.self, capacity: bytes.count, body)
    }
  }
}

extension OwnMount {
  /// Starts a thread that may touch the own mount: it has a table of descriptors of its own.
  ///
  /// Were it to share the process's, a killed daemon would never end: the thread waits, unkillably,
  /// for an answer that nobody gives any more, and as long as it lives the table lives, and with it
  /// the open `/dev/fuse`, whose closing would fail the request. The same goes for the flush of its
  /// own descriptors at exit. So nothing in `body` may use descriptors of the other threads; logging is
  /// left to them.
  static func startThread(of filesystem: RegionFilesystem, _ body: @escaping @Sendable () -> Void) {
    RegionCore.startThread {
      if let problem = leaveDescriptors() { filesystem.logElsewhere(.warning, problem) }
      body()
    }
  }

  private static func leaveDescriptors() -> String? {
    if linux_leave_descriptors(0) == 0 {
      // Not the standard ones either: stderr may be a pipe whose end the starter waits for.
      // SAFETY: the path is a literal. What this thread opens must not pass for stdout or stderr.
      for _ in 0..<3 { _ = unsafe open("/dev/null", O_RDWR) }
      return nil
    }
    let reason = errnoText(errno)
    return "close_range: \(reason); killing this daemon may leave processes hanging"
  }
}

extension RegionFilesystem {
  /// Logs on one of the engine's threads, for threads that must not use the process's descriptors.
  func logElsewhere(_ level: EventLevel, _ text: String) {
    engine.executor.spawn { [self] in engine.log(level, text) }
  }
}
