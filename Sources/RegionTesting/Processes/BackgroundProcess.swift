import Glibc

/// A child process that runs beside the test, in a process group of its own.
///
/// Its outputs go to unlinked temporary files: nothing can fill up, and a grandchild that keeps
/// them open holds up nobody. It is killed when the object goes away.
public final class BackgroundProcess: @unchecked Sendable {
  // Sound because one test uses it at a time; the pid is reaped once, under `status`.
  /// The command, for messages.
  public let command: [String]
  /// Its process id, also that of its process group.
  public let pid: pid_t
  private let input: Int32
  private let outputFile: Int32
  private let errorFile: Int32
  private var inputOpen = true
  private var status: Int32?
  private var linesRead = 0

  /// Starts a program found on PATH.
  ///
  /// - Throws: `ProcessFailure`.
  public init(_ command: [String], environment: [String: String] = [:]) throws(ProcessFailure) {
    self.command = command
    outputFile = try Self.temporaryFile()
    errorFile = try Self.temporaryFile()
    var ends: [Int32] = [-1, -1]
    // SAFETY: pipe writes two ints, the array has two.
    guard unsafe pipe(&ends) == 0 else { throw ProcessFailure("pipe: errno \(errno)") }
    input = ends[1]
    for end in ends { _ = Glibc.fcntl(end, F_SETFD, FD_CLOEXEC) }
    defer { close(ends[0]) }
    pid = try Self.spawn(
      command, environment: environment, descriptors: [ends[0], outputFile, errorFile])
  }

  deinit {
    if status == nil { kill() }
    closeInput()
    close(outputFile)
    close(errorFile)
  }

  /// All of standard output so far.
  public var output: String { Self.contents(outputFile) }
  /// All of standard error so far.
  public var errors: String { Self.contents(errorFile) }

  /// Writes to its standard input.
  public func write(_ text: String) {
    var bytes = Array(text.utf8)[...]
    while inputOpen, !bytes.isEmpty {
      // SAFETY: the pointer is valid for `bytes.count` bytes during the call.
      let count = unsafe bytes.withUnsafeBytes {
        unsafe Glibc.write(input, $0.baseAddress, $0.count)
      }
      if count > 0 { bytes = bytes.dropFirst(count) } else if errno != EINTR { return }
    }
  }

  /// Lets it see the end of its standard input.
  public func closeInput() {
    if inputOpen { close(input) }
    inputOpen = false
  }

  /// The next line of its standard output.
  ///
  /// - Throws: `ProcessFailure` if it ends or the time passes without one.
  public func nextLine(timeout: Duration = Patience.limit) throws(ProcessFailure) -> String {
    let deadline = ContinuousClock.now + timeout
    while true {
      let ended = !isRunning
      let lines = output.split(separator: "\n", omittingEmptySubsequences: false)
      // The last piece is not a whole line yet.
      if lines.count > linesRead + 1 {
        linesRead += 1
        return String(lines[linesRead - 1])
      }
      if ended { throw ProcessFailure("ended without another line: \(result)") }
      guard ContinuousClock.now < deadline else {
        throw ProcessFailure("no line in \(timeout): \(result)")
      }
      usleep(2000)
    }
  }

  /// It has not ended yet.
  public var isRunning: Bool {
    reap()
    return status == nil
  }

  /// Waits for its end.
  ///
  /// - Throws: `ProcessFailure` if the time passes first; it then goes on running.
  public func waitForExit(timeout: Duration = Patience.limit) throws(ProcessFailure)
    -> ProcessResult
  {
    let deadline = ContinuousClock.now + timeout
    var pause: UInt32 = 1000
    while isRunning {
      guard ContinuousClock.now < deadline else {
        throw ProcessFailure("still runs after \(timeout): \(result)\n\(kernelStacks)")
      }
      usleep(pause)
      pause = min(pause * 2, 20_000)
    }
    return result
  }

  /// Sends a signal to the process alone.
  public func signal(_ number: Int32) {
    if isRunning { _ = Glibc.kill(pid, number) }
  }

