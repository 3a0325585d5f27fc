import RegionCore
import Glibc

extension SimulatedDisk {
  /// The disk as it is now, with what is not durable.
  public func copy() -> SimulatedDisk { SimulatedDisk(state.withLock { $0 }) }

  /// What a choice about the rest is about.
  public enum Part: Sendable, CaseIterable {
    /// A file of a write log.
    case log
    /// Cached bytes.
    case data
    /// Which chunks are cached.
    case state
    /// Any other file.
    case other
    /// A change of names.
    case names
  }

  /// The disk as it is found after the power was lost now. For everything that was not synced
  /// `choose` is told what it is and how many changes of it there were, n, and says how many of
  /// them, 0 ... n, are kept.
  public func afterPowerLoss(_ choose: (Part, Int) -> Int) -> SimulatedDisk {
    SimulatedDisk(state.withLock { $0.afterLoss(choose) })
  }
}

extension SimulatedDisk.State {
  // MARK: Names

  func find(_ path: String) -> UInt64? {
    var node: UInt64 = 1
    for part in path.split(separator: "/") {
      guard let next = nodes[node]?.entries[String(part)] else { return nil }
      node = next
    }
    return node
  }

  /// The directory and name of a path whose parent exists.
  func entry(_ path: String) throws(LocalError) -> SimulatedDisk.NameChange.Entry {
    let parts = path.split(separator: "/")
    let parent = parts.dropLast().map { "/" + $0 }.joined()
    guard let name = parts.last, let directory = find(parent) else {
      throw LocalError("open", path: path, code: ENOENT)
    }
    return SimulatedDisk.NameChange.Entry(directory: directory, name: String(name))
  }

  mutating func make(_ node: Node, at path: String) throws(LocalError) -> UInt64 {
    let entry = try entry(path)
    let number = nextNode
    nextNode += 1
    nodes[number] = node
    apply(SimulatedDisk.NameChange(effects: [(entry, number)]))
    return number
  }

  mutating func apply(_ change: SimulatedDisk.NameChange) {
    for (entry, node) in change.effects { nodes[entry.directory]?.entries[entry.name] = node }
    pending.append(change)
  }

  /// Makes the changes of a directory's names durable, with those that came before them.
  mutating func syncNames(of directory: UInt64) {
    var needed = Set<SimulatedDisk.NameChange.Entry>()
    var durable = Set<Int>()
    for (index, change) in pending.enumerated().reversed() {
      guard
        change.effects.contains(where: {
          $0.entry.directory == directory || needed.contains($0.entry)
        })
      else { continue }
      durable.insert(index)
      for effect in change.effects { needed.insert(effect.entry) }
    }
    for index in durable.sorted() { keep(pending[index]) }
    pending = pending.indices.filter { !durable.contains($0) }.map { pending[$0] }
  }

  private mutating func keep(_ change: SimulatedDisk.NameChange) {
    for (entry, node) in change.effects {
      nodes[entry.directory]?.durableEntries[entry.name] = node
    }
  }

  // MARK: Losing power

  func afterLoss(_ choose: (SimulatedDisk.Part, Int) -> Int) -> SimulatedDisk.State {
    var kept = self
    var lost = Set<SimulatedDisk.NameChange.Entry>()
    for change in pending {
      let entries = change.effects.map(\.entry)
      if entries.contains(where: lost.contains) || choose(.names, 1) == 0 {
        lost.formUnion(entries)
      } else {
        kept.keep(change)
      }
    }
    var left = SimulatedDisk.State()
    left.nextNode = nextNode
    var reached: [UInt64] = [1]
    while let number = reached.popLast() {
      guard let node = kept.nodes[number], left.nodes[number] == nil || number == 1 else {
        continue
      }
      let part = SimulatedDisk.Part(path: node.path)
      left.nodes[number] = node.afterLoss { choose(part, $0) }
      if node.isDirectory {
        reached += node.durableEntries.sorted { $0.key < $1.key }.map(\.value)
      }
    }
    return left
  }
}

extension SimulatedDisk.Part {
  init(path: String) {
    let folder = path.split(separator: "/").dropLast().last
    switch folder {
    case "log": self = .log
    case "data": self = .data
    case "state": self = .state
    default: self = .other
    }
  }
}
