import ArgumentParser
import CLinux
import Glibc
import RegionControl

/// Starts the daemon as a process of its own and waits until its mount answers.
enum DaemonStarter {
  /// What the child has to do.
  private final class Child {
    let descriptor: Int32
    let body: (Int32) -> ExitCode

    init(_ descriptor: Int32, _ body: @escaping (Int32) -> ExitCode) {
      self.descriptor = descriptor
      self.body = body
    }
  }

  /// Goes on in a child, which is to become the daemon, and waits here for its mount. Starting the
  /// program anew instead would take as long again as it took to get here.
  ///
  /// Call it while there is one thread. The child has another one.
  ///
  /// - Parameter daemon: what the child does, given the descriptor that the starter waits on; then it
  ///   exits.
  /// - Returns: the child, once its mount answers.
  /// - Throws: its exit code after one line on stderr.
  static func start(_ daemon: @escaping (Int32) -> ExitCode) throws(ExitCode) -> pid_t {
    var ends: [Int32] = [0, 0]
    // SAFETY: pipe writes two numbers.
    guard unsafe pipe(&ends) == 0 else { throw systemError("pipe") }
    // Held back, so that an interrupt ends the daemon too and not just the wait for it.
    SignalWaiter.block()
    let work = unsafe Unmanaged.passRetained(Child(ends[1], daemon))
    // SAFETY: each process has its own reference: the child's thread takes it, and here it is released.
    let child = unsafe linux_fork_onto_thread(
      { argument in
        guard let argument = unsafe argument else { return nil }
        let work = unsafe Unmanaged<Child>.fromOpaque(argument).takeRetainedValue()
        endProcess(work.body(work.descriptor).rawValue)
      }, work.toOpaque())
    unsafe work.release()
    close(ends[1])
    defer { close(ends[0]) }
    guard child > 0 else { throw systemError("fork") }
    let code = outcome(of: child, readiness: ends[0])
    guard code == 0 else { throw ExitCode(code) }
    return child
  }

  private static func outcome(of child: pid_t, readiness: Int32) -> Int32 {
    var answer = ReadinessAnswer()
    var display = ProgressDisplay(isShy: true)
    defer { display.finish() }
    while answer.last == nil {
      let elapsed = HumanText.seconds(display.elapsed / .seconds(1))
      display.update(
        "regionfs: \(answer.progress ?? "waiting for the mount to answer"), for \(elapsed)")
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
      answer.take(part[..<max(0, count)])
    }
    display.finish()
    switch answer.last {
    case .ready: return 0
    case .failed(let reason):
      ProgressDisplay.write("regionfs: \(HumanText.printable(reason))\n")
    case .nothing, nil:
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
    for number in [STDIN_FILENO, STDOUT_FILENO] {
      // SAFETY: open reads the path only during the call.
      let null = unsafe open("/dev/null", O_RDWR)
      if null >= 0, null != number { dup2(null, number) }
      if null > STDERR_FILENO { close(null) }
    }
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
