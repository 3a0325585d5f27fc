import Glibc

/// Settings of the kernel's for one mount, in `/sys/class/bdi/<major>:<minor>/`. Needs root.
///
/// `strict_limit` stays 1, as FUSE sets it: 0 was no faster, and lets a daemon that stalls hold the
/// whole machine's limit of dirty memory.
public struct MountTuning: Sendable, Hashable {
  /// `max_bytes`: how much dirty memory the mount may have. The default, 1 % of the machine's,
  /// stalls stores into mappings 25 to 40 times longer when WRITEs are slow.
  public var maxDirtyBytes: UInt64
  /// `read_ahead_kb`, in KiB: how much a fault without MADV_RANDOM reads around itself.
  public var readAheadKiB: Int

  /// Makes settings; the default for dirty memory is 10 % of the machine's, at most 1 GiB.
  public init(maxDirtyBytes: UInt64 = Self.defaultMaxDirtyBytes, readAheadKiB: Int = 256) {
    self.maxDirtyBytes = maxDirtyBytes
    self.readAheadKiB = readAheadKiB
  }

  /// The lesser of 1 GiB and 10 % of memory.
  public static var defaultMaxDirtyBytes: UInt64 {
    let pages = sysconf(Int32(_SC_PHYS_PAGES))
    let memory = UInt64(max(0, pages)) * UInt64(sysconf(Int32(_SC_PAGESIZE)))
    return min(1 << 30, memory / 10)
  }

  /// One setting and what became of it.
  public struct Outcome: Sendable, Hashable, CustomStringConvertible {
    /// The file.
    public var path: String
    /// What was written.
    public var value: String
    /// Why it was refused; nil if it was taken.
    public var failure: FuseError?
    /// One line for a log.
    public var description: String {
      "\(path) = \(value): \(failure.map { "not set, \(describe(errno: $0.errno))" } ?? "set")"
    }
  }

  /// Sets what can be set; never touches the mount itself, only sysfs. For the time between
  /// ``FuseSession/init(filesystem:source:subtype:mountpoint:options:)`` and ``FuseSession/run()``:
  /// a file takes its read-ahead from the mount when it is opened.
  public func apply(to mount: MountTable.Entry) -> [Outcome] {
    let directory = "/sys/class/bdi/\(mount.device)"
    return [
      set("\(directory)/max_bytes", String(maxDirtyBytes)),
      set("\(directory)/read_ahead_kb", String(readAheadKiB)),
    ]
  }

  private func set(_ path: String, _ value: String) -> Outcome {
    do throws(FuseError) {
      try writeFile(path, value)
      return Outcome(path: path, value: value, failure: nil)
    } catch {
      return Outcome(path: path, value: value, failure: error)
    }
  }
}
