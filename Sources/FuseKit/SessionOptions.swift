/// How a session is mounted and served.
public struct SessionOptions: Sendable {
  /// Users other than the one who mounted may enter (mount option `allow_other`).
  public var allowOther = false
  /// The kernel checks modes and owners (mount option `default_permissions`); otherwise it asks
  /// `FuseFilesystem.access` and the filesystem checks by itself.
  public var defaultPermissions = true
  /// Mount option `ro`.
  public var readOnly = false
  /// Further mount options as mount(8) takes them, such as `noatime`, `nosuid`, `nodev`, `noexec`.
  public var mountOptions: [String] = []
  /// The largest WRITE in bytes, at most 1 MiB with libfuse 3.14.
  public var maxWrite: UInt32 = 1 << 20
  /// The largest READ in bytes: a fault is freed by its own READ while the rest of a read-around is
  /// still parked.
  public var maxRead: UInt32 = 128 << 10
  /// How many background requests (readahead READs, write-back WRITEs) the kernel sends before it
  /// holds further ones back; at most 65,535. Far above what is ever parked: at the limit msync
  /// hangs behind parked READs.
  public var maxBackground: UInt32 = 65_535
  /// From how many background requests on the kernel counts the mount as congested.
  public var congestionThreshold: UInt32 = 65_535
  /// Threads that answer requests, 2 to 4.
  public var threads = 3
  /// The kernel splits an O_DIRECT read or write into requests that run at once, and io_submit(2) of
  /// one does not block. But a process that waits for them cannot be killed: the kernel waits for
  /// all, in D state, and sends no interrupt.
  public var asyncDirectIO = false
  /// The kernel collects write(2)s and owns sizes and times (FUSE_WRITEBACK_CACHE). Only for mounts
  /// that alone write.
  public var writebackCache = false
  /// Takes one-line messages about what went wrong in the session and is nobody's answer. Called on
  /// any thread; must not block.
  public var log: @Sendable (String) -> Void = { _ in }

  /// The defaults.
  public init() {}
}
