import FuseKit
import Glibc
import Testing

/// Mounts of `fusekit-passthrough`, a daemon of its own that can be killed.
@Suite struct DaemonTests {
  /// Runs `body` with a directory, a file of random bytes in it and a mountpoint.
  private func withDirectory(
    _ bytes: [UInt8], _ body: (_ file: String, _ mountpoint: String) throws -> Void
  ) throws {
    let directory = try makeTemporaryDirectory()
    let (file, mountpoint) = ("\(directory)/file", "\(directory)/mnt")
    let made = unsafe mkdir(mountpoint, 0o755)
    #expect(made == 0)
    let written = try File(file, O_WRONLY | O_CREAT).write(bytes)
    #expect(written == bytes.count)
    try body(file, mountpoint)
    let removed = unsafe [unlink(file), rmdir(mountpoint), rmdir(directory)]
    #expect(removed == [0, 0, 0])
  }

  private func startDaemon(_ file: String, _ mountpoint: String) throws -> Child {
    let mounts = try count(at: mountpoint)
    // SwiftPM puts the programs of a package beside its tests.
    let here = try linkTarget("/proc/self/exe")
    let program = here.split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" }
    let child = try Child(["\(program)/fusekit-passthrough", file, mountpoint])
    try eventually("mounted") { try count(at: mountpoint) == mounts + 1 }
    // Answers once the daemon serves.
    _ = try status(of: "\(mountpoint)/data")
    return child
  }

  private func count(at path: String) throws -> Int {
    try MountTable.current().entries.count { $0.mountpoint == path }
  }

  /// The kernel has the attributes of these roots for a day, so stat(2) does not find them dead.
  @Test func deadMountsAreCleanedUp() throws {
    try withDirectory(pattern(100)) { file, mountpoint in
      #expect(try MountTable.cleanUpDeadMount(at: mountpoint) == .notMounted)
      let lower = try startDaemon(file, mountpoint)
      guard case .alive(let entry) = try MountTable.cleanUpDeadMount(at: mountpoint) else {
        Issue.record("an answering mount is not seen as alive")
        return
      }
      #expect(entry.source == "passthrough")
      #expect(
        try MountTable.cleanUpDeadMount(at: mountpoint, type: "fuse.other") == .foreign(entry))

      let upper = try startDaemon(file, mountpoint)
      upper.send(SIGKILL)
      #expect(upper.wait().end == .signalled(SIGKILL))
      #expect(try MountTable.cleanUpDeadMount(at: mountpoint) == .cleaned(count: 1, below: entry))

      let next = try startDaemon(file, mountpoint)
      for child in [lower, next] {
        child.send(SIGKILL)
        #expect(child.wait().end == .signalled(SIGKILL))
      }
      #expect(try MountTable.cleanUpDeadMount(at: mountpoint) == .cleaned(count: 2, below: nil))
      #expect(try MountTable.cleanUpDeadMount(at: mountpoint + "/") == .notMounted)
    }
  }

  @Test func whatIsNoMountOfOursIsLeft() throws {
    guard case .foreign(let entry) = try MountTable.cleanUpDeadMount(at: "/proc") else {
      Issue.record("/proc is taken for a mount of ours")
      return
    }
    #expect(entry.type == "proc")
    #expect(throws: FuseError.self) { try MountTable.cleanUpDeadMount(at: "/nonexistent/place") }
  }

  /// A READ of 128 KiB allocates one block: libfuse's `struct fuse_req`, in C as in Swift.
  @Test func aReadAllocatesNothingInSwift() throws {
    let bytes = pattern(16 << 20)
    try withDirectory(bytes) { file, mountpoint in
      let daemon = try startDaemon(file, mountpoint)
      do {
        let data = try File("\(mountpoint)/data", O_RDONLY | directFlag)
        for _ in 0..<4 {
          let back = data.readAligned(bytes.count)
          #expect(back == bytes)
        }
      }
      let unmount = try Child(["umount", "-i", mountpoint])
      #expect(unmount.wait().end == .exited(0))
      let (end, output) = daemon.wait()
      #expect(end == .exited(0))
      let words = output.split { $0 == " " || $0 == "\n" }
      try #require(words.count == 5 && words[0] == "ready", "\(output)")
      let (reads, allocations) = (Int(words[2]) ?? 0, Int(words[4]) ?? 0)
      #expect(reads == 512)
      // Each thread's buffer comes on top, and some requests may be there before the first is
      // counted; an allocation of Swift's would come with every READ.
      #expect(abs(allocations - (reads - 1)) <= reads / 16, "\(output)")
    }
  }
}
