/// Runs `body` for all items, at most `width` at a time; the results in the order of the items.
///
/// Failures travel as values (`Result`): errors thrown inside a task group's closure come out wrong
/// in optimised builds (Swift 6.3.1).
public func mapConcurrently<Item: Sendable, Value: Sendable>(
  _ items: [Item], width: Int, _ body: @escaping @Sendable (Item) async -> Value
) async -> [Value] {
  await withTaskGroup(of: (Int, Value).self) { group in
    var results: [Int: Value] = [:]
    var next = 0
    func addOne() {
      guard next < items.count else { return }
      let (at, item) = (next, items[next])
      next += 1
      group.addTask { (at, await body(item)) }
    }
    for _ in 0..<max(1, width) { addOne() }
    while let (at, value) = await group.next() {
      results[at] = value
      addOne()
    }
    return items.indices.compactMap { results[$0] }
  }
}
