import Glibc
import Testing

@testable import FuseKit

@Suite struct MountTableTests {
  private let text = #"""
    22 27 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw
    36 27 0:44 / /mnt/a\040b\134c\011\012d rw,nosuid shared:1 master:2 - fuse.regionfs s3://b\054x/\043p rw,user_id=0
    37 27 8:1 /sub /data rw - ext4 /dev/sda1 rw
    38 37 0:45 / /data rw propagate_from:9 - fuse.regionfs file:///d rw
    broken line
    39 27 0:46 / /short rw - tmpfs
    40 27 x:y / /numbers rw - tmpfs tmpfs rw

    """#

  @Test func fieldsAreParsedAndUnescaped() {
    let table = MountTable(parsing: Array(text.utf8))
    #expect(table.entries.map(\.id) == [22, 36, 37, 38])
    #expect(
      table.entries[1]
        == MountTable.Entry(
          id: 36, device: .init(major: 0, minor: 44), mountpoint: "/mnt/a b\\c\t\nd",
          type: "fuse.regionfs", source: "s3://b,x/#p"))
    #expect(table.entries[2].device.description == "8:1")
  }

  @Test func theLastMountIsTheOneSeen() {
    let table = MountTable(parsing: Array(text.utf8))
    #expect(table.entry(at: "/data")?.id == 38)
    #expect(table.entry(at: "/dat") == nil)
  }

  @Test func thisSystemsTableIsParsed() throws {
    let table = try MountTable.current()
    let lines = try readFile("/proc/self/mountinfo").split(separator: UInt8(ascii: "\n"))
    #expect(table.entries.count == lines.count)
    #expect(table.entry(at: "/") != nil)
  }

  @Test func aMountpointWithBlanksIsFound() throws {
    let mount = try MountFixture(mountpointName: "a b\\c\nd", source: "s3://bucket,x/y")
    #expect(mount.session.mount.source == "s3://bucket,x/y")
    let made = unsafe mkdir(mount.path("directory"), 0o755)
    #expect(made == 0)
    try mount.close()
  }
}

@Suite struct MountTuningTests {
  @Test func settingsAreSet() throws {
    let directory = try makeTemporaryDirectory()
    let session = try FuseSession(
      filesystem: MemoryFilesystem(), source: "memory", mountpoint: directory)
    let tuning = MountTuning(maxDirtyBytes: 256 << 20, readAheadKiB: 512)
    let outcomes = tuning.apply(to: session.mount)
    #expect(outcomes.map(\.failure) == [nil, nil])
    let values = try outcomes.map { outcome in
      Int(String(decoding: try readFile(outcome.path).dropLast(), as: UTF8.self)) ?? 0
    }
    // The kernel keeps the limit as a share of memory and rounds.
    #expect(abs(values[0] - 256 << 20) < 1 << 20)
    #expect(values[1] == 512)
    try session.run()
    try session.unmount()
    session.waitUntilUnmounted()
    let removed = unsafe rmdir(directory)
    #expect(removed == 0)
  }

  @Test func whatCannotBeSetIsTold() {
    let nowhere = MountTable.Entry(
      id: 1, device: .init(major: 0, minor: 999_999), mountpoint: "/", type: "", source: "")
    let outcomes = MountTuning().apply(to: nowhere)
    #expect(outcomes.map { $0.failure?.errno } == [ENOENT, ENOENT])
    #expect(outcomes[0].description.hasSuffix("not set, No such file or directory"))
  }

  @Test func theDefaultLimitIsATenthOfMemory() {
    let limit = MountTuning.defaultMaxDirtyBytes
    #expect(limit > 1 << 20 && limit <= 1 << 30)
  }
}
