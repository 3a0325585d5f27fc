import ArgumentParser
import DirectoryStore
import Glibc
import RegionCore
import S3Store

/// Makes a region that is dense and huge without writing it: every chunk refers to one of a few
/// stored units. For the bench; such a region behaves like one that was written byte by byte.
@main
struct Synthesize: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "regionfs-synthesize",
    abstract: "Make a dense region of any size in a store, by its map alone.")

  @Argument(help: "file:///directory or s3://bucket/prefix; credentials as for regionfs.")
  var store: String
  @Argument(help: "The region's name at the top of the mount.")
  var name: String
  @Option(help: "Its size in GiB.")
  var gibibytes: UInt64 = 1024

  func run() async throws {
    guard let name = FileName(name) else { throw ValidationError("\(name) is no file name") }
    guard gibibytes > 0, gibibytes << 30 <= Limits.regionSize else {
      throw ValidationError("a region has 1 to \(Limits.regionSize >> 30) GiB")
    }
    let objects = try DenseRegion(size: gibibytes << 30).objects(name: name)
    let target = try openStore()
    for (key, bytes) in objects {
      _ = try await target.put(key, IOBuffer(bytes), condition: .absent, priority: .demand)
    }
  }

  private func openStore() throws -> any ObjectStore {
    let scheme = "file://"
    if store.hasPrefix(scheme) {
      return try DirectoryStore(directory: String(store.dropFirst(scheme.count)))
    }
    var environment: [String: String] = [:]
    // The AWS_ variables say where and who.
    for name in [
      "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION",
      "AWS_ENDPOINT_URL_S3", "AWS_EC2_METADATA_DISABLED",
    ] {
      // SAFETY: the value is copied at once and nothing changes the environment.
      if let value = unsafe getenv(name) { environment[name] = unsafe String(cString: value) }
    }
    return try S3Store(try S3Configuration(url: store, environment: environment))
  }
}

/// The objects of a dense region: one segment, one checkpoint, a root, a name.
struct DenseRegion {
  let size: UInt64
  private let group = GroupID.random()
  private let geometry = Geometry.standard
  private let segment = ObjectID(epoch: 1, random: .random())
  private let checkpoint = ObjectID(epoch: 1, random: .random())
  private let first = CommitID(number: 0, nonce: .random())
  private let commit = CommitID(number: 1, nonce: .random())
  private let time: Timestamp
  /// Units in the segment; chunk `i` has the content of unit `i % unitCount`.
  private static let unitCount = 32

  init(size: UInt64) {
    self.size = size
    var now = timespec()
    // SAFETY: clock_gettime writes one timespec.
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    time = Timestamp(nanoseconds: Int64(now.tv_sec) * 1_000_000_000)
  }

  /// Keys and bytes, in an order in which nothing refers to what is not there yet.
  func objects(name: FileName) throws -> [(ObjectKey, [UInt8])] {
    let (segmentBytes, units) = try encodeSegment()
    let (checkpointBytes, reference) = try encodeCheckpoint(units)
    var root = Root(
      group: group, geometry: geometry, claim: .free, holder: "", nonce: commit.nonce, log: .zero,
      time: time)
    root.commit = commit
    root.history = [first]
    root.checkpoint = reference
    let record = GroupRecord(group: group, name: name, kind: .file, serial: 1)
    return [
      (ObjectKeys.segment(group, segment), segmentBytes),
      (ObjectKeys.map(group, checkpoint), checkpointBytes),
      (ObjectKeys.root(of: group), try RootCodec.encode(root)),
      (GroupNames.key(for: name), try GroupRecordCodec.encode(record)),
    ]
  }

  private func randomUnit() -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    var bytes: [UInt8] = []
    bytes.reserveCapacity(Int(geometry.chunkSize))
    while bytes.count < Int(geometry.chunkSize) {
      let word = generator.next()
      for shift in stride(from: 0, to: 64, by: 8) {
        bytes.append(UInt8(truncatingIfNeeded: word >> UInt64(shift)))
      }
    }
    return bytes
  }

  private func encodeSegment() throws -> ([UInt8], [StoredUnit]) {
    var bytes = SegmentCodec.encodeHeader(group: group, epoch: 1, commit: commit.number)
    var units: [StoredUnit] = []
    var table = SegmentTable(
      group: group, epoch: 1, commit: commit.number, parent: first.nonce, index: 0, count: 1)
    for number in 0..<Self.unitCount {
      let content = randomUnit()
      let unit = StoredUnit(
        segment: segment, offset: UInt64(bytes.count), storedLength: UInt32(content.count),
        pageCount: UInt32(geometry.pagesPerChunk), checksum: CRC32C.checksum(content))
      let extent = Extent(
        firstPage: geometry.firstPage(of: ChunkIndex(number)), pageCount: geometry.pagesPerChunk,
        source: .unit(unit, firstPageInUnit: 0))
      let checksums = stride(from: 0, to: content.count, by: Geometry.pageSize).map {
        CRC32C.checksum(content[$0..<$0 + Geometry.pageSize])
      }
      table.changes.append(.data(1, extent, pageChecksums: checksums))
      units.append(unit)
      bytes += content
    }
    let encoded = try SegmentCodec.encodeTable(table, geometry: geometry)
    let footer = SegmentCodec.encodeFooter(
      tableOffset: UInt32(bytes.count), tableLength: UInt32(encoded.count),
      tableChecksum: CRC32C.checksum(encoded))
    return (bytes + encoded + footer, units)
  }

  private func encodeCheckpoint(
    _ units: [StoredUnit]
  ) throws -> ([UInt8], Root.CheckpointReference) {
    var bytes = CheckpointCodec.encodeHeader(group: group, epoch: 1, commit: commit.number)
    func append(_ page: [UInt8]) -> CheckpointIndex.PageReference {
      defer { bytes += page }
      return .init(
        object: checkpoint, offset: UInt64(bytes.count), length: UInt32(page.count),
        checksum: CRC32C.checksum(page))
    }
    let chunks = (0..<Limits.chunksPerMapPage).map { chunk in
      let unit = units[Int(chunk) % units.count]
      let extent = Extent(
        firstPage: 0, pageCount: geometry.pagesPerChunk, source: .unit(unit, firstPageInUnit: 0))
      return MapPage.Chunk(index: UInt16(chunk), extents: [extent])
    }
    // A page of the map is relative to its place, so one serves everywhere.
    let page = append(
      try CheckpointCodec.encodeMapPage(MapPage(chunks: chunks), geometry: geometry))
    let pageCount = UInt32(
      (size >> geometry.chunkShift) / Limits.chunksPerMapPage)
    let top = Inode(
      id: 1, parent: 0, name: nil, kind: .file, mode: 0o644, uid: getuid(), gid: getgid(),
      size: size, time: time)
    let names = append(try CheckpointCodec.encodeNamePage(NamePage(inodes: [top])))
    let index = CheckpointIndex(
      group: group, commit: commit,
      mapPages: (0..<pageCount).map { .init(file: 1, number: $0, page: page) },
      namePages: [.init(number: 0, page: names)])
    let encoded = try CheckpointCodec.encodeIndex(index)
    let reference = Root.CheckpointReference(
      object: checkpoint, indexOffset: UInt64(bytes.count), indexLength: UInt32(encoded.count),
      indexChecksum: CRC32C.checksum(encoded), commit: commit)
    return (bytes + encoded, reference)
  }
}
