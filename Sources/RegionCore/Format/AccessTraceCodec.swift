/// The bytes of an `AccessTrace`.
public enum AccessTraceCodec {
  static let frame = Frame(magic: "RGFSTRAC", what: "access trace", limit: Limits.traceLength)
  private static let entryLength = 16

  /// The trace as bytes.
  public static func encode(_ trace: AccessTrace) throws(FormatError) -> [UInt8] {
    try validate(trace)
    var writer = frame.begin(capacity: 48 + trace.entries.count * entryLength)
    writer.random128(trace.group)
    writer.u8(UInt8(trace.geometry.chunkShift))
    writer.reserved(3)
    writer.u32(UInt32(trace.entries.count))
    for entry in trace.entries {
      writer.u64(entry.file)
      writer.u32(UInt32(entry.chunks.lowerBound))
      writer.u16(UInt16(entry.chunks.count))
      writer.u8(entry.unreadStarts)
      writer.reserved(1)
    }
    return try frame.seal(writer)
  }

  /// The trace in `bytes`.
  public static func decode(_ bytes: [UInt8]) throws(FormatError) -> AccessTrace {
    var reader = try frame.open(bytes[...])
    let group = try reader.random128()
    let geometry = try Geometry(decoding: &reader)
    try reader.reserved(3)
    let count = try reader.count(
      try reader.u32(), limit: Limits.traceChunks, minimum: entryLength, of: "entries")
    var trace = AccessTrace(group: group, geometry: geometry)
    trace.entries.reserveCapacity(count)
    for _ in 0..<count {
      let file = try reader.u64()
      let first = ChunkIndex(try reader.u32())
      let chunks = first..<first + ChunkIndex(try reader.u16())
      trace.entries.append(
        AccessTrace.Entry(file: file, chunks: chunks, unreadStarts: try reader.u8()))
      try reader.reserved(1)
    }
    try reader.finish()
    try validate(trace)
    return trace
  }

  /// What reader and writer demand.
  private static func validate(_ trace: AccessTrace) throws(FormatError) {
    func require(_ condition: Bool, _ why: String) throws(FormatError) {
      guard condition else { throw FormatError(.invalid(why), what: frame.what) }
    }
    let end = Limits.regionSize >> trace.geometry.chunkShift
    var left = AccessTrace.capacity(trace.geometry)
    var last: AccessTrace.Entry?
    for entry in trace.entries {
      try require((1...Limits.fileID).contains(entry.file), "inode number out of range")
      try require(!entry.chunks.isEmpty && entry.chunks.upperBound <= end, "chunks out of range")
      try require(entry.chunks.count <= left, "too many chunks")
      try require(entry.unreadStarts < Limits.traceUnreadStarts, "starts out of range")
      left -= entry.chunks.count
      if let last {
        let next = AccessTrace.Place(file: entry.file, chunk: entry.chunks.lowerBound)
        try require(!last.continues(next, entry.unreadStarts), "neighbours are not joined")
      }
      last = entry
    }
    let sorted = trace.entries.sorted {
      ($0.file, $0.chunks.lowerBound) < ($1.file, $1.chunks.lowerBound)
    }
    for (one, next) in zip(sorted, sorted.dropFirst()) where one.file == next.file {
      try require(one.chunks.upperBound <= next.chunks.lowerBound, "a chunk comes twice")
    }
  }
}
