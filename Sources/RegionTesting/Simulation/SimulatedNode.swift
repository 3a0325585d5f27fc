import RegionCore

/// A file or directory of a simulated disk: what it is now, what of it is durable, and what happened
/// in between.
struct Node {
  /// A change of a file that is not durable yet.
  enum Change {
    case bytes([UInt8], at: Int)
    case zeros(Range<Int>)
    case length(Int)
  }

  static let sector = 512
  private static let page = 4096

  let isDirectory: Bool
  /// Where it was made; says what kind of file it is.
  let path: String
  private(set) var content: [UInt8] = []
  /// Pages that are no holes.
  private var pages = RangeSet<Int>()
  private(set) var durable: [UInt8] = []
  private var durablePages = RangeSet<Int>()
  private(set) var changes: [Change] = []
  /// Of a directory: its names now, and those that are durable.
  var entries: [String: UInt64] = [:]
  var durableEntries: [String: UInt64] = [:]

  init(isDirectory: Bool, path: String = "") {
    self.isDirectory = isDirectory
    self.path = path
  }

  // MARK: Changing

  mutating func write(_ bytes: [UInt8], at offset: Int) { make(.bytes(bytes, at: offset)) }
  mutating func truncate(to size: Int) { if size != content.count { make(.length(size)) } }
  mutating func punch(_ range: Range<Int>) {
    make(.zeros(range.clamped(to: 0..<max(content.count, range.lowerBound))))
  }

  private mutating func make(_ change: Change) {
    Self.apply(change, to: &content, &pages)
    changes.append(change)
  }

  mutating func sync() {
    durable = content
    durablePages = pages
    changes = []
  }

  private static func apply(
    _ change: Change, to content: inout [UInt8], _ pages: inout RangeSet<Int>
  ) {
    switch change {
    case .bytes(let bytes, let offset):
      grow(&content, to: offset + bytes.count)
      put(bytes, 0..<bytes.count, at: offset, &content)
      if !bytes.isEmpty {
        pages.insert(contentsOf: offset / page..<(offset + bytes.count - 1) / page + 1)
      }
    case .zeros(let range):
      zero(range.clamped(to: 0..<content.count), &content)
      let first = (range.lowerBound + page - 1) / page
      pages.remove(contentsOf: first..<max(first, range.upperBound / page))
    case .length(let size):
      resize(&content, to: size)
      let first = (size + page - 1) / page
      pages.remove(contentsOf: first..<Int.max)
    }
  }

  // MARK: Bytes

  private static func grow(_ content: inout [UInt8], to size: Int) {
    if size > content.count { content += [UInt8](repeating: 0, count: size - content.count) }
  }

  private static func resize(_ content: inout [UInt8], to size: Int) {
    if size < content.count { content.removeLast(content.count - size) }
    grow(&content, to: size)
  }

  private static func put(
    _ bytes: [UInt8], _ part: Range<Int>, at offset: Int, _ content: inout [UInt8]
  ) {
    guard !part.isEmpty else { return }
    // SAFETY: the caller made room for the part; the arrays are distinct.
    unsafe content.withUnsafeMutableBytes { target in
      unsafe bytes.withUnsafeBytes { source in
        unsafe UnsafeMutableRawBufferPointer(rebasing: target[offset..<offset + part.count])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: source[part]))
      }
    }
  }

  private static func zero(_ range: Range<Int>, _ content: inout [UInt8]) {
    guard !range.isEmpty else { return }
    put([UInt8](repeating: 0, count: range.count), 0..<range.count, at: range.lowerBound, &content)
  }

  /// `SEEK_DATA`, `SEEK_HOLE`.
  func seek(_ offset: Int, data: Bool) -> Int? {
    guard offset < content.count else { return nil }
    var page = offset / Self.page
    while page * Self.page < content.count {
      if pages.contains(page) == data { return max(offset, page * Self.page) }
      page += 1
    }
    return data ? nil : content.count
  }

  // MARK: Losing power

  /// What is left of the file when the power goes: `choose(n)` says which of n + 1 states, oldest
  /// first, is kept: of the length, then of each sector.
  func afterLoss(_ choose: (Int) -> Int) -> Node {
    guard !isDirectory, !changes.isEmpty else { return settled(durable, durablePages) }
    var lengths = [durable.count]
    var states: [Int: Int] = [:]
    var longest = durable.count
    for change in changes {
      let length = Self.length(lengths[lengths.count - 1], after: change)
      if length != lengths[lengths.count - 1] { lengths.append(length) }
      longest = max(longest, Self.length(0, after: change))
      for sector in Self.sectors(change, longest) { states[sector, default: 0] += 1 }
    }
    let length = lengths[choose(lengths.count - 1)]
    var kept: [Int: Int] = [:]
    for (sector, count) in states.sorted(by: { $0.key < $1.key }) where sector * 512 < length {
      kept[sector] = choose(count)
    }
    var bytes = durable
    var pages = durablePages
    Self.grow(&bytes, to: longest)
    longest = durable.count
    for change in changes {
      longest = max(longest, Self.length(0, after: change))
      for sector in Self.sectors(change, longest) {
        guard let left = kept[sector], left > 0 else { continue }
        kept[sector] = left - 1
        Self.apply(change, only: sector * Self.sector..<(sector + 1) * Self.sector, &bytes)
        pages.insert(contentsOf: sector / 8..<sector / 8 + 1)
      }
    }
    Self.resize(&bytes, to: length)
    pages.remove(contentsOf: (length + Self.page - 1) / Self.page..<Int.max)
    return settled(bytes, pages)
  }

  private func settled(_ bytes: [UInt8], _ pages: RangeSet<Int>) -> Node {
    var node = Node(isDirectory: isDirectory, path: path)
    (node.content, node.durable) = (bytes, bytes)
    (node.pages, node.durablePages) = (pages, pages)
    (node.entries, node.durableEntries) = (durableEntries, durableEntries)
    return node
  }

  private static func length(_ length: Int, after change: Change) -> Int {
    switch change {
    case .bytes(let bytes, let offset): max(length, offset + bytes.count)
    case .zeros: length
    case .length(let size): size
    }
  }

  /// Sectors that the change gives a new state.
  private static func sectors(_ change: Change, _ longest: Int) -> Range<Int> {
    let range = self.range(change, longest)
    return range.isEmpty ? 0..<0 : range.lowerBound / sector..<(range.upperBound - 1) / sector + 1
  }

  private static func range(_ change: Change, _ longest: Int) -> Range<Int> {
    switch change {
    case .bytes(let bytes, let offset): offset..<offset + bytes.count
    case .zeros(let range): range.clamped(to: 0..<max(longest, range.lowerBound))
    case .length(let size): size..<max(size, longest)
    }
  }

  private static func apply(_ change: Change, only sector: Range<Int>, _ content: inout [UInt8]) {
    let part = range(change, content.count).clamped(to: sector).clamped(to: 0..<content.count)
    switch change {
    case .bytes(let bytes, let offset):
      put(
        bytes, part.lowerBound - offset..<part.upperBound - offset, at: part.lowerBound, &content)
    case .zeros, .length: zero(part, &content)
    }
  }
}
