import Glibc
import RegionConfig
import RegionControl
import RegionCore
import RegionOptions

/// What `regionfs doctor` looks at on this host.
struct HostChecks {
  /// All that need no store, in the order of the output.
  var all: [() -> Diagnosis] {
    [kernel, fuseDevice, fusermount, mountHelper, allowOther, configurationFiles]
  }

  // MARK: Kernel and FUSE

  /// FUSE's readdirplus, parallel direct operations and the tuning files are older than this.
  private static let oldestKernel = (major: 5, minor: 10)

  private func kernel() -> Diagnosis {
    var name = utsname()
    // SAFETY: `name` is a local.
    unsafe uname(&name)
    // SAFETY: the bytes are copied during the call.
    let release = unsafe withUnsafeBytes(of: &name.release) { bytes in
      unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
    }
    let numbers = release.split { !$0.isNumber }.compactMap { Int($0) }
    guard numbers.count >= 2 else { return .warning("kernel", release, "Use Linux 5.10 or later") }
    if (numbers[0], numbers[1]) < (Self.oldestKernel.major, Self.oldestKernel.minor) {
      return .warning(
        "kernel", "Linux \(release) is older than what regionfs is tested with",
        "Use Linux 5.10 or later")
    }
    return .good("kernel", "Linux \(release)")
  }

  private func fuseDevice() -> Diagnosis {
    let path = "/dev/fuse"
    // SAFETY: open reads the path only during the call.
    let descriptor = unsafe open(path, O_RDWR | O_CLOEXEC)
    if descriptor >= 0 {
      close(descriptor)
      return .good("fuse", "\(path) can be opened")
    }
    let code = errno
    let advice =
      switch code {
      case ENOENT, ENODEV, ENXIO:
        "Load the kernel module (modprobe fuse); in a container add --device /dev/fuse"
      case EACCES, EPERM:
        "Give the user access to it (chmod 666 /dev/fuse); in a container add --device /dev/fuse "
          + "--cap-add SYS_ADMIN"
      default: "Look into the kernel's log (dmesg)"
      }
    return .failure("fuse", "\(path): \(errnoText(code))", advice)
  }

  private func fusermount() -> Diagnosis {
    let places = ["/usr/bin/fusermount3", "/bin/fusermount3", "/usr/local/bin/fusermount3"]
    let isRoot = geteuid() == 0
    guard let path = Subprocess.firstExecutable(of: places) else {
      return isRoot
        ? .warning(
          "fusermount3", "it is missing; root can do without", "Install the package fuse3")
        : .failure("fusermount3", "it is missing", "Install the package fuse3")
    }
    var status = stat()
    // SAFETY: `status` is a local.
    guard unsafe stat(path, &status) == 0 else {
      return .failure("fusermount3", "\(path): \(errnoText(errno))", "Reinstall the package fuse3")
    }
    let isSetuid = status.st_mode & S_ISUID != 0 && status.st_uid == 0
    guard isRoot || isSetuid else {
      return .failure(
        "fusermount3", "\(path) is not set-user-ID root",
        "Reinstall the package fuse3, or mount as root (chmod u+s \(path))")
    }
    return .good("fusermount3", path)
  }

  private func mountHelper() -> Diagnosis {
    let missing = ["mount", "umount"].map { "/sbin/\($0).fuse.regionfs" }
      .filter { (path: String) in unsafe access(path, X_OK) != 0 }
    guard missing.isEmpty else {
      return .warning(
        "mount helper", "\(missing.joined(separator: ", ")) missing",
        "Run scripts/install, so that fstab and umount know regionfs; regionfs mount and regionfs "
          + "umount work without")
    }
    return .good("mount helper", "mount(8) and umount(8) know fuse.regionfs")
  }

  private func allowOther() -> Diagnosis {
    let name = "allow_other"
    guard geteuid() != 0 else { return .good(name, "root may let others use its mounts") }
    let text = SmallFile.contents(of: "/etc/fuse.conf", limit: 65_536) ?? ""
    let isAllowed = text.split(separator: "\n").contains {
      $0.split(whereSeparator: \.isWhitespace).first == "user_allow_other"
    }
    return isAllowed
      ? .good(name, "users may let others use their mounts")
      : .warning(
        name, "users may not let others use their mounts",
        "For -o allow_other write user_allow_other into /etc/fuse.conf")
  }

  private func configurationFiles() -> Diagnosis {
    let name = "configuration"
    do throws(ConfigProblem) {
      let found = try Configuration.current(.current)
      if let problem = found.files.flatMap(\.problems).first {
        return .failure(name, problem.description, "Correct it; regionfs config check lists all")
      }
      let files = found.files.map(\.path).joined(separator: ", ")
      return .good(name, files.isEmpty ? "none" : "\(files): \(found.names.count) named stores")
    } catch {
      return .failure(name, error.description, "Make it readable, or move it away")
    }
  }

  // MARK: The cache directory

  /// Where a mount of this configuration would keep its cache.
  func cacheDirectory(of configuration: MountConfiguration?) -> Diagnosis {
    let name = "cache directory"
    let path = configuration.map(Daemon.cachePath) ?? OptionContext.current.defaultCacheDirectory
    // The directory itself need not be there yet.
    var existing = path
    while existing != "/", unsafe access(existing, F_OK) != 0 {
      existing = Self.parent(of: existing)
    }
    guard unsafe access(existing, W_OK | X_OK) == 0 else {
      return .failure(
        name, "\(existing): \(errnoText(errno))",
        "Make it writable for this user, or choose another with -o cache_dir=DIR")
    }
    let free: UInt64
    do throws(LocalError) {
      free = try LocalFile(path: existing, flags: O_RDONLY | O_DIRECTORY).freeSpace()
    } catch {
      return .failure(name, error.description, "Choose another with -o cache_dir=DIR")
    }
    let entry = (try? MountList.current())?.mount(holding: resolvedPath(existing))?.entry
    let type = FileSystemType(entry?.type ?? "unknown")
    let seen = "\(path) on \(type.name), \(HumanText.bytes(free)) free"
    if let trouble = type.trouble {
      return .warning(
        name, "\(seen): \(trouble)", "Put it on a local disk with -o cache_dir=DIR")
    }
    let wanted = configuration?.options.logLimitBytes ?? 1 << 30
    if free < wanted {
      return .warning(
        name, "\(seen), less than log_limit (\(HumanText.bytes(wanted)))",
        "Make room, or choose another with -o cache_dir=DIR: writers get ENOSPC where it is full")
    }
    return .good(name, seen)
  }

  private static func parent(of path: String) -> String {
    let parts = path.split(separator: "/").dropLast()
    return "/" + parts.joined(separator: "/")
  }
}

/// A file system by its name in mountinfo.
struct FileSystemType {
  var name: String
  /// Why a cache should not be there; nil: it may.
  var trouble: String?

  init(_ name: String) {
    self.name = name
    switch name {
    case "tmpfs", "ramfs":
      trouble = "what is not committed is lost when the host restarts"
    case "nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "glusterfs":
      trouble = "its locks and its fsync are those of another host"
    case "vfat", "exfat", "msdos": trouble = "it has neither sparse files nor modes"
    default:
      if name.hasPrefix("fuse") { trouble = "it is behind another daemon, which may stop" }
    }
  }
}
