import FoundationEssentials
import Glibc

/// One line of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
public struct MountListEntry: Equatable, Sendable {
  /// `major:minor`, as in `MountStatus.device`.
  public var device: String
  /// The directory of the file system that is mounted; `/` unless bound.
  public var root: String
  /// Where it is mounted.
  public var mountpoint: String
  /// File system type with subtype, `fuse.regionfs`.
  public var type: String
  /// The source, the store's address here.
  public var source: String
  /// The file system's own options.
  public var superOptions: String

  /// The user that made a FUSE mount; nil where the options do not tell.
  public var ownerUID: UInt32? {
    superOptions.split(separator: ",").lazy.compactMap { option in
      option.hasPrefix("user_id=") ? UInt32(option.dropFirst("user_id=".count)) : nil
    }.first
  }

  /// Parses one line; nil if it is not one.
  public init?(line: Substring) {
    let fields = Self.fields(of: line)
    guard let dash = fields.firstIndex(of: "-"), dash >= 6, fields.count >= dash + 4 else {
      return nil
    }
    device = String(fields[2])
    root = Self.unescaped(fields[3])
    mountpoint = Self.unescaped(fields[4])
    type = Self.unescaped(fields[dash + 1])
    source = Self.unescaped(fields[dash + 2])
    superOptions = Self.unescaped(fields[dash + 3])
  }

  /// What stands between blanks. By bytes, as the kernel and libmount write them: a combining mark behind a
  /// blank does not hide it.
  package static func fields(of line: Substring) -> [Substring] {
    line.utf8.split(separator: UInt8(ascii: " ")).map { Substring($0) }
  }

  /// The kernel and libmount write space, tab, newline and backslash as `\ooo`.
  package static func unescaped(_ field: some StringProtocol) -> String {
    var bytes: [UInt8] = []
    var rest = Substring(field).utf8[...]
    while let byte = rest.popFirst() {
      let digits = rest.prefix(3)
      if byte == UInt8(ascii: "\\"), digits.count == 3,
        let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
      {
        bytes.append(value)
        rest = rest.dropFirst(3)
      } else {
        bytes.append(byte)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// The mounts this process sees.
public struct MountList: Sendable {
  /// In the order of mounting: of two on one mountpoint the later one is seen.
  public var entries: [MountListEntry]

  /// Parses the text of a mountinfo file.
  public init(mountinfo text: String) {
    entries = text.utf8.split(separator: UInt8(ascii: "\n")).compactMap {
      MountListEntry(line: Substring($0))
    }
  }

  /// Reads `/proc/self/mountinfo`.
  ///
  /// - Throws: `ControlError` with code `system`.
  public static func current() throws(ControlError) -> Self {
    do {
      let data = try Data(contentsOf: URL(filePath: "/proc/self/mountinfo"))
      return Self(mountinfo: String(decoding: data, as: UTF8.self))
    } catch {
      throw ControlError(.system, "cannot read /proc/self/mountinfo: \(error)")
    }
  }

  /// The mount that holds `path` and the path within its file system (without leading slash; empty
  /// for the mount itself).
  ///
  /// - Parameter path: absolute, without `.`, `..` and symbolic links.
  public func mount(holding path: String) -> (entry: MountListEntry, inside: String)? {
    var best: (entry: MountListEntry, inside: String)?
    for entry in entries {
      guard let rest = Self.remainder(of: path, under: entry.mountpoint) else { continue }
      if let found = best, found.entry.mountpoint.utf8.count > entry.mountpoint.utf8.count {
        continue
      }
      let root = Self.withoutLeadingSlashes(entry.root)
      let inside = root.isEmpty ? rest : rest.isEmpty ? root : root + "/" + rest
      best = (entry, inside)
    }
    return best
  }

  private static func remainder(of path: String, under mountpoint: String) -> String? {
    if mountpoint == "/" { return withoutLeadingSlashes(path) }
    // By bytes: to the kernel two spellings of a letter are two names.
    guard path.utf8.starts(with: mountpoint.utf8) else { return nil }
    let rest = path.utf8.dropFirst(mountpoint.utf8.count)
    guard let next = rest.first else { return "" }
    return next == UInt8(ascii: "/") ? String(Substring(rest.dropFirst())) : nil
  }

  private static func withoutLeadingSlashes(_ path: String) -> String {
    String(Substring(path.utf8.drop { $0 == UInt8(ascii: "/") }))
  }
}

/// `path` made absolute, with symbolic links resolved where that works (`realpath`); a dead mount
/// answers nothing, so the path is then only tidied.
public func resolvedPath(_ path: String) -> String {
  // SAFETY: realpath allocates a C string that is copied and freed here.
  if let resolved = unsafe realpath(path, nil) {
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
  }
  var parts: [Substring] = []
  let whole =
    path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
  for part in whole.split(separator: "/") where part != "." {
    if part == ".." { _ = parts.popLast() } else { parts.append(part) }
  }
  return "/" + parts.joined(separator: "/")
}
