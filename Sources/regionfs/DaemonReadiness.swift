import Glibc
import RegionControl
import RegionOptions

/// The daemon's one answer to whoever started it: the mount answers, or why it does not.
///
/// Dropped unanswered, the starter reads the end of the pipe and says that the daemon ended.
struct DaemonReadiness: ~Copyable, Sendable {
  private let pipe: PipeEnd?
  private let mountpoint: String
  private let cacheDirectory: String
  private let source: String
  private let makesTableEntry: Bool
  private var addition: UserMountTable.Addition?

  private init(_ configuration: MountConfiguration, pipe: consuming PipeEnd?) {
    self.pipe = pipe
    mountpoint = configuration.mountpoint
    source = configuration.source
    cacheDirectory = configuration.options.cacheDirectory
    makesTableEntry = geteuid() == 0 && !configuration.leavesMountTableAlone
  }

  /// Nobody waits: failures go to stderr.
  static func foreground(_ configuration: MountConfiguration) -> Self {
    Self(configuration, pipe: nil)
  }

  /// A process waits at the other end of `descriptor`, which is closed with the answer.
  static func background(_ configuration: MountConfiguration, descriptor: Int32) -> Self {
    Self(configuration, pipe: PipeEnd(descriptor))
  }

  /// The mount will be made if nothing fails: begins its entry in `/run/mount/utab` (as root, so that a
  /// plain umount(8) drains).
  mutating func prepare() {
    if makesTableEntry {
      addition = UserMountTable.begin(source: source, mountpoint: mountpoint)
    }
  }

  /// It is not as far yet; `message` says how far it is. As long as it gets on a service manager waits
  /// for some more time.
  func notYet(_ message: String, getsOn: Bool) {
    if getsOn { ServiceManager().still(message, extension: .seconds(30)) }
    pipe?.write("progress \(message)\n")
  }

  /// The mount answers requests: sees to its entry in `/run/mount/utab`, lets go of the terminal, and releases the starter.
  ///
  /// Call it on a thread that no FUSE reply depends on: mount(8) looks at the mountpoint.
  consuming func ready() {
    if makesTableEntry { UserMountTable.end(addition, mountpoint: mountpoint) }
    ServiceManager().ready("mounted at \(mountpoint)")
    guard let pipe else { return }
    LogSetup.leaveTerminal(cacheDirectory: cacheDirectory)
    pipe.write("ready\n")
  }

  /// The mount failed; `message` is one line for the user. End the process with a non-zero code.
  consuming func failed(_ message: String) {
    if let addition { UserMountTable.end(addition, mountpoint: mountpoint) }
    let line = message.split(whereSeparator: \.isNewline).joined(separator: " ")
    if let pipe {
      pipe.write("failed \(line)\n")
    } else {
      ProgressDisplay.write("regionfs: \(line)\n")
    }
  }
}

/// The writing end of the starter's pipe, closed exactly once.
struct PipeEnd: ~Copyable, Sendable {
  private let number: Int32

  init(_ number: Int32) { self.number = number }

  deinit { close(number) }

  /// Writes a line (`write`); a starter that has gone does not want it.
  func write(_ line: String) {
    // SAFETY: the pointer is used during the call only. A line is shorter than PIPE_BUF or its tail
    // is lost, which only shortens a message.
    let bytes = Array(line.utf8)
    _ = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(number, $0.baseAddress, $0.count) }
  }
}
