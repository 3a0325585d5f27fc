import FuseKit
import Glibc
import Testing

@Suite struct NameTests {
  @Test func tenThousandNamesAreListed() throws {
    let filesystem = MemoryFilesystem()
    // Of all lengths up to the longest.
    let names = (0..<10_000).map { index in
      "\(index)-" + String(repeating: "x", count: index % 250)
    }
    for name in names { filesystem.add(name) }
    try MountFixture.with(filesystem) { mount in
      let found = try list(mount.session.mountpoint)
      #expect(found == names)
      #expect(filesystem.count("readdir") > 10)
    }
  }

  @Test func namesAreBytes() throws {
    try MountFixture.with { mount in
      let name: [UInt8] = [0xff, 0x20, 0x0a, 0x5c, 0x80]
      let child = try Child.python(
        "import os, sys; os.mkdir(os.fsencode(sys.argv[1]) + b'/\\xff \\n\\\\\\x80')",
        mount.session.mountpoint)
      #expect(child.wait().end == .exited(0))
      let names = mount.filesystem.state.withLock { $0.nodes[1]?.names.keys.map { $0 } }
      #expect(names == [name])
    }
  }

  @Test func symbolicLinksAreRead() throws {
    try MountFixture.with { mount in
      let target = String(repeating: "t/", count: 2000)
      let made = unsafe symlink(target, mount.path("link"))
      #expect(made == 0)
      let read = try linkTarget(mount.path("link"))
      #expect(read == target)
    }
  }

  @Test func aTargetThatCannotBeSentIsAnErrorAndReported() throws {
    let mount = try MountFixture()
    mount.filesystem.state.withLock { state in
      let node = MemoryFilesystem.Node(mode: S_IFLNK | 0o777, data: [65, 0, 66])
      _ = state.insert(node, Array("link".utf8), into: 1)
    }
    #expect(throws: FuseError.self) { try linkTarget(mount.path("link")) }
    #expect(mount.logged.all.count == 1)
    try mount.close(expectingLog: true)
  }

  @Test func renamePassesOnItsFlags() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("a", [1])
    filesystem.add("b", [2])
    try MountFixture.with(filesystem) { mount in
      let child = try Child.python(
        """
        import ctypes, sys
        a, b = (sys.argv[1] + n for n in ('/a', '/b'))
        libc = ctypes.CDLL(None, use_errno=True)
        def rename(flags):
            r = libc.renameat2(-100, a.encode(), -100, b.encode(), flags)
            return ctypes.get_errno() if r else 0
        print(rename(1), rename(2), open(a, 'rb').read(), open(b, 'rb').read(), rename(0))
        """, mount.session.mountpoint)
      let (end, output) = child.wait()
      #expect(end == .exited(0))
      #expect(output == "17 0 b'\\x02' b'\\x01' 0\n")
      #expect(filesystem.count("rename") >= 2)
    }
  }

  @Test func devicesAreRefused() throws {
    try MountFixture.with { mount in
      let results = unsafe [
        mknod(mount.path("pipe"), S_IFIFO | 0o644, 0), Int32(errno),
        mknod(mount.path("file"), S_IFREG | 0o644, 0),
      ]
      #expect(results == [-1, EPERM, 0])
    }
  }

  @Test func attributeSizesAreAsked() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file")
    try MountFixture.with(filesystem) { mount in
      let child = try Child.python(
        """
        import ctypes, os, sys
        p = sys.argv[1]
        os.setxattr(p, 'user.large', bytes(60000))
        os.setxattr(p, 'user.empty', b'')
        libc = ctypes.CDLL(None, use_errno=True)
        def get(size):
            r = libc.getxattr(p.encode(), b'user.large', ctypes.create_string_buffer(size + 1), size)
            return r, ctypes.get_errno() if r < 0 else 0
        print(get(0), get(59999), get(60000), get(65536))
        print(os.getxattr(p, 'user.empty'), sorted(os.listxattr(p)))
        os.removexattr(p, 'user.empty')
        try: os.getxattr(p, 'user.empty')
        except OSError as e: print(e.errno)
        """, mount.path("file"))
      let (end, output) = child.wait()
      #expect(end == .exited(0))
      #expect(
        output == """
          (60000, 0) (-1, 34) (60000, 0) (60000, 0)
          b'' ['user.empty', 'user.large']
          61

          """)
    }
  }

  @Test func figuresAreShown() throws {
    try MountFixture.with { mount in
      var figures = statvfs()
      let result = unsafe statvfs(mount.session.mountpoint, &figures)
      #expect(result == 0)
      #expect(figures.f_bsize == 4096)
      #expect(figures.f_frsize == 4096)
      #expect([figures.f_blocks, figures.f_bfree, figures.f_bavail] == [1000, 500, 500])
      #expect([figures.f_files, figures.f_ffree] == [200, 100])
      #expect(figures.f_namemax == 255)
    }
  }

  @Test func forgottenReferencesAreCounted() throws {
    let filesystem = MemoryFilesystem()
    for index in 0..<100 { filesystem.add("file\(index)") }
    try MountFixture.with(filesystem) { mount in
      for index in 0..<100 { _ = try status(of: mount.path("file\(index)")) }
      #expect(filesystem.count("lookup") == 100)
      for index in 0..<100 {
        try mount.session.invalidateEntry(parent: 1, name: Array("file\(index)".utf8))
      }
      try eventually("100 forgotten") { filesystem.state.withLock { $0.forgotten } == 100 }
    }
  }
}
