/// Which whole pages a write of some bytes changes, and how their images are made.
struct WritePlan {
  /// Where the bytes go.
  let offset: UInt64
  /// How many they are.
  let count: Int
  /// The region's size before.
  let size: UInt64

  /// The first byte after them.
  var end: UInt64 { offset + UInt64(count) }
  /// The pages they touch.
  var pages: Range<PageIndex> { Geometry.pages(touching: offset..<end) }

  /// Pages of which old bytes stay, so that these must be known: the first or last, if the write
  /// covers only a part of it and the rest lies within the old size.
  var mergedPages: [PageIndex] {
    var merged: [PageIndex] = []
    let first = pages.lowerBound
    if offset & 4095 != 0, first << Geometry.pageShift < size { merged.append(first) }
    let last = pages.upperBound - 1
    let lastIsMerged = end & 4095 != 0 && end < size
    if lastIsMerged, merged.last != last { merged.append(last) }
    return merged
  }

  /// The pages' new content: the caller's own bytes where they are whole pages.
  // SAFETY: used only within the call whose caller owns the bytes, or with `owner`, which does.
  @safe struct Image {
    /// Keeps a merged copy alive; nil where `bytes` are the caller's.
    let owner: IOBuffer?
    let bytes: UnsafeRawBufferPointer

    /// The part that `pages` take up.
    func pages(_ pages: Range<PageIndex>, of plan: WritePlan) -> UnsafeRawBufferPointer {
      let start = Int(pages.lowerBound - plan.pages.lowerBound) << Int(Geometry.pageShift)
      return unsafe bytes.bytes(start..<start + pages.count << Int(Geometry.pageShift))
    }
  }

  /// Makes the image. Old bytes come from the data file; what lies beyond the old size is zero.
  func image(of source: UnsafeRawBufferPointer, _ region: Region) throws(LocalError) -> Image {
    if offset & 4095 == 0, count & 4095 == 0 { return unsafe Image(owner: nil, bytes: source) }
    let length = pages.count << Int(Geometry.pageShift)
    let buffer = IOBuffer(capacity: length)
    buffer.count = length
    let memory = unsafe buffer.memory
    let start = pages.lowerBound << Geometry.pageShift
    for page in pages.count > 1 ? [0, pages.count - 1] : [0] {
      let at = page << Int(Geometry.pageShift)
      let target = unsafe UnsafeMutableRawBufferPointer(
        rebasing: memory[at..<at + Geometry.pageSize])
      unsafe target.initializeMemory(as: UInt8.self, repeating: 0)
      let pageStart = start + UInt64(at)
      guard pageStart < size, mergedPages.contains(pages.lowerBound + UInt64(page)) else {
        continue
      }
      let known = Int(min(UInt64(Geometry.pageSize), size - pageStart))
      _ = try unsafe region.data.read(into: target.prefixBytes(known), at: pageStart)
    }
    let skip = Int(offset - start)
    unsafe UnsafeMutableRawBufferPointer(rebasing: memory[skip..<skip + count]).copyMemory(
      from: source)
    return unsafe Image(owner: buffer, bytes: buffer.bytes)
  }

  /// The pages whose content really changes: equal ones at both ends are left out (kernels write
  /// back more than was dirtied). All of them where the old content is not known; that of a single page is not
  /// worth a read from the disk, for somebody dirtied it.
  func changedPages(_ image: UnsafeRawBufferPointer, _ region: Region) throws(LocalError)
    -> Range<PageIndex>
  {
    let known = pages.clamped(to: 0..<Geometry.pageCount(ofBytes: size))
    guard known == pages, region.areValid(pages) else { return pages }
    let old = region.engine.buffers.take(Geometry.pageSize)
    defer { region.engine.buffers.give(old) }
    let memory = unsafe old.memory.prefixBytes(Geometry.pageSize)
    func isEqual(_ page: Int) throws(LocalError) -> Bool {
      let start = (pages.lowerBound + UInt64(page)) << Geometry.pageShift
      guard pages.count > 1 || region.data.isCached(pageAt: start) else { return false }
      old.count = try unsafe region.data.read(into: memory, at: start)
      guard old.count == Geometry.pageSize else { return false }
      return unsafe image.bytes(page << 12..<(page + 1) << 12).elementsEqualBytes(old.bytes)
    }
    var first = 0
    var end = pages.count
    while first < end, try isEqual(first) { first += 1 }
    while end > first, try isEqual(end - 1) { end -= 1 }
    return pages.lowerBound + UInt64(first)..<pages.lowerBound + UInt64(end)
  }
}

