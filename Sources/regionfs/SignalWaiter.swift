import Glibc
import RegionControl

/// SIGTERM, SIGINT and SIGHUP as values instead of interruptions.
enum SignalWaiter {
  private static var signals: sigset_t {
    var set = sigset_t()
    // SAFETY: a local.
    unsafe sigemptyset(&set)
    for signal in [SIGTERM, SIGINT, SIGHUP] { unsafe sigaddset(&set, signal) }
    return set
  }

  /// Blocks them in this thread and in all that it starts. Must come before any other thread.
  static func block() {
    var set = signals
    // SAFETY: a local; the old mask is not asked for.
    _ = unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
  }

  /// Waits for the next one (`sigwait`).
  static func wait() -> Int32 {
    var set = signals
    while true {
      var signal: Int32 = 0
      // SAFETY: locals.
      if unsafe sigwait(&set, &signal) == 0 { return signal }
    }
  }

  /// One that has come already, if any (`sigtimedwait`).
  static func pending() -> Int32? {
    var set = signals
    var none = timespec(tv_sec: 0, tv_nsec: 0)
    // SAFETY: locals; details are not asked for.
    let signal = unsafe sigtimedwait(&set, nil, &none)
    return signal > 0 ? signal : nil
  }

  /// Calls `handler` for each one, on a thread of its own.
  ///
  /// - Throws: `ControlError` if there is no thread to be had.
  static func start(_ handler: @escaping @Sendable (Int32) -> Void) throws(ControlError) {
    try DetachedThread.start {
      while true { handler(wait()) }
    }
  }
}
