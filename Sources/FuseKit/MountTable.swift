import Glibc

/// The mounts that a process sees, as proc_pid_mountinfo(5) lists them.
public struct MountTable: Sendable, Hashable {
  /// A device number as the kernel prints it.
  public struct Device: Sendable, Hashable, CustomStringConvertible {
    /// Of anonymous devices, as FUSE mounts are, 0.
    public var major: UInt32
    /// Of a FUSE mount, its connection's number under `/sys/fs/fuse/connections`.
    public var minor: UInt32
    /// Makes a number.
    public init(major: UInt32, minor: UInt32) {
      self.major = major
      self.minor = minor
    }
    /// As in mountinfo: `major:minor`.
    public var description: String { "\(major):\(minor)" }
  }

  /// One mount.
  public struct Entry: Sendable, Hashable {
    /// Unique among the mounts that exist.
    public var id: Int
    /// `st_dev` of what is mounted.
    public var device: Device
    /// The absolute path.
    public var mountpoint: String
    /// Such as `fuse.regionfs`.
    public var type: String
    /// Such as `/dev/sda1`, or what a FUSE filesystem named itself.
    public var source: String
  }

  /// In the order of mounting: of several at one path, the last is the one that is seen.
  public var entries: [Entry]

  /// Makes a table.
  public init(entries: [Entry]) { self.entries = entries }

  /// Reads the text of `/proc/self/mountinfo`. Lines that do not have the format are left out.
  public init(parsing text: [UInt8]) {
    entries = text.split(separator: UInt8(ascii: "\n")).compactMap(Entry.init(parsing:))
  }

  /// The mounts of now.
  public static func current() throws(FuseError) -> MountTable {
    MountTable(parsing: try readFile("/proc/self/mountinfo"))
  }

  /// What is seen at a canonical path that is a mountpoint.
  public func entry(at path: String) -> Entry? {
    entries.last { $0.mountpoint == path }
  }
}

extension MountTable.Entry {
  /// `36 35 98:0 /root /mountpoint options tag:value… - type source super-options`
  init?(parsing line: ArraySlice<UInt8>) {
    let fields = line.split(separator: UInt8(ascii: " "))
    guard fields.count >= 10,
      let dash = fields[6...].firstIndex(where: { $0.elementsEqual([UInt8(ascii: "-")]) }),
      dash + 2 < fields.count,
      let id = Int(text(fields[0]))
    else { return nil }
    let numbers = fields[2].split(separator: UInt8(ascii: ":")).map { UInt32(text($0)) }
    guard numbers.count == 2, let major = numbers[0], let minor = numbers[1] else { return nil }
    self.init(
      id: id, device: MountTable.Device(major: major, minor: minor),
      mountpoint: text(unescape(fields[4])), type: text(unescape(fields[dash + 1])),
      source: text(unescape(fields[dash + 2])))
  }
}

private func text(_ bytes: some Sequence<UInt8>) -> String {
  String(decoding: Array(bytes), as: UTF8.self)
}

/// The kernel writes space, tab, newline, `\` and (in sources) `#` as `\` and three octal digits.
private func unescape(_ field: ArraySlice<UInt8>) -> [UInt8] {
  var result: [UInt8] = []
  var rest = field
  while let byte = rest.popFirst() {
    let digits = rest.prefix(3)
    if byte == UInt8(ascii: "\\"), digits.count == 3, let value = UInt8(text(digits), radix: 8) {
      result.append(value)
      rest.removeFirst(3)
    } else {
      result.append(byte)
    }
  }
  return result
}

/// A whole file of procfs, which has no size.
func readFile(_ path: String) throws(FuseError) -> [UInt8] {
  let descriptor = try valueOrErrno("open", detail: path) {
    unsafe open(path, O_RDONLY | O_CLOEXEC)
  }
  defer { close(descriptor) }
  var content: [UInt8] = []
  var part = [UInt8](repeating: 0, count: 64 << 10)
  while true {
    let count = try valueOrErrno("read", detail: path) {
      unsafe part.withUnsafeMutableBytes { unsafe read(descriptor, $0.baseAddress, $0.count) }
    }
    if count == 0 { return content }
    content += part[..<count]
  }
}
