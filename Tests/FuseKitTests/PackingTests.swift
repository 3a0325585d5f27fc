import Testing

@testable import FuseKit

@Suite struct PackingTests {
  /// Entries whose making is counted.
  private final class Source {
    var made = 0
    func entries(_ names: [[UInt8]]) -> some Sequence<DirectoryEntry> {
      names.enumerated().lazy.map { index, name in
        self.made += 1
        return DirectoryEntry(name: name, inode: 9, type: 0, nextOffset: Int64(index) + 1)
      }
    }
  }

  private func packed(_ entries: some Sequence<DirectoryEntry>, size: Int) throws -> Int {
    var buffer = [UInt8](repeating: 0xee, count: size)
    return try unsafe buffer.withUnsafeMutableBytes { try unsafe pack(entries, into: $0) }
  }

  /// struct fuse_dirent takes 24 bytes and the name, rounded up to 8.
  @Test func takesAsManyAsFitAndOneMore() throws {
    let source = Source()
    let names = [[UInt8]](repeating: Array("12345678".utf8), count: 100)
    let used = try packed(source.entries(names), size: 100)
    #expect(used == 96)
    #expect(source.made == 4)
  }

  @Test func nothingFitsNothing() throws {
    #expect(try packed(Source().entries([[1]]), size: 0) == 0)
    #expect(try packed(Source().entries([]), size: 4096) == 0)
  }

  @Test(arguments: [
    [], [0], [1, 0, 1], Array("a/b".utf8), [UInt8](repeating: 1, count: 256),
  ])
  func refusesWhatTheKernelRefuses(name: [UInt8]) {
    #expect(throws: InvalidName.self) { try packed(Source().entries([name]), size: 4096) }
  }

  @Test func takesTheLongestName() throws {
    let used = try packed(Source().entries([[UInt8](repeating: 1, count: 255)]), size: 4096)
    #expect(used == 280)
  }

  @Test func optionsAreEscaped() {
    #expect(FuseSession.escaped(#"s3://b/a,b\c"#) == #"s3://b/a\,b\\c"#)
  }
}
