import Glibc

/// A store mounted by the real `regionfs` binary, in the foreground of a process of its own.
///
/// Use it through `with`, which removes the mount and the daemon however the test ends.
public final class MountedFilesystem {
  /// The store's address.
  public let store: String
  /// Where it is mounted.
  public let mountpoint: String
  /// The cache directory.
  public let cacheDirectory: String
  private let options: [String]
  /// Variables of its daemon, and of commands that are to find it.
  public let environment: [String: String]
  private var daemon: BackgroundProcess?

  /// Prepares a mount without mounting it.
  ///
  /// - Parameters:
  ///   - store: its address.
  ///   - scratch: where mountpoint, cache and control socket go.
  ///   - name: tells the mounts of one test apart; the same name has the same cache.
  ///   - options: words for `-o`; without a `cache_dir` among them, one is made.
  ///   - environment: variables for the daemon, such as credentials.
  /// - Throws: `ProcessFailure`.
  public init(
    _ store: String, in scratch: Scratch, name: String = "main", options: [String] = [],
    environment: [String: String] = [:]
  ) throws(ProcessFailure) {
    self.store = store
    mountpoint = try scratch.directory("mount-\(name)")
    let word = "cache_dir="
    if let chosen = options.last(where: { $0.hasPrefix(word) }) {
      cacheDirectory = String(chosen.dropFirst(word.count))
      self.options = options
    } else {
      cacheDirectory = try scratch.directory("cache-\(name)")
      self.options = ["\(word)\(cacheDirectory)"] + options
    }
    var environment = environment
    environment["REGIONFS_RUNTIME_DIR"] = try scratch.directory("run")
    self.environment = environment
  }

  deinit { cleanUp() }

  /// Mounts, runs `body`, and removes mount and daemon by force if they are still there.
  public static func with<Result>(
    _ store: String, in scratch: Scratch, name: String = "main", options: [String] = [],
    environment: [String: String] = [:], _ body: (MountedFilesystem) throws -> Result
  ) throws -> Result {
    let mounted = try MountedFilesystem(
      store, in: scratch, name: name, options: options, environment: environment)
    defer { mounted.cleanUp() }
    try mounted.mount()
    return try body(mounted)
  }

  /// The command line of the mount.
  public var command: [String] {
    let words = options.joined(separator: ",")
    return [Products.path("regionfs"), "mount", store, mountpoint, "-f", "-o", words]
  }

  /// The daemon's process id while it runs.
  public var pid: pid_t? { daemon?.isRunning == true ? daemon?.pid : nil }
  /// What the daemon wrote to standard error since it was started last.
  public var log: String { daemon?.errors ?? "" }
  /// The same of all daemons of this mount.
  public var fullLog: String { formerLogs + log }
  private var formerLogs = ""

  /// Starts the daemon and waits until the mount answers.
  ///
  /// - Throws: `ProcessFailure` with what the daemon said, if it ends or does not get ready.
  public func mount(timeout: Duration = Patience.limit) throws(ProcessFailure) {
    formerLogs += log
    let process = try BackgroundProcess(command, environment: environment)
    daemon = process
    let deadline = ContinuousClock.now + timeout
    while true {
      guard process.isRunning else {
        throw ProcessFailure("regionfs mount: \(try process.waitForExit(timeout: .zero))")
      }
      if isMounted, answers { return }
      guard ContinuousClock.now < deadline else {
        throw ProcessFailure("not mounted after \(timeout): \(process.errors.suffix(2000))")
      }
      usleep(5000)
    }
  }

  /// Runs a mount that is expected to fail; returns its result.
  ///
  /// - Throws: `ProcessFailure` if it goes on running.
  public func mountExpectingFailure(
    timeout: Duration = Patience.limit
  ) throws(ProcessFailure) -> ProcessResult {
    try ChildProcess.run(command, environment: environment, timeout: timeout)
  }

  /// Unmounts and waits until the daemon has drained and ended.
  ///
  /// - Throws: `ProcessFailure` if either fails, or if the daemon's status is not 0.
  public func unmount(timeout: Duration = Patience.limit) throws(ProcessFailure) {
    try ChildProcess.check(["fusermount3", "-u", mountpoint])
    guard let daemon else { return }
    let result = try daemon.waitForExit(timeout: timeout)
    guard result.succeeded else { throw ProcessFailure("after unmount: \(result)") }
    formerLogs += log
    self.daemon = nil
  }

  /// SIGKILL of the daemon. The mount stays behind, dead.
  ///
  /// - Throws: `ProcessFailure` if it does not die.
  public func kill() throws(ProcessFailure) {
    guard let daemon else { return }
    daemon.kill()
    if daemon.isRunning {
      throw ProcessFailure("SIGKILL does not end the daemon: \(daemon.kernelStacks)")
    }
  }

  /// Sends the daemon a signal.
  public func signal(_ number: Int32) { daemon?.signal(number) }

  /// Mounts again, over a dead mount if there is one.
  ///
  /// - Throws: `ProcessFailure`.
  public func remount() throws(ProcessFailure) {
    if daemon?.isRunning == true { try unmount() }
    try mount()
  }

  /// `regionfs-stat` on the mount, with further arguments such as `--json`.
  ///
  /// - Throws: `ProcessFailure`.
  public func stat(
    _ arguments: [String] = ["--json"], timeout: Duration = Patience.limit
  ) throws(ProcessFailure) -> String {
    let command = [Products.path("regionfs-stat")] + arguments + [mountpoint]
    return try ChildProcess.check(command, environment: environment, timeout: timeout).output
  }

  /// Commits everything accepted so far: `regionfs sync`.
  ///
  /// - Throws: `ProcessFailure`.
  public func sync(timeout: Duration = Patience.limit) throws(ProcessFailure) {
    let command = [Products.path("regionfs"), "sync", mountpoint]
    try ChildProcess.check(command, environment: environment, timeout: timeout)
  }

  /// Waits until everything accepted so far is committed, which the daemon does in its own time.
  ///
  /// - Throws: `ProcessFailure` if it is not in time.
  public func waitUntilCommitted(timeout: Duration = Patience.limit) throws(ProcessFailure) {
    let seconds = timeout.components.seconds
    _ = try stat(["--wait=committed", "--timeout=\(seconds)"], timeout: timeout + .seconds(5))
  }

  /// The mountpoint is in the mount table.
  public var isMounted: Bool {
    guard let table = try? Files.read("/proc/self/mountinfo") else { return false }
    return String(decoding: table, as: Unicode.UTF8.self).contains(" \(mountpoint) ")
  }

  /// A statfs of the mount comes back, and not from the directory beneath (a dead mount is taken
  /// away before the new one comes). In a child, for the mount may hang.
  private var answers: Bool {
    let command = ["stat", "-f", "-c", "%T", mountpoint]
    return (try? ChildProcess.run(command, timeout: .seconds(5)))?.output == "fuseblk\n"
  }

  /// Removes the mount and the daemon by force, in whatever state they are.
  public func cleanUp() {
    daemon?.kill()
    // A lazy unmount never waits; with the daemon dead nothing can hang on it any more.
    for _ in 0..<3 where isMounted {
      _ = try? ChildProcess.run(["umount", "-i", "-l", mountpoint], timeout: .seconds(10))
    }
    daemon = nil
  }
}
