/// Checks one segment: its header, footer, table and length, that the units which the map wants lie
/// in its payload, and on demand their bytes.
struct SegmentAudit: Sendable {
  let objects: GroupObjects
  let object: ObjectID
  let readsData: Bool

  /// What was found.
  struct Found: Sendable {
    var bytesRead: UInt64 = 0
    var findings: [AuditFinding] = []
  }

  private var key: ObjectKey { objects.segmentKey(object) }

  /// - Parameters:
  ///   - units: what the map refers to.
  ///   - length: what the root says; nil where it does not.
  func run(
    units: Set<StoredUnit>, length: UInt64?, progress: @Sendable (UInt64) -> Void
  ) async -> Result<Found, RemoteError> {
    await catching { () async throws(RemoteError) in
      var found = Found()
      let (total, payloadEnd) = try await frame()
      if let length, length != total {
        found.findings.append(damage("it has \(total) bytes, the root says \(length)"))
      }
      var present: [StoredUnit] = []
      for unit in units.sorted(by: { $0.offset < $1.offset }) {
        let range = unit.range
        if range.lowerBound >= UInt64(SegmentCodec.headerLength), range.upperBound <= payloadEnd {
          present.append(unit)
        } else {
          found.findings.append(
            damage("the map refers to its bytes \(range), which are no payload"))
        }
      }
      if readsData { try await read(present, &found, progress) }
      return found
    }
  }

  private func damage(_ cause: String) -> AuditFinding {
    AuditFinding(
      severity: .error, object: objects.address(key), cause: cause, remedy: GroupAudit.restore)
  }

  /// Reads header, footer and table; the object's length and where its payload ends.
  private func frame() async throws(RemoteError) -> (total: UInt64, payloadEnd: UInt64) {
    let head = IOBuffer(capacity: SegmentCodec.headerLength)
    let headerEnd = UInt64(SegmentCodec.headerLength)
    let info = try await objects.get(key, range: 0..<headerEnd, into: head, priority: .background)
    let footerLength = UInt64(SegmentCodec.footerLength)
    let total = info.totalLength
    guard total >= headerEnd + footerLength else { throw invalid("it is too short") }
    let tail = IOBuffer(capacity: SegmentCodec.footerLength)
    _ = try await objects.get(
      key, range: total - footerLength..<total, into: tail, priority: .background)
    let header = try objects.parsing(key) { () throws(FormatError) in
      try SegmentCodec.decodeHeader(head.array)
    }
    guard header.group == objects.group, header.epoch == object.epoch else {
      throw invalid("its header names another group or epoch")
    }
    let footer = try objects.parsing(key) { () throws(FormatError) in
      try SegmentCodec.decodeFooter(tail.array)
    }
    guard UInt64(footer.length) == total else {
      throw invalid("it has \(total) bytes, its footer says \(footer.length)")
    }
    try await table(footer.tableOffset, footer.tableLength, footer.tableChecksum)
    return (total, UInt64(footer.tableOffset))
  }

  private func table(
    _ offset: UInt32, _ length: UInt32, _ checksum: UInt32
  ) async throws(RemoteError) {
    let range = UInt64(offset)..<UInt64(offset) + UInt64(length)
    let buffer = IOBuffer(capacity: Int(length))
    _ = try await objects.get(key, range: range, into: buffer, priority: .background)
    guard unsafe CRC32C.checksum(buffer.bytes) == checksum else {
      throw .damaged(
        object: objects.address(key), FormatError(.checksum, what: "segment table"))
    }
  }

  private func invalid(_ why: String) -> RemoteError {
    .damaged(object: objects.address(key), FormatError(.invalid(why), what: "segment"))
  }

  /// Reads the units and compares their checksums. Neighbours are read together; a unit that is
  /// damaged is asked for again, alone, before it counts as damaged.
  private func read(
    _ units: [StoredUnit], _ found: inout Found, _ progress: @Sendable (UInt64) -> Void
  ) async throws(RemoteError) {
    for fetch in Self.fetches(units) {
      let buffer = objects.engine.buffers.take(fetch.range.count)
      _ = try await objects.get(key, range: fetch.range, into: buffer, priority: .background)
      let isIntact = fetch.isIntact(buffer)
      objects.engine.buffers.give(buffer)
      let bytes = fetch.units.reduce(0) { $0 + UInt64($1.storedLength) }
      found.bytesRead += bytes
      progress(bytes)
      guard !isIntact else { continue }
      for unit in fetch.units {
        let alone = FetchPlan.Fetch(segment: object, range: unit.range, units: [unit])
        switch await catching({ () async throws(RemoteError) in
          try await objects.units(alone, priority: .background)
        }) {
        case .success(let buffer): objects.engine.buffers.give(buffer)
        case .failure(.damaged):
          found.findings.append(damage("its bytes \(unit.range) do not match their checksum"))
        case .failure(let error): throw error
        }
      }
    }
  }

  /// Ranges of a few MiB that hold all of the units, which are in order and may overlap.
  private static func fetches(_ units: [StoredUnit]) -> [FetchPlan.Fetch] {
    var result: [FetchPlan.Fetch] = []
    for unit in units {
      if let last = result.indices.last,
        unit.offset <= result[last].range.upperBound + FetchPlan.mergeGap,
        unit.range.upperBound <= result[last].range.lowerBound + (4 << 20)
          || unit.range.upperBound <= result[last].range.upperBound
      {
        let start = result[last].range.lowerBound
        result[last].range = start..<max(result[last].range.upperBound, unit.range.upperBound)
        result[last].units.append(unit)
      } else {
        result.append(FetchPlan.Fetch(segment: unit.segment, range: unit.range, units: [unit]))
      }
    }
    return result
  }
}
