import FuseKit
import Glibc
import Testing

@Suite struct FileTests {
  @Test func writtenBytesAreReadBack() throws {
    try MountFixture.with { mount in
      let bytes = pattern(300_000)
      let file = try File(mount.path("file"), O_RDWR | O_CREAT)
      let written = file.write(bytes)
      #expect(written == bytes.count)
      let synced = fsync(file.descriptor)
      #expect(synced == 0)
      #expect(mount.filesystem.count("fsync") == 1)
      try mount.session.invalidate(node: 2)
      let back = file.read(bytes.count + 1)
      #expect(back == bytes)
      #expect(mount.filesystem.count("read") > 0)
    }
  }

  @Test func writesCarryUpToOneMebibyte() throws {
    try MountFixture.with { mount in
      let file = try File(mount.path("file"), O_RDWR | O_CREAT)
      let written = file.write(pattern(1 << 20))
      #expect(written == 1 << 20)
      #expect(mount.filesystem.count("write") == 1)
    }
  }

  @Test func readsCarryAtMost128KiB() throws {
    let filesystem = MemoryFilesystem()
    let bytes = pattern(1 << 20)
    filesystem.add("file", bytes)
    try MountFixture.with(filesystem) { mount in
      let file = try File(mount.path("file"), O_RDONLY | directFlag)
      let back = file.readAligned(1 << 20)
      #expect(back == bytes)
      #expect(mount.filesystem.count("read") == 8)
    }
  }

  @Test func storesIntoAMappingComeAsWriteBack() throws {
    let filesystem = MemoryFilesystem()
    let bytes = pattern(64 << 10)
    let node = filesystem.add("file", bytes)
    try MountFixture.with(filesystem) { mount in
      let child = try Child.python(
        """
        import mmap, os, sys
        f = os.open(sys.argv[1], os.O_RDWR)
        m = mmap.mmap(f, 65536)
        before = m[:]
        m[8192:8197] = b'hello'
        m.flush()
        sys.stdout.write(str(len(before)))
        """, mount.path("file"))
      let (end, output) = child.wait()
      #expect(end == .exited(0))
      #expect(output == "65536")
      var expected = bytes
      expected.replaceSubrange(8192..<8197, with: Array("hello".utf8))
      #expect(filesystem.data(of: node) == expected)
      let writeBacks = filesystem.state.withLock { $0.writeBacks }
      #expect(writeBacks == 1)
      #expect(filesystem.count("fdatasync") == 1)
    }
  }

  @Test func openPassesOnTruncation() throws {
    let filesystem = MemoryFilesystem()
    let node = filesystem.add("file", pattern(1000))
    try MountFixture.with(filesystem) { mount in
      _ = try File(mount.path("file"), O_WRONLY | O_TRUNC)
      #expect(filesystem.data(of: node).isEmpty)
      // Atomic: no separate SETATTR.
      #expect(filesystem.count("setattr") == 0)
    }
  }

  @Test func setattrCarriesWhatChanges() throws {
    let filesystem = MemoryFilesystem()
    let node = filesystem.add("file", pattern(1000))
    try MountFixture.with(filesystem) { mount in
      let path = mount.path("file")
      let results = unsafe [truncate(path, 10), chmod(path, 0o600)]
      #expect(results == [0, 0])
      #expect(filesystem.data(of: node).count == 10)
      let times = [timespec(tv_sec: 5, tv_nsec: 6), timespec(tv_sec: -7, tv_nsec: 8)]
      let set = unsafe utimensat(AT_FDCWD, path, times, 0)
      #expect(set == 0)
      try mount.session.invalidate(node: node, offset: -1)
      let status = try status(of: path)
      #expect(status.st_mode == S_IFREG | 0o600)
      #expect(status.st_mtim.tv_sec == -7)
      #expect(status.st_mtim.tv_nsec == 8)
      #expect(status.st_ino == node)
    }
  }

  @Test func lseekFindsDataAndHole() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file", pattern(5000))
    try MountFixture.with(filesystem) { mount in
      let file = try File(mount.path("file"))
      let found = [
        lseek(file.descriptor, 100, seekData), lseek(file.descriptor, 100, seekHole),
        lseek(file.descriptor, 6000, seekData),
      ]
      let code = errno
      #expect(found == [100, 5000, -1])
      #expect(code == ENXIO)
    }
  }

  @Test func locksStayInTheKernel() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file")
    try MountFixture.with(filesystem) { mount in
      let one = try File(mount.path("file"), O_RDWR)
      let other = try File(mount.path("file"), O_RDWR)
      let results = [
        flock(one.descriptor, LOCK_EX), flock(other.descriptor, LOCK_EX | LOCK_NB),
        lockf(one.descriptor, F_TLOCK, 10),
      ]
      #expect(results == [0, -1, 0])
    }
  }

  /// A dropped reply answers EIO.
  @Test func droppedReplyIsAnError() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file", pattern(10), behaviour: .dropped)
    try MountFixture.with(filesystem) { mount in
      let file = try File(mount.path("file"), O_RDONLY | directFlag)
      let back = file.readAligned(10)
      let code = errno
      #expect(back == nil)
      #expect(code == EIO)
    }
  }
}
