import FuseKit
import Glibc
import Testing

/// A process that waits for a parked reply, which the filesystem never answers by itself.
@Suite struct InterruptTests {
  /// Reads past the page cache, so that the process waits for the request itself. Without a
  /// handler, a signal that ends a process counts as SIGKILL to the kernel; with one it does not.
  private static let reader = """
    import mmap, os, signal, sys
    if sys.argv[2] == 'handled':
        signal.signal(signal.SIGINT, lambda *_: os._exit(7))
    else:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    f = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
    os.readv(f, [mmap.mmap(-1, 4096)])
    """

  @Test(arguments: [
    (SIGKILL, "unhandled", Child.End.signalled(SIGKILL)),
    (SIGINT, "unhandled", Child.End.signalled(SIGINT)),
    (SIGINT, "handled", Child.End.exited(7)),
  ])
  func aProcessInReadCanBeKilled(signal: Int32, how: String, end: Child.End) throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file", pattern(4096), behaviour: .parked)
    try MountFixture.with(filesystem) { mount in
      let child = try Child.python(Self.reader, mount.path("file"), how)
      try eventually("parked") { filesystem.count("parked") == 1 }
      #expect(child.wait(seconds: 0.2, killing: false).end == nil)
      child.send(signal)
      #expect(child.wait().end == end)
      #expect(filesystem.count("interrupted") == 1)
    }
  }

  /// The interrupt comes before the reply is armed: `armInterrupt` says so and calls nothing.
  @Test func anInterruptBeforeArmingIsSeen() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file", pattern(4096), behaviour: .armedLate)
    try MountFixture.with(filesystem) { mount in
      let child = try Child.python(Self.reader, mount.path("file"), "unhandled")
      try eventually("waiting") { filesystem.count("waiting") == 1 }
      child.send(SIGKILL)
      #expect(child.wait().end == .signalled(SIGKILL))
      #expect(filesystem.count("interruptedBefore") == 1)
      #expect(filesystem.count("interrupted") == 0)
    }
  }

  /// A fault under MADV_RANDOM waits for its own READ, as a store into an absent page does.
  @Test func aProcessInAFaultCanBeKilled() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file", pattern(1 << 20), behaviour: .parked)
    try MountFixture.with(filesystem) { mount in
      let child = try Child.python(
        """
        import mmap, os, sys
        f = os.open(sys.argv[1], os.O_RDWR)
        m = mmap.mmap(f, 1 << 20)
        m.madvise(mmap.MADV_RANDOM)
        m[500000]
        """, mount.path("file"))
      try eventually("parked") { filesystem.count("parked") == 1 }
      child.send(SIGKILL)
      #expect(child.wait().end == .signalled(SIGKILL))
      #expect(filesystem.count("interrupted") == 1)
    }
  }

  /// read(2) through the page cache waits for readahead, which is no one's request: the process
  /// dies without an interrupt, and the READs stay parked until the filesystem answers them.
  @Test func aProcessThatWaitsForReadaheadCanBeKilled() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file", pattern(1 << 20), behaviour: .parked)
    try MountFixture.with(filesystem) { mount in
      let child = try Child(["cat", mount.path("file")])
      try eventually("parked") { filesystem.count("parked") >= 1 }
      child.send(SIGKILL)
      #expect(child.wait().end == .signalled(SIGKILL))
      #expect(filesystem.count("interrupted") == 0)
    }
  }

  /// Interrupts and answers race; each reply is answered once, and nobody hangs.
  @Test func interruptsRaceWithAnswers() throws {
    let filesystem = MemoryFilesystem()
    filesystem.add("file", pattern(4096), behaviour: .parked)
    try MountFixture.with(filesystem) { mount in
      var ends: [Child.End?] = []
      for round in 0..<20 {
        let child = try Child.python(Self.reader, mount.path("file"), "unhandled")
        try eventually("parked") { filesystem.count("parked") == round + 1 }
        if round % 2 == 0 {
          child.send(SIGKILL)
          filesystem.failParked(EAGAIN)
        } else {
          filesystem.failParked(EAGAIN)
          child.send(SIGKILL)
        }
        ends.append(child.wait().end)
      }
      // Killed, or ended by the error before the signal came.
      #expect(ends.allSatisfy { $0 == .signalled(SIGKILL) || $0 == .exited(1) })
    }
  }
}
