import Glibc
import RegionControl
import RegionTesting
import Testing

/// The life of a daemon as the shell sees it: mount in the background, umount that waits.
@Suite struct DaemonTests {
  let scratch: Scratch
  let mountpoint: String
  let environment: [String: String]
  let arguments: [String]

  init() throws {
    scratch = try Scratch()
    mountpoint = try scratch.directory("mnt")
    environment = ["REGIONFS_RUNTIME_DIR": try scratch.directory("run")]
    let store = try scratch.directory("store")
    arguments = ["file://\(store)", "-o", "cache_dir=\(try scratch.directory("cache"))"]
  }

  func regionfs(_ arguments: String...) throws -> ProcessResult {
    try ChildProcess.run(
      [Products.path("regionfs")] + arguments, environment: environment)
  }

  func stat(_ arguments: String...) throws -> ProcessResult {
    try ChildProcess.run([Products.path("regionfs-stat")] + arguments, environment: environment)
  }

  func mount() throws -> ProcessResult {
    try ChildProcess.run(
      [Products.path("regionfs"), "mount"] + arguments + [mountpoint], environment: environment,
      timeout: Patience.limit)
  }

  var isMounted: Bool {
    get throws { try MountList.current().entries.contains { $0.mountpoint == mountpoint } }
  }

  /// Takes the mount away however the test ended; its daemon then drains and ends.
  func cleanUp() {
    _ = try? ChildProcess.run(["umount", "-i", "-l", "-q", mountpoint])
  }

  var userTable: String {
    get throws { try ChildProcess.run(["cat", "/run/mount/utab"]).output }
  }

  /// A daemon that kept its starter's output open would keep this from returning.
  @Test func mountReturnsWhenItAnswersAndUmountWhenTheDaemonHasEnded() throws {
    defer { cleanUp() }
    let result = try mount()
    try #require(result.status == 0, "\(result)")
    #expect(try isMounted)
    #expect(try stat(mountpoint).status == 0)
    try ChildProcess.check(["sh", "-c", "echo hello > '\(mountpoint)/file'"])
    // As root, so that a plain umount(8) calls our helper.
    #expect(try userTable.contains("TARGET=\(mountpoint) ") == (getuid() == 0))
    let umount = try regionfs("umount", mountpoint)
    #expect(umount.status == 0, "\(umount)")
    #expect(try !isMounted)
    #expect(try !userTable.contains("TARGET=\(mountpoint) "))
    // No daemon is left: nothing listens, and nothing holds the cache.
    #expect(try stat().status == 3)
    #expect(try mount().status == 0)
    #expect(try ChildProcess.check(["cat", mountpoint + "/file"]).output == "hello\n")
    #expect(try regionfs("umount", mountpoint).status == 0)
  }

  /// A bug that was: the daemon went on in the thread that had forked. The Swift runtime's locks knew it
  /// by its number in the starter, and where it met another thread at one, both spun for ever.
  @Test func theThreadThatForkedRunsNothing() throws {
    defer { cleanUp() }
    let result = try mount()
    try #require(result.status == 0, "\(result)")
    let found = try ChildProcess.check(["pgrep", "-f", "regionfs mount .*\(mountpoint)"]).output
    let pid = try #require(found.split(separator: "\n").first)
    let call = String(
      decoding: try Files.read("/proc/\(pid)/task/\(pid)/syscall"), as: UTF8.self)
    // pause(2), or what stands for it where there is none: ppoll(2).
    #expect(["34", "73"].contains(call.split(separator: " ").first), "\(call)")
    #expect(try regionfs("umount", mountpoint).status == 0)
  }

  /// What the daemon said before its mount answered once was shown to whoever mounts and was in no log.
  @Test func theLogBeginsWithTheMountAndTheTerminalStaysClean() throws {
    defer { cleanUp() }
    let result = try mount()
    #expect(result.status == 0 && result.errors.isEmpty && result.output.isEmpty, "\(result)")
    #expect(try regionfs("umount", mountpoint).status == 0)
    // Where there is a syslog it has them.
    guard !Files.exists("/dev/log") else { return }
    let log = String(decoding: try Files.read(scratch.file("cache/regionfs.log")), as: UTF8.self)
    let lines = log.split(separator: "\n")
    #expect(lines.first?.hasSuffix(" is mounted at \(mountpoint)") == true, "\(log)")
    #expect(lines.last?.hasSuffix(" everything is committed") == true, "\(log)")
  }

  @Test func mountThatFailsSaysWhyInOneLine() throws {
    defer { cleanUp() }
    let missing = scratch.file("missing")
    let result = try ChildProcess.run(
      [Products.path("regionfs"), "mount"] + arguments + [missing], environment: environment,
      timeout: Patience.limit)
    // 32 is that of mount(8); it once was 1, which means wrong usage.
    #expect(result.status == 32)
    #expect(result.errors.contains(missing))
    #expect(result.errors.split(separator: "\n").count == 1, "\(result)")
    #expect(try stat().status == 3)
  }

  @Test func mountpointOfAKilledDaemonIsMountedAgain() throws {
    defer { cleanUp() }
    try #require(try mount().status == 0)
    let report = try stat("--json", mountpoint).output
    let line = try #require(report.split(separator: "\n").first { $0.contains("\"pid\" : ") })
    let pid = try #require(Int32(line.filter(\.isNumber)))
    #expect(kill(pid, SIGKILL) == 0)
    for _ in 0..<1000 where kill(pid, 0) == 0 { usleep(1000) }
    let again = try mount()
    #expect(again.status == 0, "\(again)")
    #expect(try stat(mountpoint).status == 0)
    #expect(try userTable.split(separator: "TARGET=\(mountpoint) ").count <= 2)
    #expect(try regionfs("umount", mountpoint).status == 0)
    #expect(try !userTable.contains("TARGET=\(mountpoint) "))
  }

  /// Entries of mounts that ended without umount(8) once stayed, one more with each mount.
  @Test func tableEntryGoesWithAMountThatEndsOtherwise() throws {
    defer { cleanUp() }
    try #require(try mount().status == 0)
    try ChildProcess.check(["fusermount3", "-u", mountpoint])
    #expect(try regionfs("umount", mountpoint).status != 64)
    let deadline = ContinuousClock.now + Patience.limit
    while try stat().status != 3, ContinuousClock.now < deadline { usleep(20_000) }
    while try userTable.contains("TARGET=\(mountpoint) "), ContinuousClock.now < deadline {
      usleep(5000)
    }
    #expect(try !userTable.contains("TARGET=\(mountpoint) "))
  }

  @Test func mountWithoutTableEntryLeavesTheTableAlone() throws {
    defer { cleanUp() }
    let result = try ChildProcess.run(
      [Products.path("regionfs"), "mount", "-n"] + arguments + [mountpoint],
      environment: environment)
    try #require(result.status == 0, "\(result)")
    #expect(try !userTable.contains("TARGET=\(mountpoint) "))
    #expect(try regionfs("umount", mountpoint).status == 0)
  }
}
