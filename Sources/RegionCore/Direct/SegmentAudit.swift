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
      let frame = try await objects.frame(of: object)
      if let length, length != frame.length {
        found.findings.append(damage("it has \(frame.length) bytes, the root says \(length)"))
      }
      var present: [StoredUnit] = []
      for unit in units.sorted(by: { $0.offset < $1.offset }) {
        let range = unit.range
        if range.lowerBound >= UInt64(SegmentCodec.headerLength),
          range.upperBound <= frame.payloadEnd
        {
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
