import Glibc
import Testing

@testable import FuseKit

@Suite struct LifetimeTests {
  /// Parked readahead keeps nobody from unmounting; its replies are answered to no one.
  @Test func unmountWhileRepliesAreParked() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file", pattern(1 << 20), behaviour: .parked)
    let mount = try MountFixture(filesystem)
    let child = try Child(["cat", mount.path("file")])
    try eventually("parked") { filesystem.count("parked") >= 1 }
    child.send(SIGKILL)
    #expect(child.wait().end == .signalled(SIGKILL))
    #expect(filesystem.count("destroy") == 0)

    try mount.close()
    filesystem.failParked(EIO)
    #expect(filesystem.count("destroy") == 1)
  }

  /// After an abort the parked replies are answered and dropped late, when the session object and
  /// the loop threads are gone: nobody hears them, nothing is freed too early, nothing leaks.
  @Test func repliesOutliveTheSession() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file", pattern(4096), behaviour: .parked)
    weak var core: SessionCore?
    var parked: [ParkedReplies.Box] = []
    do {
      let mount = try MountFixture(filesystem)
      core = mount.session.core
      let readers = try (0..<2).map { _ in
        try Child.python(
          """
          import mmap, os, sys
          f = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
          try: os.readv(f, [mmap.mmap(-1, 4096)])
          except OSError as e: print(e.errno)
          """, mount.path("file"))
      }
      try eventually("parked") { filesystem.count("parked") == 2 }
      parked = filesystem.takeParked()
      try mount.session.abort()
      for reader in readers {
        let (end, output) = reader.wait()
        #expect(end == .exited(0))
        #expect(output == "\(ECONNABORTED)\n")
      }
      mount.session.waitUntilUnmounted()
      #expect(filesystem.count("destroy") == 1)
      try mount.close()
    }
    #expect(core != nil)
    if let reply = parked.popLast()?.take() {
      let bytes = pattern(100)
      var pending: ReadReply? = consume reply
      unsafe bytes.withUnsafeBytes { unsafe pending.take()?.data($0) }
    }
    #expect(core != nil)
    parked.removeAll()
    #expect(core == nil)
  }

  @Test func aSessionThatWasNeverRunIsUnmounted() throws {
    let directory = try makeTemporaryDirectory()
    let filesystem = MemoryFilesystem()
    do {
      let session = try FuseSession(
        filesystem: filesystem, source: "memory", mountpoint: directory)
      #expect(try MountTable.current().entry(at: directory) == session.mount)
    }
    #expect(try MountTable.current().entry(at: directory) == nil)
    #expect(filesystem.count("destroy") == 1)
    let removed = unsafe rmdir(directory)
    #expect(removed == 0)
  }

  @Test func aBusyMountIsNotUnmountedUnlessDetached() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file", pattern(10))
    let mount = try MountFixture(filesystem)
    do {
      let file = try File(mount.path("file"))
      let failure = #expect(throws: FuseError.self) { try mount.session.unmount(.ifUnused) }
      #expect(failure?.errno == EBUSY)
      try mount.session.unmount(.detach)
      // Out of sight, but alive until the file is closed.
      let bytes = file.read(10)
      #expect(bytes == pattern(10))
    }
    try mount.close()
  }

  /// Dirty pages reach the filesystem before the session ends.
  @Test func unmountWritesBack() throws {
    let filesystem = MemoryFilesystem()
    let node = filesystem.add("file", [UInt8](repeating: 0, count: 8192))
    let mount = try MountFixture(filesystem)
    let child = try Child.python(
      """
      import mmap, os, sys
      f = os.open(sys.argv[1], os.O_RDWR)
      m = mmap.mmap(f, 8192)
      m[5000] = 9
      os.kill(os.getpid(), 9)
      """, mount.path("file"))
    #expect(child.wait().end == .signalled(SIGKILL))
    try mount.close()
    #expect(filesystem.data(of: node)[5000] == 9)
  }

  @Test func aWrongOptionSaysSo() throws {
    let directory = try makeTemporaryDirectory()
    var options = SessionOptions()
    options.mountOptions = ["noatime", "sparkling"]
    let failure = #expect(throws: FuseError.self) {
      try FuseSession(
        filesystem: MemoryFilesystem(), source: "memory", mountpoint: directory, options: options)
    }
    #expect(failure?.description.contains("sparkling") == true)
    let removed = unsafe rmdir(directory)
    #expect(removed == 0)
  }

  @Test func aMissingMountpointSaysSo() {
    let failure = #expect(throws: FuseError.self) {
      try FuseSession(
        filesystem: MemoryFilesystem(), source: "memory", mountpoint: "/nonexistent/place")
    }
    #expect(failure?.errno == ENOENT)
  }

  @Test func mountOptionsReachTheKernel() throws {
    var options = SessionOptions()
    options.readOnly = true
    options.mountOptions = ["noexec", "noatime"]
    try MountFixture.with(options: options) { mount in
      let made = unsafe mkdir(mount.path("directory"), 0o755)
      let code = errno
      #expect(made == -1)
      #expect(code == EROFS)
      #expect(mount.session.mount.type == "fuse.regionfs")
      #expect(mount.session.mount.source == "memory")
    }
  }

  @Test func invalidationMakesTheKernelAskAgain() throws {
    let filesystem = MemoryFilesystem()
    let node = filesystem.add("file", pattern(4096))
    let mount = try MountFixture(filesystem)
    do {
      let file = try File(mount.path("file"))
      for _ in 0..<3 { _ = file.read(4096) }
      #expect(filesystem.count("read") == 1)
      try mount.session.invalidate(node: node)
      _ = file.read(4096)
      #expect(filesystem.count("read") == 2)
    }
    #expect(filesystem.count("lookup") == 1)
    try mount.session.invalidateEntry(parent: 1, name: Array("file".utf8))
    _ = try status(of: mount.path("file"))
    #expect(filesystem.count("lookup") == 2)

    // What the kernel does not know is nothing to drop.
    try mount.session.invalidate(node: 4711)
    try mount.session.invalidateEntry(parent: 1, name: Array("other".utf8))
    #expect(throws: FuseError.self) { try mount.session.invalidateEntry(parent: 1, name: [0]) }
    try mount.close()
    try mount.session.invalidate(node: node)
  }
}
