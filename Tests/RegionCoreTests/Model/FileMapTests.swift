import RegionTesting
import Testing

@testable import RegionCore

/// Where the committed content of a file lies, beside a dictionary of pages.
@Suite struct FileMapTests {
  private static let geometry = Geometry(chunkSize: 1 << 16) ?? .standard
  private static let pages: UInt64 = 48

  /// A page's content: which unit, which page in it.
  private struct Place: Hashable {
    var unit: StoredUnit
    var page: UInt32
  }

  private static func extent(_ random: inout SplitMix64, _ number: UInt64) -> Extent {
    let chunk = UInt64.random(in: 0..<3, using: &random)
    let first = UInt64.random(in: 0..<16, using: &random)
    let count = UInt64.random(in: 1...16 - first, using: &random)
    let skipped = UInt32.random(in: 0...3, using: &random)
    let unit = StoredUnit(
      segment: ObjectID(epoch: 1, random: Random128(high: 0, low: number)), offset: 64,
      storedLength: 4096 * (UInt32(count) + skipped), pageCount: UInt32(count) + skipped,
      checksum: 0)
    return Extent(
      firstPage: chunk << 4 + first, pageCount: count, source: .unit(unit, firstPageInUnit: skipped)
    )
  }

  private static func places(_ extents: [Extent]) -> [PageIndex: Place] {
    var places: [PageIndex: Place] = [:]
    for extent in extents {
      guard case .unit(let unit, let first) = extent.source else { continue }
      for page in extent.pages {
        places[page] = Place(unit: unit, page: first + UInt32(page - extent.firstPage))
      }
    }
    return places
  }

  private static func areInOrder(_ extents: [Extent]) -> Bool {
    zip(extents, extents.dropFirst()).allSatisfy { $0.pages.upperBound <= $1.firstPage }
  }

  @Test func agreesWithAPageByPageReference() {
    for seed in 1...400 {
      var random = SplitMix64(seed: UInt64(seed))
      var base: [Extent] = []
      for number in 0..<UInt64.random(in: 0...4, using: &random) {
        base = FileMap.overlay(Self.extent(&random, 1000 + number), on: base)
      }
      #expect(Self.areInOrder(base))
      var expected = Self.places(base)
      var changed: Set<PageIndex> = []
      var map = FileMap()
      for number in 0..<UInt64.random(in: 0...25, using: &random) {
        if random.oneIn(3) {
          let first = UInt64.random(in: 0..<Self.pages, using: &random)
          let zero = first..<UInt64.random(in: first...Self.pages + 9, using: &random)
          map.applyZero(zero, geometry: Self.geometry)
          for page in zero { expected[page] = nil }
          changed.formUnion(zero)
        } else {
          let extent = Self.extent(&random, number)
          map.apply(extent, geometry: Self.geometry)
          expected.merge(Self.places([extent])) { $1 }
          changed.formUnion(extent.pages)
        }
      }
      for chunk in ChunkIndex(0)..<3 {
        let range = Self.geometry.pages(of: chunk)
        let wanted = expected.filter { range.contains($0.key) }
        let mine = base.filter { range.contains($0.firstPage) }
        let known = map.resolve(chunk, base: mine, geometry: Self.geometry) ?? []
        #expect(Self.places(known) == wanted && Self.areInOrder(known), "seed \(seed)")
        // Without the checkpoint's extents it knows a chunk only if every page changed since.
        let blind = map.resolve(chunk, base: nil, geometry: Self.geometry)
        #expect((blind != nil) == range.allSatisfy { changed.contains($0) }, "seed \(seed)")
        if let blind { #expect(Self.places(blind) == wanted, "seed \(seed)") }
      }
    }
  }

  /// Every page of every extent is found where its unit's bytes come to lie.
  @Test func fetchPlansHaveEveryPageAtItsPlace() {
    for seed in 1...200 {
      var random = SplitMix64(seed: UInt64(seed))
      var chunks: [ChunkIndex: [Extent]] = [:]
      // A few segments with units at places of their own, some near, some far apart.
      var ends: [UInt64: UInt64] = [:]
      for _ in 0..<Int.random(in: 0...20, using: &random) {
        var extent = Self.extent(&random, UInt64.random(in: 1...3, using: &random))
        guard case .unit(var unit, let first) = extent.source else { continue }
        unit.offset =
          ends[unit.segment.random.low, default: 64]
          + UInt64.random(in: 0...2, using: &random) * 20_000
        ends[unit.segment.random.low] = unit.range.upperBound
        extent.source = .unit(unit, firstPageInUnit: first)
        let chunk = Self.geometry.chunk(ofPage: extent.firstPage)
        chunks[chunk] = FileMap.overlay(extent, on: chunks[chunk] ?? [])
      }
      let located = chunks.sorted { $0.key < $1.key }.map { (chunk: $0.key, extents: $0.value) }
      let plan = FetchPlan(located)
      for (chunk, extents) in located {
        let places = Self.places(extents)
        var found: Set<PageIndex> = []
        for piece in plan.pieces[chunk] ?? [] {
          let fetch = plan.fetches[piece.fetch]
          for page in piece.pages {
            let inObject =
              fetch.range.lowerBound + UInt64(piece.offset)
              + (page - piece.pages.lowerBound) << Geometry.pageShift
            let place = places[page]
            #expect(fetch.segment == place?.unit.segment, "seed \(seed)")
            #expect(
              inObject == place.map { $0.unit.offset + UInt64($0.page) << Geometry.pageShift },
              "seed \(seed)")
            #expect(fetch.range.contains(inObject + 4095), "seed \(seed)")
            found.insert(page)
          }
        }
        #expect(found == Set(places.keys), "seed \(seed)")
      }
      // Each unit is fetched and verified once; what is near is one request.
      let units = plan.fetches.flatMap(\.units)
      #expect(Set(units).count == units.count)
      for (one, next) in zip(plan.fetches, plan.fetches.dropFirst())
      where one.segment == next.segment {
        #expect(next.range.lowerBound > one.range.upperBound + FetchPlan.mergeGap)
      }
    }
  }
}
