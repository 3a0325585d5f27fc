import RegionTesting
import Testing

/// The mount helpers, run with a `regionfs` beside them that only says what it was called with.
@Suite struct HelperScriptTests {
  let scratch: Scratch
  let directory: String

  init() throws {
    scratch = try Scratch()
    directory = try scratch.directory("sbin")
    let script = "#!/bin/sh\nfor word; do printf '[%s]' \"$word\"; done\necho\nexit 7\n"
    try ChildProcess.check(
      ["sh", "-c", "cat > '\(directory)/regionfs'; chmod 755 '\(directory)/regionfs'"],
      input: script)
    try ChildProcess.check(
      ["sh", "-c", "cp '\(root)'/mount-helpers/*.regionfs '\(directory)'/"])
  }

  func run(_ helper: String, _ arguments: String...) throws -> ProcessResult {
    try ChildProcess.run(["\(directory)/\(helper).fuse.regionfs"] + arguments)
  }

  @Test func mountPassesStoreMountpointAndOptions() throws {
    let result = try run(
      "mount", "s3://bucket/p", "/mnt/a b", "-s", "-v", "-o", "rw,x=\"a,b\"", "-t",
      "fuse.regionfs")
    #expect(result.output == "[mount][-o][rw,x=\"a,b\"][--][s3://bucket/p][/mnt/a b]\n")
    #expect(result.status == 7)
  }

  @Test func mountJoinsOptionsAndKnowsFlags() throws {
    #expect(
      try run("mount", "-o", "a", "-ob", "file:///s", "-nv", "/m").output
        == "[mount][-n][-o][a,b][--][file:///s][/m]\n")
    #expect(try run("mount", "file:///s", "/m").output == "[mount][--][file:///s][/m]\n")
  }

  /// A variable of that name in the environment once became a mount option.
  @Test func environmentDoesNotBecomeOptions() throws {
    let result = try ChildProcess.run(
      ["\(directory)/mount.fuse.regionfs", "file:///s", "/m"],
      environment: ["options": "ro", "fake": "1", "no_table": "1", "store": "x", "count": "5"])
    #expect(result.output == "[mount][--][file:///s][/m]\n")
  }

  @Test func fakeMountDoesNothing() throws {
    let result = try run("mount", "file:///s", "/m", "-f")
    #expect(result.status == 0 && result.output.isEmpty)
  }

  @Test(arguments: [[], ["file:///s"], ["a", "b", "c"], ["a", "b", "-z"], ["a", "b", "-o"]])
  func wrongMountUsageIsOne(arguments: [String]) throws {
    let result = try ChildProcess.run(["\(directory)/mount.fuse.regionfs"] + arguments)
    #expect(result.status == 1)
    #expect(result.errors.contains("usage: mount.fuse.regionfs"))
  }

  @Test func otherNamespaceIsRefused() throws {
    #expect(try run("mount", "file:///s", "/m", "-N", "/proc/1/ns/mnt").status == 1)
    #expect(try run("umount", "/m", "-N", "/proc/1/ns/mnt").status == 1)
  }

  @Test func umountPassesMountpointAndFlags() throws {
    #expect(try run("umount", "/m", "-n", "-v", "-r").output == "[umount][--][/m]\n")
    #expect(
      try run("umount", "/a b", "-fl", "-t", "fuse.regionfs").output
        == "[umount][--lazy][--force][--][/a b]\n")
    #expect(try run("umount", "/m").status == 7)
    #expect(try run("umount").status == 1)
  }
}