  /// Kills its process group and waits, for 4,000 looks at most (one in D state does not die).
  public func kill() {
    guard isRunning else { return }
    _ = Glibc.kill(-pid, SIGKILL)
    for _ in 0..<4000 where isRunning { usleep(5000) }
  }

  /// Where each thread of the process and of its group's others waits in the kernel (as root), to
  /// explain one that does not end.
  public var kernelStacks: String {
    let script = """
      for p in $(pgrep -g \(pid)); do for t in /proc/$p/task/*; do
      echo "$t $(cat $t/comm) $(grep State $t/status)"; cat $t/stack; done; done
      """
    return (try? ChildProcess.run(["sh", "-c", script], timeout: .seconds(10)))?.output ?? ""
  }

  private var result: ProcessResult {
    ProcessResult(command: command, status: status ?? 0, output: output, errors: errors)
  }

  private func reap() {
    guard status == nil else { return }
    var raw: Int32 = 0
    // SAFETY: waitpid writes one int.
    guard unsafe waitpid(pid, &raw, WNOHANG) == pid else { return }
    status = raw & 0x7F == 0 ? (raw >> 8) & 0xFF : -(raw & 0x7F)
  }

  private static func temporaryFile() throws(ProcessFailure) -> Int32 {
    var template = Array("/tmp/regionfs-output-XXXXXX".utf8CString)
    // SAFETY: mkstemp changes the template in place.
    let descriptor = unsafe mkstemp(&template)
    guard descriptor >= 0 else { throw ProcessFailure("mkstemp: errno \(errno)") }
    _ = Glibc.fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    unsafe unlink(template)
    return descriptor
  }

  private static func contents(_ descriptor: Int32) -> String {
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      // SAFETY: pread writes at most `buffer.count` bytes.
      let count = unsafe pread(descriptor, &buffer, buffer.count, off_t(bytes.count))
      if count <= 0 { break }
      bytes += buffer[..<count]
    }
    return String(decoding: bytes, as: Unicode.UTF8.self)
  }

  /// posix_spawnp(3) with the three standard descriptors.
  private static func spawn(
    _ command: [String], environment: [String: String], descriptors: [Int32]
  ) throws(ProcessFailure) -> pid_t {
    // SAFETY: actions and attributes are initialised, used and destroyed here; the strings live
    // until after the spawn.
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    for (number, descriptor) in descriptors.enumerated() {
      unsafe posix_spawn_file_actions_adddup2(&actions, descriptor, Int32(number))
    }
    var attributes = posix_spawnattr_t()
    unsafe posix_spawnattr_init(&attributes)
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    unsafe posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK))
    var merged = Environment.all
    merged.merge(environment) { _, new in new }
    let arguments = unsafe CStrings(command)
    let variables = unsafe CStrings(merged.map { "\($0.key)=\($0.value)" })
    defer {
      unsafe arguments.free()
      unsafe variables.free()
    }
    var pid: pid_t = 0
    let code = unsafe posix_spawnp(
      &pid, command[0], &actions, &attributes, arguments.pointers, variables.pointers)
    guard code == 0 else { throw ProcessFailure("cannot start \(command[0]): errno \(code)") }
    return pid
  }
}

/// The environment of this process.
public enum Environment {
  /// All variables.
  public static var all: [String: String] {
    var result: [String: String] = [:]
    // SAFETY: the array of the C library ends with nil; nothing here changes it.
    var entry = unsafe environ
    while let text = unsafe entry.pointee {
      let parts = unsafe String(cString: text).split(separator: "=", maxSplits: 1)
      if parts.count == 2 { result[String(parts[0])] = String(parts[1]) }
      unsafe entry += 1
    }
    return result
  }
}

/// A nil-terminated array of C strings.
@unsafe private struct CStrings {
  let pointers: [UnsafeMutablePointer<CChar>?]

  init(_ strings: [String]) {
    unsafe pointers = unsafe strings.map { unsafe strdup($0) } + [nil]
  }

  func free() {
    unsafe pointers.forEach { unsafe Glibc.free($0) }
  }
}
