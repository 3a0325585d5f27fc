import CFuse
import Glibc

/// A name that cannot be an entry of a directory.
struct InvalidName: Error {
  var length: Int
  /// NAME_MAX of Linux.
  static let longest = 255

  static func check(_ name: [UInt8]) throws(InvalidName) {
    let isValid =
      (1...longest).contains(name.count) && !name.contains(0) && !name.contains(UInt8(ascii: "/"))
    if !isValid { throw InvalidName(length: name.count) }
  }
}

/// What the kernel asks for at most; a guard against a wrong `size`, which is memory here.
private let largestDirectoryRequest = 4 << 20

/// Packs entries and answers; on throwing, the request is not answered yet.
func sendEntries(
  _ entries: some Sequence<DirectoryEntry>, size: Int, to request: Request
) throws(InvalidName) {
  let capacity = min(max(size, 0), largestDirectoryRequest)
  // SAFETY: the memory lives until the request was answered; `pack` fills `used` bytes of it.
  let failure: InvalidName? = unsafe withUnsafeTemporaryAllocation(
    byteCount: capacity, alignment: MemoryLayout<UInt64>.alignment
  ) { buffer in
    do throws(InvalidName) {
      let used = unsafe try pack(entries, into: buffer)
      unsafe request.answer("fuse_reply_buf") { request in
        unsafe fuse_reply_buf(
          request, buffer.baseAddress?.assumingMemoryBound(to: CChar.self), used)
      }
      return nil
    } catch {
      return error
    }
  }
  if let failure { throw failure }
}

/// Fills `buffer` with entries by libfuse `fuse_add_direntry`; returns the bytes used.
@unsafe
func pack(
  _ entries: some Sequence<DirectoryEntry>, into buffer: UnsafeMutableRawBufferPointer
) throws(InvalidName) -> Int {
  var used = 0
  var status = stat()
  for entry in entries {
    try InvalidName.check(entry.name)
    status.st_ino = .init(entry.inode)
    status.st_mode = .init(entry.type)
    // SAFETY: libfuse writes only if the entry fits `room`, and returns what it takes. It does not
    // look at the request.
    let room = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[used...])
    let needed = unsafe withUnsafePointer(to: status) { status in
      unsafe withCString(of: entry.name) { name in
        unsafe fuse_add_direntry(
          nil, room.baseAddress?.assumingMemoryBound(to: CChar.self), room.count, name, status,
          off_t(entry.nextOffset))
      }
    }
    if needed > room.count { break }
    used += needed
  }
  return used
}
