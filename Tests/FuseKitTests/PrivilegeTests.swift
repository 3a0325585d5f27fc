import FuseKit
import Glibc
import Testing

/// The kernel leaves the clearing of set-user-ID and set-group-ID to the filesystem
/// (HANDLE_KILLPRIV_V2), and in return does not ask for `security.capability` before each write.
@Suite struct PrivilegeTests {
  private static let privileged: UInt32 = S_IFREG | 0o6777
  private static let cleared: UInt32 = S_IFREG | 0o777

  /// Runs a Python program that has `path`, as root or as someone else, on a file with both bits;
  /// returns its mode then.
  private func mode(after program: String, asRoot: Bool = false) throws -> UInt32 {
    let filesystem = MemoryFilesystem()
    let node = filesystem.add("file", pattern(100))
    filesystem.state.withLock { state in
      state.nodes[node]?.mode = Self.privileged
      state.nodes[1]?.mode = S_IFDIR | 0o777
    }
    var options = SessionOptions()
    options.allowOther = true
    var mode: UInt32 = 0
    try MountFixture.with(filesystem, options: options) { mount in
      let opened = unsafe chmod(mount.directory, 0o755)
      #expect(opened == 0)
      let become = asRoot ? "" : "os.setgid(65534); os.setuid(65534)\n"
      let child = try Child.python(
        "import os, sys; path = sys.argv[1]\n" + become + program, mount.path("file"))
      #expect(child.wait().end == .exited(0))
      mode = filesystem.state.withLock { $0.nodes[node]?.mode ?? 0 }
      #expect(try status(of: mount.path("file")).st_mode == mode)
    }
    return mode
  }

  @Test func aWriteClears() throws {
    #expect(try mode(after: "os.write(os.open(path, os.O_WRONLY), b'x')") == Self.cleared)
  }
  @Test func aTruncationClears() throws {
    #expect(try mode(after: "os.truncate(path, 5)") == Self.cleared)
  }
  @Test func anOpenThatTruncatesClears() throws {
    #expect(try mode(after: "os.open(path, os.O_WRONLY | os.O_TRUNC)") == Self.cleared)
  }
  @Test func aChangeOfOwnerClears() throws {
    #expect(try mode(after: "os.chown(path, 1, 1)", asRoot: true) == Self.cleared)
  }
  @Test func theSuperuserWritesWithoutClearing() throws {
    let write = "os.write(os.open(path, os.O_WRONLY), b'x')"
    #expect(try mode(after: write, asRoot: true) == Self.privileged)
  }

  @Test func setGroupWithoutExecutionStays() {
    let time = FileTime(seconds: 0, nanoseconds: 0)
    let attributes = FileAttributes(
      inode: 1, mode: S_IFREG | 0o6744, linkCount: 1, uid: 0, gid: 0, size: 0, blocks: 0,
      blockSize: 4096, accessed: time, modified: time, changed: time)
    #expect(attributes.modeWithoutPrivileges == S_IFREG | 0o2744)
  }

  @Test func writesDoNotAskForCapabilities() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file", pattern(100))
    try MountFixture.with(filesystem) { mount in
      let file = try File(mount.path("file"), O_RDWR)
      for index in 0..<500 { _ = file.write([1, 2, 3], at: index * 3) }
      #expect(filesystem.count("write") == 500)
      #expect(filesystem.count("getxattr security.capability") <= 1)
    }
  }
}
