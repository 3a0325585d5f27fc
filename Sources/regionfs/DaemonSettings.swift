import FuseKit
import Glibc
import Logging
import RegionCore
import RegionOptions

/// What the options mean to each part.
extension Daemon {
  static func settings(_ configuration: MountConfiguration) -> EngineSettings {
    let options = configuration.options
    var settings = EngineSettings()
    settings.pull = EngineSettings.PullMode(rawValue: options.pull.rawValue) ?? .auto
    settings.sync = EngineSettings.SyncMode(rawValue: options.sync.rawValue) ?? .local
    settings.pushInterval = options.pushInterval
    settings.logLimit = options.logLimitBytes
    settings.faultTimeout = options.faultTimeout
    settings.followInterval = options.followInterval
    settings.downloadLimit = options.downloadLimitBytes
    settings.isReadOnly = options.readOnly
    settings.takeover = options.takeover
    settings.keepsClaims = options.writebackCache && !options.readOnly
    settings.geometry = Geometry(chunkSize: options.chunkBytes) ?? .standard
    settings.cacheLimit = cacheLimit(options.cacheSize, cachePath(configuration))
    settings.holder = String("\(hostName):\(configuration.mountpoint)".prefix(200))
    return settings
  }

  /// The most that the mount leaves free of its cache's disk, where it can, in bytes.
  private static let largestReserve: UInt64 = 4 << 30

  /// The cache's limit: what was asked for, and never the last twentieth of the disk.
  static func cacheLimit(_ size: CacheSize, _ path: String) -> CacheLimit {
    var status = statvfs()
    guard unsafe statvfs(path, &status) == 0 else { return CacheLimit() }
    let total = UInt64(status.f_blocks) * UInt64(status.f_frsize)
    return CacheLimit(
      bytes: size.limit(ofDisk: total), reserve: min(total / 20, largestReserve))
  }

  static var hostName: String {
    var buffer = [CChar](repeating: 0, count: 256)
    // SAFETY: one byte less than the buffer, so that it stays NUL-terminated.
    guard unsafe gethostname(&buffer, buffer.count - 1) == 0 else { return "unknown host" }
    return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }

  var sessionOptions: SessionOptions {
    var options = SessionOptions()
    options.allowOther = configuration.options.allowOther
    options.readOnly = configuration.options.readOnly
    options.writebackCache = engine.settings.keepsClaims
    options.mountOptions = configuration.options.kernelFlags
    let engine = engine
    options.log = { engine.log(.warning, $0) }
    return options
  }

  /// The default cache directory holds one directory for each store, so that two mounts of different
  /// stores need no option.
  static func cachePath(_ configuration: MountConfiguration) -> String {
    let path = configuration.options.cacheDirectory
    guard path == OptionContext.current.defaultCacheDirectory else { return path }
    let name = configuration.store.description.utf8.map { byte -> String in
      let character = Character(UnicodeScalar(byte))
      return character.isASCII && (character.isLetter || character.isNumber || character == "-")
        ? String(character) : "_"
    }
    return path + "/" + name.joined()
  }

  static func note(
    _ cache: CacheDirectory, _ configuration: MountConfiguration, isDraining: Bool
  ) throws(CacheDirectory.Failure) {
    do throws(LocalError) {
      try cache.note(
        isDraining: isDraining,
        "pid \(getpid()), \(configuration.store) at \(configuration.mountpoint)")
    } catch {
      throw .local(error)
    }
  }

  /// Takes a dead mount of ours away, and refuses to mount over anything else.
  static func cleanUp(_ mountpoint: String, _ logger: Logger) throws(StackError) {
    do throws(FuseError) {
      switch try MountTable.cleanUpDeadMount(at: mountpoint) {
      case .notMounted: return
      case .alive:
        throw FuseError(
          operation: "mount", errno: EBUSY, detail: "a regionfs is mounted there already")
      case .foreign: return
      case .cleaned(let count, _):
        logger.notice("took away \(count) dead mount(s) at \(mountpoint)")
      }
    } catch {
      throw StackError("cannot mount at \(mountpoint): \(error)")
    }
  }
}

extension Logger.Level {
  init(_ level: EventLevel) {
    switch level {
    case .debug: self = .debug
    case .info: self = .info
    case .warning: self = .warning
    case .error: self = .error
    }
  }
}
