import ArgumentParser
import Glibc
import RegionControl

/// Starts the daemon as a process of its own and waits until its mount answers.
enum DaemonStarter {
  /// Tells the daemon which descriptor its starter waits on. Not an argument: those travel unchanged.
  private static let descriptorName = "REGIONFS_READINESS_DESCRIPTOR"

  /// The descriptor that the starter of this process waits on; nil if this is not the daemon.
  static func inheritedDescriptor() -> Int32? {
    guard let number = ProcessEnvironment.variables[descriptorName].flatMap({ Int32($0) }) else {
      return nil
    }
    // SAFETY: no other thread runs yet; programs started from here are not meant.
    unsafe unsetenv(descriptorName)
    var status = stat()
    // SAFETY: `status` is a local that outlives the call.
    guard unsafe fstat(number, &status) == 0, status.st_mode & S_IFMT == S_IFIFO else { return nil }
    return number
  }

  /// Runs this program again with the same arguments as a daemon.
  ///
  /// - Returns: the daemon's process, once its mount answers.
  /// - Throws: `ExitCode` after one line on stderr.
  static func start() throws(ExitCode) -> pid_t {
    var ends: [Int32] = [0, 0]
    // SAFETY: pipe writes two numbers.
    guard unsafe pipe(&ends) == 0 else { throw systemError("pipe") }
    defer { close(ends[0]) }
    _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
    // Held back, so that an interrupt ends the daemon too and not just the wait for it.
    SignalWaiter.block()
    let child = Subprocess.start(
      programPath, arguments: CommandLine.arguments,
      environment: ["\(descriptorName)=\(ends[1])"], standardInputAndOutputToNull: true)
    close(ends[1])
    guard let child else { throw systemError("posix_spawn") }
    let code = outcome(of: child, readiness: ends[0])
    guard code == 0 else { throw ExitCode(code) }
    return child
  }

  /// Where this program is; by that name the daemon is listed, not as `exe`.
  private static var programPath: String {
    let link = "/proc/self/exe"
    // SAFETY: realpath allocates a C string that is copied and freed here.
    guard let resolved = unsafe realpath(link, nil) else { return link }
    defer { unsafe free(resolved) }
    return unsafe String(cString: resolved)
  }

  private static func outcome(of child: pid_t, readiness: Int32) -> Int32 {
    var text: [UInt8] = []
    var display = ProgressDisplay(isShy: true)
    defer { display.finish() }
    while true {
      let elapsed = HumanText.seconds(display.elapsed / .seconds(1))
      display.update("regionfs: waiting for the mount to answer, for \(elapsed)")
      if let signal = SignalWaiter.pending() {
        kill(child, SIGTERM)
        return 128 + signal
      }
      var item = pollfd(fd: readiness, events: Int16(POLLIN), revents: 0)
      // SAFETY: one local element.
      guard unsafe poll(&item, 1, 100) > 0 else { continue }
      var part = [UInt8](repeating: 0, count: 4096)
      // SAFETY: the array has the size that is passed.
      let count = unsafe read(readiness, &part, part.count)
      if count > 0, text.count < 65_536 { text += part[..<count] }
      if text.contains(UInt8(ascii: "\n")) || count == 0 { break }
    }
    display.finish()
    let line = String(decoding: text.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    if line == "ready" { return 0 }
    if line.hasPrefix("failed ") {
      ProgressDisplay.write("regionfs: \(HumanText.printable(String(line.dropFirst(7))))\n")
    } else {
      ProgressDisplay.write("regionfs: the daemon ended before the mount answered\n")
    }
    // The child's own code tells usage from failure; it is about to end.
    let code = Subprocess.wait(for: child, timeout: .seconds(10))
    return code == 0 ? ExitStatus.failure : code ?? ExitStatus.failure
  }

  private static func systemError(_ call: String) -> ExitCode {
    // SAFETY: strerror's text is copied at once; there is one thread.
    let text = unsafe String(cString: strerror(errno))
    return fail("\(call): \(text)", code: ExitStatus.system)
  }

  /// Makes this process a daemon: a session of its own, no descriptors of the starter but `kept`
  /// and stderr (until the mount answers), `/` as working directory.
  static func becomeDaemon(keeping kept: Int32) {
    _ = setsid()
    // SAFETY: chdir reads the path only during the call.
    _ = unsafe chdir("/")
    // The cache and the log are nobody else's business, whatever the user's umask.
    umask(0o077)
    _ = fcntl(kept, F_SETFD, FD_CLOEXEC)
    for number in openDescriptors() where number > STDERR_FILENO && number != kept { close(number) }
  }

  private static func openDescriptors() -> [Int32] {
    // SAFETY: the stream is used and closed here only; the entry is valid until the next readdir.
    guard let directory = unsafe opendir("/proc/self/fd") else { return [] }
    defer { unsafe closedir(directory) }
    let own = unsafe dirfd(directory)
    var numbers: [Int32] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        unsafe String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if let number = Int32(name), number != own { numbers.append(number) }
    }
    return numbers
  }

  /// Puts `replacement` (`/dev/null` if nil) in the place of stderr, so that the starter's terminal
  /// or pipe is free.
  static func releaseStandardError(to replacement: Int32?) {
    if let replacement {
      dup2(replacement, STDERR_FILENO)
      return
    }
    // SAFETY: open reads the path only during the call.
    let null = unsafe open("/dev/null", O_WRONLY | O_CLOEXEC)
    guard null >= 0 else { return }
    dup2(null, STDERR_FILENO)
    close(null)
  }
}
