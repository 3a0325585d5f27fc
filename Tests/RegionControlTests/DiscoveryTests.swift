import FoundationEssentials
import Glibc
import RegionControl
import Testing

@Suite struct DiscoveryTests {
  @Test func socketIsPrivate() throws {
    let fixture = try Fixture()
    let attributes = try FileManager.default.attributesOfItem(atPath: fixture.server.socketPath)
    #expect(attributes[.posixPermissions] as? Int == 0o600)
  }

  @Test func directoryOpenToOthersIsRefused() throws {
    let directory = try SocketDirectory()
    #expect(unsafe chmod(directory.path, 0o750) == 0)
    do throws(ControlError) {
      let server = try ControlServer(
        directory: directory.path, mountID: "m", handler: FakeDaemon())
      server.stop()
      Issue.record("no error")
    } catch {
      #expect(error.code == .unsafeDirectory)
      #expect(error.message.contains("chmod 700"))
    }
  }

  @Test func directoryOfAnotherUserLinkOrFileIsRefused() throws {
    let directory = try SocketDirectory()
    func code(_ path: String, uid: UInt32 = getuid()) -> ControlError.Code? {
      do throws(ControlError) {
        try ControlDirectory.check(path, uid: uid)
        return nil
      } catch {
        return error.code
      }
    }
    #expect(code(directory.path) == nil)
    #expect(code(directory.path, uid: getuid() + 1) == .unsafeDirectory)
    #expect(code(directory.path + "/missing") == .noDaemon)
    try FileManager.default.createSymbolicLink(
      atPath: directory.path + "/link", withDestinationPath: directory.path)
    #expect(code(directory.path + "/link") == .unsafeDirectory)
  }

  @Test func preparedDirectoryIsPrivateAndFollowsTheEnvironment() throws {
    let directory = try SocketDirectory()
    let path = directory.path + "/run"
    #expect(
      try ControlDirectory.prepare(environment: [ControlDirectory.environmentName: path]) == path)
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    #expect(attributes[.posixPermissions] as? Int == 0o700)
    #expect(
      ControlDirectory.searchPaths(environment: ["XDG_RUNTIME_DIR": "/run/x"], uid: getuid())
        .allSatisfy { $0.hasPrefix("/") && $0.contains("regionfs") })
  }

  @Test func daemonsAreFoundAndDeadSocketsRemoved() throws {
    let fixture = try Fixture(FakeDaemon(mountpoint: "/b"), mountID: "one")
    let second = try ControlServer(
      directory: fixture.directory.path, mountID: "two", handler: FakeDaemon(mountpoint: "/a"))
    let dead = fixture.directory.path + "/dead.sock"
    let third = try ControlServer(
      directory: fixture.directory.path, mountID: "three", handler: FakeDaemon())
    // What a killed daemon leaves: a socket that nobody listens on.
    #expect(unsafe link(third.socketPath, dead) == 0)
    third.stop()
    var problems: [ControlError] = []
    let found = ControlClient.findDaemons(in: [fixture.directory.path], problems: &problems)
    #expect(found.map(\.mount.mountpoint) == ["/a", "/b"])
    #expect(problems.isEmpty)
    #expect(unsafe access(dead, F_OK) == -1)
    second.stop()
  }

  @Test func fileThatIsNoSocketDoesNotHideTheOthers() throws {
    let fixture = try Fixture()
    #expect(
      FileManager.default.createFile(atPath: fixture.directory.path + "/a.sock", contents: nil))
    var problems: [ControlError] = []
    let found = ControlClient.findDaemons(
      in: [fixture.directory.path, "/nonexistent"], problems: &problems)
    #expect(found.count == 1)
  }

  @Test func mountIDThatLeavesTheDirectoryIsRefused() throws {
    let directory = try SocketDirectory()
    for name in ["", "../x", "a/b", "a.b", String(repeating: "a", count: 65)] {
      #expect(throws: ControlError.self) {
        try ControlServer(directory: directory.path, mountID: name, handler: FakeDaemon())
      }
    }
  }

  @Test func mountinfoIsParsed() throws {
    let text = """
      22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
      40 22 0:39 / /mnt/a\\040b rw,nosuid - fuse.regionfs s3://bucket/p rw,user_id=1000,group_id=1000
      41 40 0:40 / /mnt/a\\040b/deep rw - fuse.regionfs file:///s rw,user_id=0
      42 22 0:39 /dir /bound rw - fuse.regionfs s3://bucket/p rw,user_id=1000
      43 22 0:41 / /mnt/a\\040b rw - tmpfs none rw
      not a line
      """
    let list = MountList(mountinfo: text)
    #expect(list.entries.count == 5)
    #expect(list.entries[1].ownerUID == 1000)
    #expect(list.entries[0].ownerUID == nil)
    let deep = try #require(list.mount(holding: "/mnt/a b/deep/x/y"))
    #expect(deep.entry.device == "0:40" && deep.inside == "x/y")
    let covered = try #require(list.mount(holding: "/mnt/a b/f"))
    #expect(covered.entry.type == "tmpfs" && covered.inside == "f")
    let bound = try #require(list.mount(holding: "/bound/f"))
    #expect(bound.inside == "dir/f")
    #expect(list.mount(holding: "/bound")?.inside == "dir")
    #expect(list.mount(holding: "/boundary")?.entry.mountpoint == "/")
    #expect(try MountList.current().mount(holding: "/proc/self") != nil)
  }

  @Test func aCombiningMarkHidesNoBlankAndTwoSpellingsAreTwoPaths() {
    let text = "40 22 0:39 / /mnt/\u{E9} rw - fuse.regionfs \u{301}bucket rw,user_id=1000\n"
    let list = MountList(mountinfo: text)
    #expect(list.entries.first?.source == "\u{301}bucket")
    #expect(list.mount(holding: "/mnt/\u{E9}/f")?.inside == "f")
    #expect(list.mount(holding: "/mnt/e\u{301}/f") == nil)
  }
}
