/// One option of regionfs: its name, its help, and what it does.
public struct OptionSpecification: Sendable {
  /// Name before the `=`.
  public var name: String
  /// What follows the `=`, for help and errors; nil: a word without a value.
  public var value: String?
  /// Its default as shown in help; nil: none.
  public var defaultText: String?
  /// One line of help.
  public var help: String
  /// Sentences that only the manual has room for; nil: the help says all.
  public var details: String?
  /// Stores a value; the text is empty for a word. False: the value is not allowed.
  let apply: @Sendable (inout MountOptions, String, OptionContext) -> Bool

  init(
    _ name: String, value: String? = nil, default defaultText: String? = nil, _ help: String,
    details: String? = nil,
    apply: @escaping @Sendable (inout MountOptions, String, OptionContext) -> Bool
  ) {
    self.name = name
    self.value = value
    self.defaultText = defaultText
    self.help = help
    self.details = details
    self.apply = apply
  }
}

/// The options of `regionfs mount -o`, the one table that parser, help and manual pages agree on.
public enum OptionTable {
  /// Every option of our own, in the order of the manual.
  public static let all: [OptionSpecification] =
    storeOptions + engineOptions + observationOptions + accessOptions

  static let storeOptions: [OptionSpecification] = [
    .init("endpoint", value: "URL", "S3 endpoint, http:// or https://") { options, text, _ in
      guard isEndpoint(text) else { return false }
      options.endpoint = text
      return true
    },
    .init("region", value: "NAME", "S3 region used for signing") { options, text, _ in
      options.region = text
      return true
    },
    .init("profile", value: "NAME", "profile in the shared AWS configuration") { options, text, _ in
      options.profile = text
      return true
    },
    .init("path_style", "put the bucket into the path, not the host name") { options, _, _ in
      options.pathStyle = true
      return true
    },
    .init("ca", value: "FILE", "PEM file of certificate authorities to trust") {
      options, text, context in
      options.certificateAuthorities = context.absolute(text)
      return true
    },
    .init(
      "takeover", "write groups that a daemon which is gone for good still claims",
      details: "What that daemon had not committed stays in its cache directory."
    ) {
      options, _, _ in
      options.takeover = true
      return true
    },
    .init(
      "unsafe_no_cas", "mount a store writable that ignores conditional writes",
      details: "Two writers can then overwrite each other's commits."
    ) {
      options, _, _ in
      options.unsafeNoCAS = true
      return true
    },
  ]

