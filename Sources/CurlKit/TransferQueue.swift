/// Decides which waiting transfer starts next. Pure: no I/O, no clock, no lock.
///
/// | class | starts while |
/// |---|---|
/// | demand | all active < `demandLimit` |
/// | readAhead | all active < `activeLimit` |
/// | background | all active < `activeLimit` and active background < `backgroundLimit` |
///
/// Within a class first come, first served; a class never starts while a more urgent one could.
struct TransferQueue<Item> {
  let demandLimit: Int
  let activeLimit: Int
  let backgroundLimit: Int

  private var waiting: [[(id: UInt64, item: Item)]] = [[], [], []]
  private(set) var active: [Int] = [0, 0, 0]

  init(demandLimit: Int, activeLimit: Int, backgroundLimit: Int) {
    precondition(
      0 < backgroundLimit && backgroundLimit <= activeLimit && activeLimit <= demandLimit,
      "transfer limits: 0 < background <= active <= demand")
    self.demandLimit = demandLimit
    self.activeLimit = activeLimit
    self.backgroundLimit = backgroundLimit
  }

  var activeCount: Int { active[0] + active[1] + active[2] }
  var waitingCount: Int { waiting[0].count + waiting[1].count + waiting[2].count }

  mutating func append(_ item: Item, id: UInt64, priority: HTTPPriority) {
    waiting[priority.rawValue].append((id, item))
  }

  /// Takes out the next transfer that may start now and counts it as active.
  mutating func next() -> Item? {
    for priority in HTTPPriority.allCases where !waiting[priority.rawValue].isEmpty {
      guard mayStart(priority) else { continue }
      active[priority.rawValue] += 1
      return waiting[priority.rawValue].removeFirst().item
    }
    return nil
  }

  /// An active transfer of this class has ended.
  mutating func finished(_ priority: HTTPPriority) {
    precondition(active[priority.rawValue] > 0, "a transfer ended twice")
    active[priority.rawValue] -= 1
  }

  /// Takes out a transfer that has not started; nil if there is none of that id.
  mutating func remove(id: UInt64, priority: HTTPPriority) -> Item? {
    guard let index = waiting[priority.rawValue].firstIndex(where: { $0.id == id }) else {
      return nil
    }
    return waiting[priority.rawValue].remove(at: index).item
  }

  /// Takes out everything that has not started.
  mutating func removeAll() -> [Item] {
    defer { waiting = [[], [], []] }
    return waiting.joined().map(\.item)
  }

  private func mayStart(_ priority: HTTPPriority) -> Bool {
    switch priority {
    case .demand: activeCount < demandLimit
    case .readAhead: activeCount < activeLimit
    case .background: activeCount < activeLimit && active[2] < backgroundLimit
    }
  }
}
