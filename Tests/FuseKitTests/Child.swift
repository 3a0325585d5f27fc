import Glibc
import Testing

/// Another process. Work on a mount of this process that may block is done in one, so that it can
/// be killed and waited for with a limit.
struct Child {
  let process: pid_t
  private let output: Int32

  /// Starts a program of PATH; its standard output can be read, standard error is this process's.
  init(_ arguments: [String]) throws {
    var ends: [Int32] = [-1, -1]
    let piped = unsafe pipe(&ends)
    try #require(piped == 0)
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    var actions = unsafe posix_spawn_file_actions_t()
    unsafe posix_spawn_file_actions_init(&actions)
    unsafe posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO)
    defer { unsafe posix_spawn_file_actions_destroy(&actions) }
    // The threads that run tests have signals blocked, which a child would inherit.
    var attributes = posix_spawnattr_t()
    var none = sigset_t()
    unsafe sigemptyset(&none)
    unsafe posix_spawnattr_init(&attributes)
    unsafe posix_spawnattr_setsigmask(&attributes, &none)
    unsafe posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    defer { unsafe posix_spawnattr_destroy(&attributes) }
    var copies: [UnsafeMutablePointer<CChar>?] = unsafe arguments.map { unsafe strdup($0) } + [nil]
    defer { unsafe copies.forEach { unsafe free($0) } }
    var process = pid_t()
    let result = unsafe posix_spawnp(
      &process, arguments[0], &actions, &attributes, &copies, environ)
    close(ends[1])
    try #require(result == 0, "\(arguments[0])")
    self.process = process
    output = ends[0]
  }

  /// A Python program, with `arguments` in `sys.argv`.
  static func python(_ program: String, _ arguments: String...) throws -> Child {
    try Child(["python3", "-c", program] + arguments)
  }

  /// How it ended; nil if it still runs after `seconds`; then it is killed, unless `killing` is
  /// false.
  func wait(seconds: Double = 300, killing: Bool = true) -> (end: End?, output: String) {
    let deadline = now() + seconds
    var text: [UInt8] = []
    var isOpen = true
    while true {
      var poll = pollfd(fd: isOpen ? output : -1, events: Int16(POLLIN), revents: 0)
      _ = unsafe Glibc.poll(&poll, 1, 10)
      if poll.revents != 0 {
        var part = [UInt8](repeating: 0, count: 65536)
        let count = unsafe part.withUnsafeMutableBytes {
          unsafe read(output, $0.baseAddress, $0.count)
        }
        if count > 0 { text += part[..<count] } else { isOpen = false }
      }
      if !isOpen || now() > deadline || poll.revents == 0 {
        var status: Int32 = 0
        if unsafe waitpid(process, &status, WNOHANG) == process {
          close(output)
          return (End(status), String(decoding: text, as: UTF8.self))
        }
        if now() > deadline {
          if killing { send(SIGKILL) }
          return (nil, String(decoding: text, as: UTF8.self))
        }
      }
    }
  }

  func send(_ signal: Int32) { kill(process, signal) }

  enum End: Equatable {
    case exited(Int32)
    case signalled(Int32)
    init(_ status: Int32) {
      self = status & 0x7f == 0 ? .exited(status >> 8 & 0xff) : .signalled(status & 0x7f)
    }
  }
}

/// Seconds of the monotonic clock.
func now() -> Double {
  var time = timespec()
  unsafe clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Waits for something that another thread or process brings about.
func eventually(
  _ what: String, seconds: Double = 300, _ condition: () throws -> Bool
) throws {
  let deadline = now() + seconds
  while try !condition() {
    try #require(now() < deadline, "\(what) did not come about in \(seconds) s")
    usleep(2000)
  }
}
