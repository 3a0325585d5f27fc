/// A set of pages within one chunk (at most 2,048), as a bitmap.
struct PageSet: Hashable, Sendable {
  private var words: [UInt64]
  private let size: Int

  /// An empty set for a chunk of `size` pages.
  init(size: Int) {
    self.size = size
    words = Array(repeating: 0, count: (size + 63) / 64)
  }

  /// How many pages are in it.
  var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }
  var isFull: Bool { count == size }
  var isEmpty: Bool { words.allSatisfy { $0 == 0 } }

  func contains(_ page: Int) -> Bool { words[page / 64] & 1 << (page % 64) != 0 }

  func contains(_ pages: Range<Int>) -> Bool { pages.allSatisfy(contains) }

  mutating func insert(_ pages: Range<Int>) {
    for page in pages { words[page / 64] |= 1 << (page % 64) }
  }

  /// The runs of pages in `pages` that are not in the set.
  func gaps(in pages: Range<Int>) -> [Range<Int>] {
    var gaps: [Range<Int>] = []
    var start: Int?
    for page in pages {
      if contains(page) {
        if let first = start { gaps.append(first..<page) }
        start = nil
      } else if start == nil {
        start = page
      }
    }
    if let first = start { gaps.append(first..<pages.upperBound) }
    return gaps
  }
}