  static let engineOptions: [OptionSpecification] = [
    .init(
      "cache_dir", value: "DIR", default: "~/.cache/regionfs, /var/cache/regionfs for root",
      "where logs and cached chunks are kept",
      details: "$XDG_CACHE_HOME/regionfs where that is set."
    ) { options, text, context in
      options.cacheDirectory = context.absolute(text)
      return true
    },
    .init(
      "cache_size", value: "64m...64t|1%...100%|unlimited", default: "unlimited",
      "most bytes of cached chunks, or their part of the disk",
      details: """
        What was not used for longest makes room; what is uncommitted or pinned (regionfs \
        pin) stays and may exceed the limit. Whatever the limit, the cache gives way as long \
        as less than a twentieth of its disk (at most 4 GiB) is free.
        """
    ) { options, text, _ in
      guard let size = CacheSize(text) else { return false }
      options.cacheSize = size
      return true
    },
    .init(
      "chunk_size", value: "64k...8m, a power of two", default: "256k",
      "unit of pull of groups made by this mount"
    ) { options, text, _ in
      guard let bytes = Quantities.bytes(text), (64 << 10...8 << 20).contains(bytes),
        bytes & (bytes - 1) == 0
      else { return false }
      options.chunkBytes = bytes
      return true
    },
    .init(
      "log_limit", value: "64m...64t", default: "1g", "most bytes of uncommitted changes kept"
    ) { options, text, _ in
      guard let bytes = Quantities.bytes(text), (64 << 20...64 << 40).contains(bytes) else {
        return false
      }
      options.logLimitBytes = bytes
      return true
    },
    .init(
      "download_limit", value: "64k...64t a second", default: "no limit",
      "most bytes a second from the store, on average; pulls that nobody waits for yield first"
    ) { options, text, _ in
      guard let bytes = transferLimit(text) else { return false }
      options.downloadLimitBytes = bytes
      return true
    },
    .init(
      "upload_limit", value: "64k...64t a second", default: "no limit",
      "most bytes a second to the store, on average"
    ) { options, text, _ in
      guard let bytes = transferLimit(text) else { return false }
      options.uploadLimitBytes = bytes
      return true
    },
    .init("push_interval", value: "100ms...1h", default: "5s", "longest time a change stays local")
    {
      options, text, _ in
      guard let time = Quantities.duration(text), (.milliseconds(100) ... .seconds(3600)) ~= time
      else { return false }
      options.pushInterval = time
      return true
    },
    .init(
      "fault_timeout", value: "1s...1h", default: "30s",
      "longest wait of a fault for the store before it fails"
    ) { options, text, _ in
      guard let time = Quantities.duration(text), (.seconds(1) ... .seconds(3600)) ~= time
      else { return false }
      options.faultTimeout = time
      return true
    },
    .init(
      "follow_interval", value: "0, 100ms...1h", default: "1s",
      "how often open files are looked at for other mounts' commits; 0: only when opened"
    ) { options, text, _ in
      guard let time = Quantities.duration(text),
        time == .zero || (.milliseconds(100) ... .seconds(3600)) ~= time
      else { return false }
      options.followInterval = time
      return true
    },
    .init(
      "pull", value: "auto|lazy|background|full", default: "auto",
      "when chunks are pulled that nobody asked for yet",
      details: """
        auto: when misses, size and the speed of the store say that it is worth it. lazy: never. \
        background: from when a file is opened. full: the mount returns when all of the store is \
        here, and files that come later are waited for when they are opened.
        """
    ) { options, text, _ in
      guard let mode = PullMode(rawValue: text) else { return false }
      options.pull = mode
      return true
    },
    .init(
      "prefill", value: "on|off", default: "on",
      "bring what was pulled in the background into the kernel's page cache",
      details: """
        A later fault then finds it there. Of a file no more than a quarter of the memory is \
        brought in. It stops while less than an eighth of the memory is available or \
        processes wait for memory, and needs the right to copy the mount (root).
        """
    ) { options, text, _ in
      guard ["on", "off"].contains(text) else { return false }
      options.prefill = text == "on"
      return true
    },
    .init(
      "sync", value: "local|remote", default: "local",
      "what msync and fsync wait for: the local log or the commit"
    ) { options, text, _ in
      guard let mode = SyncMode(rawValue: text) else { return false }
      options.sync = mode
      return true
    },
    .init(
      "writeback_cache", "the kernel collects write(2)s, as it does stores into mappings",
      details: """
        Small writes are many times faster: they reach the write log at fsync, at close, or \
        within half a push_interval. The kernel then owns sizes and times, so every file that is \
        looked up has its group claimed, also for reading, until the unmount. For mounts that \
        alone use what they mount. Without effect with ro.
        """
    ) { options, _, _ in
      options.writebackCache = true
      return true
    },
    .init(
      "log", value: "FILE", default: "syslog, stderr with -f", "file of the daemon's log",
      details: """
        Without a syslog it is regionfs.log in the cache directory. SIGHUP opens the file \
        anew.
        """
    ) {
      options, text, context in
      options.logFile = context.absolute(text)
      return true
    },
    .init(
      "log_level", value: "trace|debug|info|notice|warning|error|critical", default: "info",
      "least important lines that are logged",
      details: "regionfs log-level changes it while the mount lives."
    ) { options, text, _ in
      guard let level = LogLevel(rawValue: text) else { return false }
      options.logLevel = level
      return true
    },
    .init(
      "log_format", value: "auto|plain|json", default: "auto",
      "how log lines are written; auto: with priorities where the journal reads them, else plain",
      details: """
        plain has time and level, json is one object a line with time, level, label and \
        message; priorities are those of sd-daemon(3). Of warnings and errors that differ \
        only in numbers ten a minute are written; the next one says how many were left out.
        """
    ) { options, text, _ in
      guard let format = LogFormat(rawValue: text) else { return false }
      options.logFormat = format
      return true
    },
  ]

  static let observationOptions: [OptionSpecification] = [
    .init(
      "metrics", value: "ADDRESS:PORT", "serve metrics for Prometheus at /metrics there",
      details: """
        Over plain HTTP and to whoever asks. The address is one in numbers, such as \
        127.0.0.1:9464.
        """
    ) {
      options, text, _ in
      guard isListenAddress(text) else { return false }
      options.metricsAddress = text
      return true
    }
  ]

