import ArgumentParser
import CLinux
import Glibc
import RegionControl

/// Exit codes of `regionfs`, those of mount(8) and umount(8).
enum ExitStatus {
  /// Wrong usage.
  static let usage: Int32 = 1
  /// A call of the operating system failed, or another program is missing.
  static let system: Int32 = 2
  /// What was asked for failed.
  static let failure: Int32 = 32
  /// `recover` found the cache directory in use.
  static let busy: Int32 = 33
  /// Unmounted, but not everything is committed.
  static let partial: Int32 = 64
}

/// `regionfs`: mounts, and what can be done with a store without one.
@main
struct RegionfsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "regionfs",
    abstract: "Files you can mmap, kept in S3 or in a directory.",
    discussion: """
      Examples:
        regionfs mount file:///srv/store /mnt/regions
        regionfs mount s3://bucket/prefix /mnt/regions -o region=eu-west-1
        regionfs sync /mnt/regions/model.bin
        regionfs pull /mnt/regions/model.bin
        regionfs umount /mnt/regions
        regionfs takeover /mnt/regions/db
        regionfs pin /mnt/regions/model.bin
        regionfs trace show /mnt/regions/app
        regionfs recover
        regionfs cp model.bin s3://bucket/prefix/model.bin
        regionfs doctor s3://bucket/prefix

      Exit codes:
        0   success
        1   wrong usage
        2   system error
        32  failed
        33  the cache directory is in use
        64  unmounted but not everything committed yet

      Those of fsck are as of fsck(8). With --json a command prints one JSON object with a version \
      on standard output, where names of quantities end in their unit; errors are one line on \
      standard error all the same.

      See also regionfs(1), regionfs-stat(1), mount.fuse.regionfs(8).
      """,
    version: "regionfs \(RegionfsVersion.text)",
    subcommands: [
      MountCommand.self, UmountCommand.self, SyncCommand.self, PullCommand.self,
      TakeoverCommand.self, PinCommand.self, TraceCommand.self, RecoverCommand.self,
      ListCommand.self, CreateCommand.self, InfoCommand.self,
      CopyCommand.self, FsckCommand.self, DoctorCommand.self, ConfigCommand.self,
      LogLevelCommand.self,
    ],
    // `mount -t fuse.regionfs` without our helper runs `regionfs STORE MOUNTPOINT -o …`.
    defaultSubcommand: MountCommand.self)

  static func main() {
    // A closed pipe is an error that write(2) reports, not a reason to die half-way.
    _ = signal(SIGPIPE, SIG_IGN)
    // Credentials are in memory: no core dump has them, and no other process of the user reads them
    // there. Only an unknown prctl(2) operation could fail.
    _ = linux_set_dumpable(0)
    do {
      var command = try parseAsRoot()
      try command.run()
      endProcess(0)
    } catch let code as ExitCode {
      endProcess(code.rawValue)
    } catch {
      let code = exitCode(for: error)
      if code == .validationFailure {
        ProgressDisplay.write(fullMessage(for: error) + "\n")
        // fsck(8) has codes of its own.
        let isFsck = CommandLine.arguments.dropFirst().first == "fsck"
        Glibc.exit(isFsck ? FsckCommand.Status.usage : ExitStatus.usage)
      }
      exit(withError: error)
    }
  }
}

/// Ends the process without its exit handlers. The engine's threads may still be signing a request that
/// nobody waits for, and exit(3) tears down libcrypto's tables under them: a daemon that had committed
/// everything ended with SIGSEGV.
func endProcess(_ code: Int32) -> Never {
  fflush(nil)
  _exit(code)
}

/// Ends a command with one line on stderr.
func fail(_ message: String, code: Int32) -> ExitCode {
  ProgressDisplay.write("regionfs: \(message)\n")
  return ExitCode(code)
}
