/// Turns a recipe into segments: payload read from the log, checksums, tables.
struct SegmentBuilder {
  /// A segment ready to be uploaded.
  struct Segment {
    var object: ObjectID
    var body: IOBuffer
    var table: SegmentTable
    var reference: Root.SegmentReference
  }

  /// What one segment will hold: pages of files, up to the target size.
  struct Plan: Sendable {
    var parts: [(file: FileID, run: Recipe.Run)] = []
    var names: [NameChange] = []
    var payloadBytes: UInt64 = 0
    /// The most that the table's entries may take, in bytes.
    var tableBytes = 0
  }

  /// Bytes of a table after which another segment begins: half of what the format allows.
  private static let tableTarget = Limits.tableLength / 2

  let group: GroupID
  let geometry: Geometry
  let epoch: Epoch
  let commit: CommitNumber
  let parent: Nonce

  /// Splits a recipe into segments. Runs are cut at chunk ends, because units are.
  static func plan(_ recipe: Recipe, geometry: Geometry) -> [Plan] {
    var plans = [Plan()]
    var changes = 0
    func startSegmentIfFull() {
      let full =
        plans[plans.count - 1].payloadBytes >= UInt64(Limits.segmentTarget)
        || plans[plans.count - 1].tableBytes >= tableTarget
        || changes >= Limits.tableChanges / 2
      if full {
        plans.append(Plan())
        changes = 0
      }
    }
    for (file, runs) in recipe.files {
      for run in runs {
        for part in pieces(of: run, geometry) {
          startSegmentIfFull()
          plans[plans.count - 1].parts.append((file, part))
          changes += 1
          plans[plans.count - 1].tableBytes += 64
          if part.source != nil {
            plans[plans.count - 1].payloadBytes += UInt64(part.pages.count) << Geometry.pageShift
            plans[plans.count - 1].tableBytes += 4 * part.pages.count
          }
        }
      }
    }
    for name in recipe.names {
      startSegmentIfFull()
      plans[plans.count - 1].names.append(name)
      plans[plans.count - 1].tableBytes += length(of: name)
      changes += 1
    }
    return plans
  }

  private static func pieces(of run: Recipe.Run, _ geometry: Geometry) -> [Recipe.Run] {
    guard run.source != nil else { return [run] }
    return geometry.chunks(touchingPages: run.pages).map { run.clamped(to: geometry.pages(of: $0)) }
  }

  /// Reads the payload and makes the object under a name that was never used.
  func build(
    _ plan: Plan, as object: ObjectID, index: Int, count: Int
  ) throws(BuildError) -> Segment {
    var table = SegmentTable(
      group: group, epoch: epoch, commit: commit, parent: parent, index: UInt16(index),
      count: UInt16(count))
    // Room for the table: what its entries may take, bounded by the format.
    let overhead = 4096 + plan.tableBytes
    let body = IOBuffer(capacity: Int(plan.payloadBytes) + overhead)
    append(SegmentCodec.encodeHeader(group: group, epoch: epoch, commit: commit), to: body)
    for (file, run) in plan.parts {
      guard let source = run.source else {
        table.changes.append(.zero(file, run.pages))
        continue
      }
      table.changes.append(try appendUnit(file, run, source, object, to: body))
    }
    table.changes += plan.names.map { .name($0) }
    let reference = try finish(table, object, body)
    return Segment(object: object, body: body, table: table, reference: reference)
  }

  /// Why a segment could not be made.
  enum BuildError: Error {
    /// The log could not be read back.
    case local(LocalError)
    /// The changes break a limit of the format.
    case format(FormatError)
  }

  private func appendUnit(
    _ file: FileID, _ run: Recipe.Run, _ source: LogLocation, _ object: ObjectID, to body: IOBuffer
  ) throws(BuildError) -> SegmentTable.Change {
    let offset = body.count
    let length = run.pages.count << Int(Geometry.pageShift)
    precondition(length <= body.capacity - offset, "a segment's plan counts its payload")
    do throws(LocalError) {
      let target = unsafe UnsafeMutableRawBufferPointer(
        rebasing: body.memory[offset..<offset + length])
      let count = try unsafe source.file.read(into: target, at: source.offset)
      guard count == length else {
        throw LocalError("pread", path: source.file.path, code: 5 /* EIO */)
      }
    } catch {
      throw .local(error)
    }
    body.count = offset + length
    var checksums: [UInt32] = []
    checksums.reserveCapacity(run.pages.count)
    for page in 0..<run.pages.count {
      let start = offset + page << Int(Geometry.pageShift)
      checksums.append(unsafe CRC32C.checksum(body.bytes.bytes(start..<start + Geometry.pageSize)))
    }
    let unit = StoredUnit(
      segment: object, offset: UInt64(offset), storedLength: UInt32(length),
      pageCount: UInt32(run.pages.count),
      checksum: unsafe CRC32C.checksum(body.bytes.bytes(offset..<offset + length)))
    let extent = Extent(
      firstPage: run.pages.lowerBound, pageCount: UInt64(run.pages.count),
      source: .unit(unit, firstPageInUnit: 0))
    return .data(file, extent, pageChecksums: checksums)
  }

  private func finish(_ table: SegmentTable, _ object: ObjectID, _ body: IOBuffer)
    throws(BuildError) -> Root.SegmentReference
  {
    do throws(FormatError) {
      let bytes = try SegmentCodec.encodeTable(table, geometry: geometry)
      let offset = UInt32(body.count)
      let checksum = CRC32C.checksum(bytes)
      append(bytes, to: body)
      append(
        SegmentCodec.encodeFooter(
          tableOffset: offset, tableLength: UInt32(bytes.count), tableChecksum: checksum),
        to: body)
      return Root.SegmentReference(
        object: object, commit: commit, length: UInt32(body.count), tableOffset: offset,
        tableLength: UInt32(bytes.count), tableChecksum: checksum)
    } catch {
      throw .format(error)
    }
  }

  private func append(_ bytes: [UInt8], to body: IOBuffer) {
    unsafe bytes.span.bytes.withUnsafeBytes { unsafe body.append($0) }
  }

  /// The most that an entry of names takes in a table, in bytes.
  private static func length(of change: NameChange) -> Int {
    guard case .set(let inode) = change else { return 64 }
    let attributes = inode.xattrs.reduce(0) { $0 + $1.name.count + $1.value.count + 16 }
    return 256 + (inode.name?.bytes.count ?? 0) + inode.target.count + attributes
  }
}
