@testable import RegionCore

/// What is done with values that the parsers accepted: a store can be wrong in ways that no format
/// shows, such as directories that are inside each other.
enum ParsedUse {
  /// Makes a tree of a page's inodes, and asks and changes it.
  @Sendable static func names(_ page: NamePage) throws(FuzzFinding) {
    let tree = Namespace(inodes: page.inodes)
    for inode in page.inodes {
      _ = tree.path(of: inode.id)
      for time in [inode.accessed, inode.modified, inode.changed] {
        guard (0..<1_000_000_000).contains(time.fraction),
          time.seconds &* 1_000_000_000 &+ time.fraction == time.nanoseconds
        else { throw FuzzFinding("\(time) has \(time.seconds) s and \(time.fraction) ns") }
      }
      for entry in tree.entries(of: inode.id) {
        guard tree.child(entry.name, of: inode.id)?.id == entry.id else {
          throw FuzzFinding("entry \(entry.id) of \(inode.id) is not found by its name")
        }
        // Into each directory that there is, itself among them.
        for other in page.inodes.prefix(8) where other.kind == .directory {
          _ = try? tree.rename(
            entry.name, in: inode.id, to: entry.name, in: other.id, replacing: true,
            at: inode.changed)
        }
      }
    }
  }

  /// Merges a trace with a start that reads some of it, and makes pulls of it: no chunk may come twice
  /// or get lost.
  @Sendable static func trace(_ trace: AccessTrace) throws(FuzzFinding) {
    // A few bytes name thousands of chunks, and fewer show the same.
    guard trace.chunkCount <= 512 else { return }
    func places(_ trace: AccessTrace) -> [AccessTrace.Place] {
      trace.entries.flatMap { entry in
        entry.chunks.map { AccessTrace.Place(file: entry.file, chunk: $0) }
      }
    }
    var start = TraceRecording(geometry: trace.geometry)
    for (number, place) in places(trace).enumerated() where number % 3 != 0 {
      start.note(place.file, place.chunk, isStream: false)
    }
    let merged = trace.merged(with: start)
    guard Set(places(merged)) == Set(places(trace)), (try? AccessTraceCodec.encode(merged)) != nil
    else { throw FuzzFinding("merging changed what is in a trace of \(trace.chunkCount) chunks") }
    let pulled = merged.byFile.reduce(0) { $0 + $1.ranges.reduce(0) { $0 + $1.count } }
    guard pulled == trace.chunkCount else { throw FuzzFinding("\(pulled) chunks are pulled") }
  }

  /// Takes a table's changes into the maps of its files; no page may lie in two extents.
  @Sendable static func map(_ table: SegmentTable) throws(FuzzFinding) {
    let geometry = Geometry.standard
    var files: [FileID: FileMap] = [:]
    for change in table.changes {
      switch change {
      case .data(let file, let extent, _):
        files[file, default: FileMap()].apply(extent, geometry: geometry)
      case .zero(let file, let pages):
        files[file, default: FileMap()].applyZero(pages, geometry: geometry)
      case .name: break
      }
    }
    for map in files.values {
      for chunk in map.patches.keys {
        var end = geometry.firstPage(of: chunk)
        for extent in map.resolve(chunk, base: [], geometry: geometry) ?? [] {
          guard extent.firstPage >= end, extent.pageCount > 0 else {
            throw FuzzFinding("extents of chunk \(chunk) overlap")
          }
          end = extent.pages.upperBound
        }
      }
    }
  }
}