  static let accessOptions: [OptionSpecification] = [
    .init("ro", "read only") { options, _, _ in
      options.readOnly = true
      return true
    },
    .init("rw", "read and write (the default)") { options, _, _ in
      options.readOnly = false
      return true
    },
    .init("allow_other", "let other users use the mount") { options, _, _ in
      options.allowOther = true
      return true
    },
    .init("uid", value: "0...4294967294", "owner shown for every file") { options, text, _ in
      guard let id = identifier(text) else { return false }
      options.uid = id
      return true
    },
    .init("gid", value: "0...4294967294", "group shown for every file") { options, text, _ in
      guard let id = identifier(text) else { return false }
      options.gid = id
      return true
    },
    .init("umask", value: "000...777, octal", "permission bits taken away from every file") {
      options, text, _ in
      guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "7")) ~= $0 }),
        let mask = UInt32(text, radix: 8), mask <= 0o777
      else { return false }
      options.umask = mask
      return true
    },
  ]

  /// Words of mount(8) that become kernel mount flags; a later word replaces its opposite.
  static let kernelFlagPairs: [(String, String)] = [
    ("nosuid", "suid"), ("nodev", "dev"), ("noexec", "exec"), ("noatime", "atime"),
    ("nodiratime", "diratime"), ("relatime", "norelatime"), ("strictatime", "nostrictatime"),
  ]

  /// Words of mount(8) and fstab(5) that say nothing to us.
  static let ignoredWords: Set<String> = [
    "defaults", "auto", "noauto", "user", "nouser", "users", "nousers", "owner", "noowner", "group",
    "nogroup", "_netdev", "nofail", "async", "lazytime", "nolazytime", "silent", "loud", "comment",
    "uhelper", "helper", "default_permissions", "iversion", "noiversion", "mand", "nomand",
  ]

  /// Words of mount(8) that would be wrong to ignore.
  static let unsupportedWords: [String: String] = [
    "allow_root": "use allow_other; the modes of the files keep others out",
    "remount": "unmount and mount again",
    "bind": "mount the store once and bind its mountpoint",
    "dirsync": "use sync=remote to wait for the commit",
  ]

  /// Names under which people would hand over keys.
  static let secretWords: Set<String> = [
    "access_key", "access_key_id", "accesskey", "aws_access_key_id", "aws_secret_access_key",
    "aws_session_token", "secret_key", "secret_access_key", "secretkey", "secret", "session_token",
    "token", "password", "passwd", "pass", "key", "credentials",
  ]

  /// Every name that the nearest one is sought among.
  static let knownNames: [String] =
    all.map(\.name) + kernelFlagPairs.flatMap { [$0.0, $0.1] } + ignoredWords.sorted()

  private static func transferLimit(_ text: String) -> UInt64? {
    Quantities.bytes(text).flatMap { (64 << 10...64 << 40).contains($0) ? $0 : nil }
  }

  private static func identifier(_ text: String) -> UInt32? {
    // (uid_t)-1 means "leave as is" in chown(2) and is no user.
    guard text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")) ~= $0 }),
      let id = UInt32(text), id != .max
    else { return nil }
    return id
  }

  /// `127.0.0.1:9464`, `[::1]:9464`: an address in numbers, for a name may move.
  private static func isListenAddress(_ text: String) -> Bool {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...])
    else { return false }
    var host = text[..<colon]
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = host.dropFirst().dropLast()
      return port > 0 && host.contains(":")
        && host.allSatisfy { $0.isHexDigit || ":.".contains($0) }
    }
    let parts = host.split(separator: ".", omittingEmptySubsequences: false)
    return port > 0 && parts.count == 4 && parts.allSatisfy { UInt8($0) != nil }
  }

  private static func isEndpoint(_ text: String) -> Bool {
    for scheme in ["http://", "https://"] where text.hasPrefix(scheme) {
      let rest = text.dropFirst(scheme.count)
      return !rest.isEmpty && !rest.hasPrefix("/")
        && !rest.contains { $0 == "@" || $0 == "?" || $0 == "#" || $0.isWhitespace }
    }
    return false
  }
}
