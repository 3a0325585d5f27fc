import Glibc

/// Other programs, run without a shell.
enum Subprocess {
  /// Starts `path` with default signals and this process's environment (`posix_spawn`).
  ///
  /// - Parameters:
  ///   - arguments: the first is the program's name.
  ///   - environment: `name=value`, in addition to this process's own.
  /// - Returns: its pid; nil with `errno` set when it could not be started.
  static func start(
    _ path: String, arguments: [String], environment: [String] = [],
    standardInputAndOutputToNull: Bool = false
  ) -> pid_t? {
    var actions = unsafe posix_spawn_file_actions_t()
    var attributes = posix_spawnattr_t()
    // SAFETY: both are initialized here and destroyed at the end.
    unsafe posix_spawn_file_actions_init(&actions)
    unsafe posix_spawnattr_init(&attributes)
    defer {
      unsafe posix_spawn_file_actions_destroy(&actions)
      unsafe posix_spawnattr_destroy(&attributes)
    }
    if standardInputAndOutputToNull {
      unsafe posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
      unsafe posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)
    }
    setDefaultSignals(&attributes)
    // SAFETY: the copies live until after posix_spawn has returned; the array ends with nil.
    let variables = environment + ProcessEnvironment.variables.map { "\($0.key)=\($0.value)" }
    let copies = unsafe arguments.map { unsafe strdup($0) }
    let settings = unsafe variables.map { unsafe strdup($0) }
    defer {
      unsafe copies.forEach { unsafe free($0) }
      unsafe settings.forEach { unsafe free($0) }
    }
    var pid: pid_t = 0
    let code = unsafe posix_spawn(
      &pid, path, &actions, &attributes, copies + [nil], settings + [nil])
    guard code == 0 else {
      errno = code
      return nil
    }
    return pid
  }

  /// A blocked or ignored signal would be inherited.
  private static func setDefaultSignals(_ attributes: inout posix_spawnattr_t) {
    var mask = sigset_t()
    var defaults = sigset_t()
    // SAFETY: locals, and attributes that the caller has initialized.
    unsafe sigemptyset(&mask)
    unsafe sigemptyset(&defaults)
    unsafe sigaddset(&defaults, SIGPIPE)
    unsafe posix_spawnattr_setsigmask(&attributes, &mask)
    unsafe posix_spawnattr_setsigdefault(&attributes, &defaults)
    unsafe posix_spawnattr_setflags(
      &attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
  }

  /// Waits for a child (`waitpid`).
  ///
  /// - Returns: its exit code, 128 + signal if it was killed, nil if it still runs after `timeout`.
  static func wait(for pid: pid_t, timeout: Duration? = nil) -> Int32? {
    let deadline = timeout.map { ContinuousClock.now + $0 }
    while true {
      var status: Int32 = 0
      // SAFETY: `status` is a local.
      let result = unsafe waitpid(pid, &status, deadline == nil ? 0 : WNOHANG)
      if result == pid {
        // WIFEXITED and WEXITSTATUS, WTERMSIG of <sys/wait.h>, which are macros.
        return status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + (status & 0x7F)
      }
      if result < 0, errno != EINTR { return nil }
      if let deadline {
        guard ContinuousClock.now < deadline else { return nil }
        usleep(5_000)
      }
    }
  }

  /// Runs a program to its end; nil if it could not be started or took longer than `timeout`.
  static func run(_ path: String, _ arguments: [String], timeout: Duration? = nil) -> Int32? {
    let name = path.split(separator: "/").last.map(String.init) ?? path
    guard let pid = start(path, arguments: [name] + arguments) else { return nil }
    return wait(for: pid, timeout: timeout)
  }

  /// The first of `paths` that can be executed.
  static func firstExecutable(of paths: [String]) -> String? {
    // SAFETY: access reads the path only during the call.
    paths.first { unsafe access($0, X_OK) == 0 }
  }
}
