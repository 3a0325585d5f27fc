/// When chunks are pulled that nobody has faulted on yet.
public enum PullMode: String, CaseIterable, Sendable {
  /// Background pull starts after a few misses in a region that fits the cache.
  case auto
  /// Only what is asked for, with read-ahead.
  case lazy
  /// Demand first, the rest in the background.
  case background
  /// Like background, starting at open.
  case full
}

/// How much of the cache's disk chunks may take.
public enum CacheSize: Hashable, Sendable {
  /// As much as there is.
  case unlimited
  /// So many bytes.
  case bytes(UInt64)
  /// So many hundredths of the disk.
  case percent(UInt64)

  /// Parses `unlimited`, a size or a percentage; nil if it is none that is allowed.
  init?(_ text: String) {
    if text == "unlimited" {
      self = .unlimited
    } else if text.hasSuffix("%") {
      guard let part = UInt64(text.dropLast()), (1...100).contains(part) else { return nil }
      self = .percent(part)
    } else {
      guard let bytes = Quantities.bytes(text), (64 << 20...64 << 40).contains(bytes) else {
        return nil
      }
      self = .bytes(bytes)
    }
  }

  /// The limit on a disk of so many bytes; nil: none.
  public func limit(ofDisk total: UInt64) -> UInt64? {
    switch self {
    case .unlimited: nil
    case .bytes(let bytes): bytes
    case .percent(let part): max(64 << 20, total / 100 * part)
    }
  }
}

/// What msync and fsync wait for.
public enum SyncMode: String, CaseIterable, Sendable {
  /// The log on the local disk.
  case local
  /// The commit in the store.
  case remote
}

/// How much the daemon says.
public enum LogLevel: String, CaseIterable, Sendable {
  /// Every request.
  case trace
  /// Decisions and state changes.
  case debug
  /// Start, stop, what an operator wants to know.
  case info
  /// Unusual but handled.
  case notice
  /// Something needs attention soon.
  case warning
  /// Something failed.
  case error
  /// The daemon cannot go on.
  case critical
}

/// How the daemon's lines are written.
public enum LogFormat: String, CaseIterable, Sendable {
  /// As its reader likes it: with priorities for the journal, else with time and level.
  case auto
  /// With time and level.
  case plain
  /// One JSON object a line.
  case json
}

/// Everything `-o` can say, checked and with defaults filled in.
public struct MountOptions: Equatable, Sendable {
  /// Directory of logs and cached chunks; absolute.
  public var cacheDirectory: String
  /// S3 endpoint URL; nil: the provider's own.
  public var endpoint: String?
  /// S3 region; nil: from the environment or profile.
  public var region: String?
  /// Profile in the shared AWS configuration files; nil: from the environment or `default`.
  public var profile: String?
  /// Bucket in the path rather than in the host name.
  public var pathStyle = false
  /// PEM file of certificate authorities; absolute; nil: the system's.
  public var certificateAuthorities: String?
  /// Longest time a change stays unpushed: 100 ms ... 1 h.
  public var pushInterval = Duration.seconds(5)
  /// When chunks are pulled ahead of demand.
  public var pull = PullMode.auto
  /// Bring what was pulled in the background into the kernel's cache.
  public var prefill = true
  /// What msync and fsync wait for.
  public var sync = SyncMode.local
  /// Unit of pull of groups made by this mount: a power of two, 64 KiB ... 8 MiB.
  public var chunkBytes: UInt64 = 256 << 10
  /// Most bytes of uncommitted changes kept locally: 64 MiB ... 64 TiB.
  public var logLimitBytes: UInt64 = 1 << 30
  /// Most bytes a second from the store: 64 KiB ... 64 TiB; nil: no limit.
  public var downloadLimitBytes: UInt64?
  /// Most bytes a second to the store: 64 KiB ... 64 TiB; nil: no limit.
  public var uploadLimitBytes: UInt64?
  /// Most bytes of cached chunks: 64 MiB ... 64 TiB, or 1 ... 100 % of the disk.
  public var cacheSize = CacheSize.unlimited
  /// Longest wait of a fault for the store before it fails: 1 s ... 1 h.
  public var faultTimeout = Duration.seconds(30)
  /// How often groups with open files are looked at for others' commits: 100 ms ... 1 h; 0: at open.
  public var followInterval = Duration.seconds(1)
  /// Nothing may be changed through this mount.
  public var readOnly = false
  /// The kernel collects write(2)s and owns sizes and times (FUSE `writeback_cache`).
  public var writebackCache = false
  /// Other users than the mounting one may use the mount (FUSE `allow_other`).
  public var allowOther = false
  /// Owner shown for every file; nil: as stored.
  public var uid: UInt32?
  /// Group shown for every file; nil: as stored.
  public var gid: UInt32?
  /// Permission bits taken away from every file, 0 ... 0o777; nil: as stored.
  public var umask: UInt32?
  /// Mount writable although the store does not honour conditional writes.
  public var unsafeNoCAS = false
  /// Take over groups that another daemon claims to write (it is gone for good).
  public var takeover = false
  /// File the daemon's log goes to; absolute; nil: stderr with `-f`, syslog otherwise.
  public var logFile: String?
  /// Least important log lines that are written; nil: `REGIONFS_LOG` or info.
  public var logLevel: LogLevel?
  /// How log lines are written.
  public var logFormat = LogFormat.auto
  /// Where metrics are served: `ADDRESS:PORT`; nil: nowhere.
  public var metricsAddress: String?
  /// Words for the kernel's mount flags, in order: `nosuid`, `noatime` ….
  public var kernelFlags: [String] = []

