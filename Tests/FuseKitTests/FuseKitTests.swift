import FuseKit
import Glibc
import Testing

@Suite struct MountedFilesystem {
  @Test func writtenBytesAreReadBack() throws {
    try MountFixture.with { mount in
      let bytes = pattern(300_000)
      let file = try File(mount.path("file"), O_RDWR | O_CREAT)
      #expect(file.write(bytes) == bytes.count)
      #expect(fsync(file.descriptor) == 0)
      #expect(file.read(bytes.count + 1) == bytes)
      #expect(mount.filesystem.count("fsync") == 1)
    }
  }
}
