import ArgumentParser
import RegionOptions

/// Runs one mount until it is unmounted and drained, or failed.
///
/// Called once, with SIGTERM, SIGINT and SIGHUP blocked (see `SignalWaiter`), SIGPIPE ignored, the
/// working directory `/` (in the background) and logging set up.
///
/// - Parameter readiness: to be answered exactly once: `ready()` when the mount answers, or
///   `failed(_:)` with one line that names the object and the remedy.
func runDaemon(
  _ configuration: MountConfiguration, readiness: consuming DaemonReadiness
) -> ExitCode {
  readiness.failed("fatal: not composed yet")
  return ExitCode(70)
}