  /// The defaults, with this cache directory.
  public init(cacheDirectory: String) {
    self.cacheDirectory = cacheDirectory
  }
}

/// What the option parser needs to know of its process.
public struct OptionContext: Sendable {
  /// The environment's variables.
  public var environment: [String: String]
  /// The user that mounts.
  public var uid: UInt32
  /// Directory that relative paths are meant from; absolute.
  public var currentDirectory: String

  /// A context.
  public init(environment: [String: String], uid: UInt32, currentDirectory: String) {
    self.environment = environment
    self.uid = uid
    self.currentDirectory = currentDirectory
  }

  /// `$XDG_CACHE_HOME/regionfs`, `~/.cache/regionfs`, or `/var/cache/regionfs` for root.
  public var defaultCacheDirectory: String {
    if uid == 0 { return "/var/cache/regionfs" }
    if let cache = environment["XDG_CACHE_HOME"], cache.hasPrefix("/") {
      return cache + "/regionfs"
    }
    if let home = environment["HOME"], home.hasPrefix("/") { return home + "/.cache/regionfs" }
    return "/tmp/regionfs-cache-\(uid)"
  }

  /// `path` as an absolute path without `.`, `..` and repeated slashes (purely textual).
  public func absolute(_ path: String) -> String {
    let whole = path.hasPrefix("/") ? path : currentDirectory + "/" + path
    var parts: [Substring] = []
    for part in whole.split(separator: "/") where part != "." {
      if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
  }
}

/// One mount, fully described: what the daemon is started with.
public struct MountConfiguration: Equatable, Sendable {
  /// The store.
  public var store: StoreAddress
  /// The name by which the configuration knows it; nil where it was given by its address.
  public var storeName: String?
  /// What mount(8) and fstab(5) call the source: as it was given.
  public var source: String { storeName ?? store.description }
  /// Absolute path of the mountpoint.
  public var mountpoint: String
  /// The options.
  public var options: MountOptions
  /// Stay in the foreground and log to stderr.
  public var foreground: Bool
  /// Keep `/run/mount/utab` as it is (mount -n).
  public var leavesMountTableAlone: Bool

  /// Parses and checks what a command line says.
  ///
  /// - Throws: `OptionError`, a line for the user.
  public init(
    store: String, mountpoint: String, options: [String], foreground: Bool = false,
    leavesMountTableAlone: Bool = false, context: OptionContext
  ) throws(OptionError) {
    self.store = try StoreAddress(parsing: store)
    guard !mountpoint.isEmpty else { throw .badMountpoint(reason: "the path is empty") }
    self.mountpoint = context.absolute(mountpoint)
    self.options = try MountOptions(parsing: options, context: context)
    self.foreground = foreground
    self.leavesMountTableAlone = leavesMountTableAlone
  }
}
