import ArgumentParser
import Glibc
import RegionConfig
import RegionControl
import RegionOptions

/// `regionfs mount STORE MOUNTPOINT`.
struct MountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mount",
    abstract: "Mount a store.",
    discussion: """
      Returns when the mount answers (with pull=full, when all of the store is here too); the daemon \
      goes on in the background. A mountpoint that a killed daemon left dead is cleaned up first.

      Stores: s3://bucket/prefix, file:///directory, memory:, or the name of a store in \
      /etc/regionfs.toml or $XDG_CONFIG_HOME/regionfs.toml (see regionfs config check).

      Options (-o a,b=c; may be repeated; a comma in a value is written \\,):
      \(OptionTable.help)

      The words of mount(8) and fstab(5) are accepted too: nosuid, nodev, noexec, noatime, _netdev, \
      nofail, noauto, user, x-… and so on. An unknown option is an error that names the nearest \
      known one, if any is near.

      Keys are taken from the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, \
      AWS_SESSION_TOKEN), the shared AWS files, or the instance; never from options.

      Examples:
        regionfs mount file:///srv/store /mnt/regions
        regionfs mount s3://bucket/p /mnt/regions -o region=eu-west-1,profile=work
        regionfs mount s3://b/p /mnt/r -o endpoint=http://127.0.0.1:9000,path_style
        regionfs mount models /mnt/models -o ro,pull=full
        regionfs mount -f memory: /mnt/scratch -o log_level=debug

      Exit codes:
        0   mounted
        1   wrong usage
        2   system error
        32  not mounted
      """)

  @Argument(
    help: "An address, or a name of the configuration.", completion: WordCompletion.stores)
  var store: String

  @Argument(help: "An empty directory.", completion: .directory)
  var mountpoint: String

  @Option(
    name: .customShort("o", allowingJoined: true), parsing: .unconditionalSingleValue,
    help: ArgumentHelp("Mount options.", valueName: "options"), completion: WordCompletion.options)
  var options: [String] = []

  @Flag(
    name: [.customShort("f"), .long], help: "Stay in the foreground and log to standard error.")
  var foreground = false

  @Flag(
    name: [.customShort("n"), .long],
    help: ArgumentHelp(
      "Make no entry in /run/mount/utab.",
      discussion: """
        A plain umount(8) with an absolute path then does not wait until everything is committed.
        """))
  var noMtab = false

  @Flag(name: .long, help: "Print the mount and its daemon as JSON once it answers.")
  var json = false

  private struct Answer: Encodable {
    var version = 1
    var store: String
    var mountpoint: String
    var cacheDirectory: String
    var daemonPID: Int32
  }

  func validate() throws {
    if json, foreground { throw ValidationError("--json goes without --foreground") }
  }

  func run() throws {
    let configuration = try parsed()
    if foreground {
      throw runAsDaemon(configuration, readiness: .foreground(configuration))
    }
    let daemon = try DaemonStarter.start { descriptor in
      DaemonStarter.becomeDaemon(keeping: descriptor)
      return runAsDaemon(
        configuration, readiness: .background(configuration, descriptor: descriptor))
    }
    try report(configuration, daemon)
  }

  private func report(_ configuration: MountConfiguration, _ daemon: pid_t) throws(ExitCode) {
    guard json else { return }
    try CommandOutput.printJSON(
      Answer(
        store: configuration.store.description, mountpoint: configuration.mountpoint,
        cacheDirectory: Daemon.cachePath(configuration), daemonPID: daemon))
  }

  /// The command line with what the configuration files add.
  private func parsed() throws(ExitCode) -> MountConfiguration {
    let context = OptionContext.current
    let resolution = try Configuration.resolved(store, context)
    do throws(OptionError) {
      var configuration = try MountConfiguration(
        store: resolution.url, mountpoint: mountpoint, options: resolution.options + options,
        foreground: foreground, leavesMountTableAlone: noMtab, context: context)
      configuration.storeName = resolution.name
      return configuration
    } catch {
      throw fail(error.description, code: ExitStatus.usage)
    }
  }

  private func runAsDaemon(
    _ configuration: MountConfiguration, readiness: consuming DaemonReadiness
  ) -> ExitCode {
    SignalWaiter.block()
    do throws(ControlError) {
      try LogSetup.bootstrap(configuration)
    } catch {
      readiness.failed(error.message)
      return ExitCode(ExitStatus.system)
    }
    let code = runDaemon(configuration, readiness: readiness)
    // fusermount3 -u, umount2(2) and a lost connection leave the entry behind.
    if geteuid() == 0, !configuration.leavesMountTableAlone {
      UserMountTable.removeStale(mountpoint: configuration.mountpoint)
    }
    return code
  }
}

extension OptionContext {
  /// What this process is and where.
  static var current: Self {
    let environment = ProcessEnvironment.variables
    // SAFETY: getcwd allocates a C string that is copied and freed here.
    var directory = "/"
    if let path = unsafe getcwd(nil, 0) {
      directory = unsafe String(cString: path)
      unsafe free(path)
    }
    return Self(environment: environment, uid: geteuid(), currentDirectory: directory)
  }
}