/// Which pages zeroing some bytes changes: whole ones become zero, the edges are merged.
struct ZeroPlan {
  /// A page of which some bytes become zero.
  struct Edge {
    var page: PageIndex
    /// The bytes within the page.
    var zeroed: Range<Int>
  }

  /// Partly zeroed pages, in order; at most two.
  private(set) var edges: [Edge] = []
  /// Pages that become zero as a whole.
  private(set) var whole: Range<PageIndex> = 0..<0

  /// Plans the zeroing of `bytes` in a region that has `oldSize` bytes before and `newSize` after.
  /// What lies beyond both is zero already.
  init(_ bytes: Range<UInt64>, oldSize: UInt64, newSize: UInt64) {
    let bytes = bytes.clamped(to: 0..<oldSize)
    guard !bytes.isEmpty else { return }
    // Nothing of the region lies behind its end: a zeroed tail there makes the last page whole.
    let end = bytes.upperBound == oldSize ? (oldSize + 4095) & ~4095 : bytes.upperBound
    let firstPage = bytes.lowerBound >> Geometry.pageShift
    let lastPage = end >> Geometry.pageShift
    let head = Int(bytes.lowerBound & 4095)
    let tail = Int(end & 4095)
    if firstPage == lastPage {
      edges = [Edge(page: firstPage, zeroed: head..<tail)]
      return
    }
    if head > 0 { edges.append(Edge(page: firstPage, zeroed: head..<Geometry.pageSize)) }
    whole = (head > 0 ? firstPage + 1 : firstPage)..<lastPage
    if tail > 0 { edges.append(Edge(page: lastPage, zeroed: 0..<tail)) }
  }

  /// All pages it changes, as one range (empty if none).
  var touched: Range<PageIndex> {
    let first = edges.first.map { min($0.page, whole.isEmpty ? $0.page : whole.lowerBound) }
    let last = edges.last.map { max($0.page + 1, whole.isEmpty ? 0 : whole.upperBound) }
    guard let first, let last else { return whole }
    return first..<last
  }

  /// The runs of the log record, in order.
  var runs: [PageRun] {
    var runs = edges.map { PageRun($0.page..<$0.page + 1, isZero: false) }
    if !whole.isEmpty { runs.append(PageRun(whole, isZero: true)) }
    return runs.sorted { $0.pages.lowerBound < $1.pages.lowerBound }
  }

  /// The edges' images, one after another.
  func image(_ region: Region) throws(LocalError) -> IOBuffer {
    let buffer = IOBuffer(capacity: edges.count << Int(Geometry.pageShift))
    buffer.count = buffer.capacity == 1 ? 0 : edges.count << Int(Geometry.pageShift)
    for (index, edge) in edges.enumerated() {
      let at = index << Int(Geometry.pageShift)
      let target = unsafe UnsafeMutableRawBufferPointer(
        rebasing: buffer.memory[at..<at + Geometry.pageSize])
      unsafe target.initializeMemory(as: UInt8.self, repeating: 0)
      _ = try unsafe region.data.read(into: target, at: edge.page << Geometry.pageShift)
      unsafe UnsafeMutableRawBufferPointer(rebasing: target[edge.zeroed])
        .initializeMemory(as: UInt8.self, repeating: 0)
    }
    return buffer
  }
}

extension Region {
  /// Applies a logged record to the data file; `payload` has its pages. Called with the group's lock
  /// held, by a write or by recovery, after space was made sure of. After an error the bytes of the
  /// record's pages are not known.
  func apply(_ record: DataRecord, _ payload: UnsafeRawBufferPointer) throws(LocalError) {
    let oldSize = currentSize.load(ordering: .relaxed)
    if record.size > oldSize { try resize(to: record.size) }
    do throws(LocalError) {
      var offset = 0
      for run in record.runs {
        if run.isZero {
          try replaceWithZeros(run.pages)
        } else {
          let length = run.pages.count << Int(Geometry.pageShift)
          try unsafe replace(run.pages, with: payload.bytes(offset..<offset + length))
          offset += length
        }
      }
      if record.size < oldSize { try resize(to: record.size) }
    } catch {
      if record.size > oldSize { try resize(to: oldSize) }
      throw error
    }
  }
}
