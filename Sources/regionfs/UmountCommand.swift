import ArgumentParser
import Glibc
import RegionControl

/// `regionfs umount MOUNTPOINT`.
struct UmountCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "umount",
    abstract: "Unmount and wait until everything is committed.",
    discussion: """
      If it takes longer than a second, standard error shows how much is left. Interrupting it, or \
      --no-wait, loses nothing: the daemon goes on pushing by itself, what is not committed is safe \
      in the cache directory, and the next mount carries on. Where it is unmounted already, only the \
      wait is done.

      Examples:
        regionfs umount /mnt/regions
        regionfs umount --no-wait /mnt/regions
        regionfs umount --json /mnt/regions | jq .uncommittedBytes

      Exit codes:
        0   unmounted and committed (with --no-wait: unmounted)
        1   wrong usage
        2   system error
        32  not unmounted
        64  unmounted but not everything is committed
      """,
    aliases: ["unmount"])

  @Argument(help: "Where it is mounted.", completion: .directory)
  var mountpoint: String

  @Flag(name: .long, help: "Return once it is unmounted; say what is not committed yet.")
  var noWait = false

  @Flag(
    name: [.customShort("l"), .long], help: "Detach now, unmount when nobody uses it; no wait.")
  var lazy = false

  @Flag(name: [.customShort("f"), .long], help: "Abort requests that hang (as root).")
  var force = false

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Stop waiting after this time without an answer from the store.", valueName: "seconds"))
  var storeTimeout: UInt32 = 30

  @Flag(name: .long, help: "Print what became of the changes as JSON.")
  var json = false

  func run() throws {
    let environment = ProcessEnvironment.variables
    let path = Unmounting.canonical(mountpoint)
    let list: MountList
    do throws(ControlError) {
      list = try MountList.current()
    } catch {
      throw fail(error.message, code: ExitStatus.system)
    }
    let shown = HumanText.printable(path)
    guard let entry = list.entries.last(where: { $0.mountpoint == path }) else {
      // Unmounted already, but perhaps a daemon still drains.
      guard let daemon = Unmounting.drainingDaemon(of: path, environment: environment) else {
        throw fail("\(shown): not mounted", code: ExitStatus.failure)
      }
      return try finish(DrainWait(daemon))
    }
    guard entry.type == MountListEntry.regionfsType else {
      throw fail("\(shown): not a regionfs mount but \(entry.type)", code: ExitStatus.failure)
    }
    var problems: [ControlError] = []
    let daemon = ControlClient.findDaemon(
      for: entry, environment: environment, problems: &problems)
    // Connected before the mount goes: a clean daemon may end at once.
    let wait = daemon.map { DrainWait($0) }
    let code = Unmounting.unmount(path, lazy: lazy, force: force)
    guard code == 0 else { throw ExitCode(code) }
    guard let wait else {
      return try tell(DrainOutcome(mountpoint: path))
    }
    try finish(wait)
  }

  private func finish(_ wait: DrainWait) throws {
    guard !noWait, !lazy else { return try tell(wait.lookOnce()) }
    let outcome = wait.follow(storeTimeout: .seconds(Int64(storeTimeout)))
    try tell(outcome)
    if !outcome.isCommitted { throw ExitCode(ExitStatus.partial) }
  }

  private func tell(_ outcome: DrainOutcome) throws(ExitCode) {
    if json { try CommandOutput.printJSON(outcome) }
    if let text = outcome.text { ProgressDisplay.write("regionfs: \(text)\n") }
  }
}

/// The steps of unmounting that concern the system.
enum Unmounting {
  /// The mountpoint's path without touching what is mounted there, which may not answer: only the
  /// directory that holds it is resolved.
  static func canonical(_ path: String) -> String {
    let trimmed = path.reversed().drop { $0 == "/" }.reversed().map { $0 }
    let name = String(trimmed[(trimmed.lastIndex(of: "/").map { $0 + 1 } ?? 0)...])
    guard !name.isEmpty, name != ".", name != ".." else { return resolvedPath(path) }
    let parent = String(trimmed[..<(trimmed.count - name.count)])
    let directory = resolvedPath(parent.isEmpty ? "." : parent)
    let whole = directory == "/" ? "/" + name : directory + "/" + name
    let isMounted = (try? MountList.current())?.entries.contains { $0.mountpoint == whole } ?? false
    // The last part may itself be a symbolic link to the mountpoint.
    return isMounted ? whole : resolvedPath(path)
  }

  /// A daemon whose mount at `path` has gone.
  static func drainingDaemon(of path: String, environment: [String: String]) -> FoundDaemon? {
    var problems: [ControlError] = []
    return ControlClient.findDaemons(
      in: ControlDirectory.searchPaths(environment: environment), problems: &problems
    )
    .first { $0.mount.mountpoint == path && $0.mount.state != .running }
  }

  /// Unmounts without calling `umount.fuse.regionfs` again: umount(8) with `-i` as root, which also
  /// tidies `/run/mount/utab`, else fusermount3(1).
  ///
  /// - Returns: an exit code; the program that failed has said why.
  static func unmount(_ path: String, lazy: Bool, force: Bool) -> Int32 {
    if geteuid() == 0 {
      guard let umount = Subprocess.firstExecutable(of: ["/usr/bin/umount", "/bin/umount"]) else {
        return unmountDirectly(path, lazy: lazy, force: force)
      }
      let flags = (lazy ? ["-l"] : []) + (force ? ["-f"] : [])
      return Subprocess.run(umount, ["-i", "-c"] + flags + ["--", path]) ?? ExitStatus.system
    }
    let places = ["/usr/bin/fusermount3", "/bin/fusermount3", "/usr/local/bin/fusermount3"]
    guard let helper = Subprocess.firstExecutable(of: places) else {
      ProgressDisplay.write("regionfs: fusermount3 is missing; install the package fuse3\n")
      return ExitStatus.system
    }
    let code = Subprocess.run(helper, ["-u"] + (lazy ? ["-z"] : []) + ["--", path])
    return code == 0 ? 0 : ExitStatus.failure
  }

  /// `umount2`, where util-linux is missing.
  private static func unmountDirectly(_ path: String, lazy: Bool, force: Bool) -> Int32 {
    // MNT_FORCE and MNT_DETACH of umount(2).
    let flags: Int32 = (force ? 1 : 0) | (lazy ? 2 : 0)
    // SAFETY: the path is read during the call only.
    guard unsafe umount2(path, flags) != 0 else { return 0 }
    let text = unsafe String(cString: strerror(errno))
    ProgressDisplay.write("regionfs: \(HumanText.printable(path)): \(text)\n")
    return ExitStatus.failure
  }
}
