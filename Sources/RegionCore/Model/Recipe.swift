/// What one commit takes from the log: for each file the pages that changed (the last change of a
/// page wins) and for each inode its state at the cut. Pure.
struct Recipe: Sendable {
  /// Pages of one file with their source.
  struct Run: Sendable {
    var pages: Range<PageIndex>
    /// Where the first page's bytes lie; nil if the pages became zero.
    var source: LogLocation?

    /// The part of the run within `range`, which it meets.
    func clamped(to range: Range<PageIndex>) -> Run {
      let kept = pages.clamped(to: range)
      let skipped = (kept.lowerBound - pages.lowerBound) << Geometry.pageShift
      return Run(
        pages: kept,
        source: source.map { LogLocation(file: $0.file, offset: $0.offset + skipped) })
    }
  }

  /// The last record it contains.
  let cut: SequenceNumber
  /// Bytes of its records in the log.
  let logBytes: UInt64
  /// Of these, those of data records by file.
  let logBytesByFile: [FileID: UInt64]
  /// Changed pages by file, in order, not overlapping.
  let files: [(file: FileID, runs: [Run])]
  /// States of all inodes that changed.
  let names: [NameChange]

  /// A recipe of `entries` (not empty, in order), given the inodes as they were before them (nil:
  /// did not exist) for every inode that they touch.
  init(entries: [LogEntry], before: [FileID: Inode?]) {
    cut = entries.last?.sequence ?? 0
    logBytes = entries.reduce(0) { $0 + UInt64($1.length) }
    logBytesByFile = entries.reduce(into: [:]) { bytes, entry in
      if let file = entry.record.dataFile { bytes[file, default: 0] += UInt64(entry.length) }
    }
    let after = InodeFold.fold(entries, before: before)
    names = after.sorted { $0.key < $1.key }.compactMap { id, inode in
      if let inode { return .set(inode) }
      // What was made and removed within one commit was never seen by anybody.
      return before[id].flatMap { $0 } == nil ? nil : .remove(id)
    }
    var runs: [FileID: [(SequenceNumber, Run)]] = [:]
    for entry in entries {
      guard case .data(let record) = entry.record, after[record.file].flatMap({ $0 }) != nil else {
        continue
      }
      runs[record.file, default: []] += Self.runs(of: record, entry).map { (entry.sequence, $0) }
    }
    files = runs.sorted { $0.key < $1.key }.map { (file: $0.key, runs: Self.resolve($0.value)) }
  }

  private static func runs(of record: DataRecord, _ entry: LogEntry) -> [Run] {
    var offset = entry.payload?.offset ?? 0
    return record.runs.map { run in
      guard !run.isZero, let file = entry.payload?.file else {
        return Run(pages: run.pages, source: nil)
      }
      defer { offset += UInt64(run.pages.count) << Geometry.pageShift }
      return Run(pages: run.pages, source: LogLocation(file: file, offset: offset))
    }
  }

  /// For each page the run with the highest sequence number: sweeps over the runs in order of page
  /// with the active ones in a heap.
  static func resolve(_ runs: [(sequence: SequenceNumber, run: Run)]) -> [Run] {
    let starts = runs.sorted {
      ($0.run.pages.lowerBound, $0.sequence) < ($1.run.pages.lowerBound, $1.sequence)
    }
    var heap = RunHeap()
    var result: [Run] = []
    var next = 0
    var position: PageIndex = 0
    while next < starts.count || !heap.isEmpty {
      if heap.isEmpty { position = max(position, starts[next].run.pages.lowerBound) }
      while next < starts.count, starts[next].run.pages.lowerBound <= position {
        heap.push(starts[next].sequence, starts[next].run)
        next += 1
      }
      guard let top = heap.top else { continue }
      guard top.pages.upperBound > position else {
        heap.pop()
        continue
      }
      // The winner holds until it ends or a newer run may begin.
      let nextStart = next < starts.count ? starts[next].run.pages.lowerBound : PageIndex.max
      let end = min(top.pages.upperBound, nextStart)
      append(top.clamped(to: position..<end), to: &result)
      position = end
    }
    return result
  }

  /// Appends a run, joined to the last one where both are one piece.
  private static func append(_ run: Run, to runs: inout [Run]) {
    guard let last = runs.last, last.pages.upperBound == run.pages.lowerBound else {
      runs.append(run)
      return
    }
    let length = UInt64(last.pages.count) << Geometry.pageShift
    let joins =
      switch (last.source, run.source) {
      case (nil, nil): true
      case (let a?, let b?): a.file === b.file && a.offset + length == b.offset
      default: false
      }
    if joins {
      runs[runs.count - 1].pages = last.pages.lowerBound..<run.pages.upperBound
    } else {
      runs.append(run)
    }
  }
}

/// Runs by sequence number, the newest on top: a binary heap.
private struct RunHeap {
  private var items: [(sequence: SequenceNumber, run: Recipe.Run)] = []

  var isEmpty: Bool { items.isEmpty }
  var top: Recipe.Run? { items.first?.run }

  mutating func push(_ sequence: SequenceNumber, _ run: Recipe.Run) {
    items.append((sequence, run))
    var child = items.count - 1
    while child > 0, items[(child - 1) / 2].sequence < items[child].sequence {
      items.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  mutating func pop() {
    guard let last = items.popLast(), !items.isEmpty else { return }
    items[0] = last
    var parent = 0
    while true {
      var largest = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < items.count {
        if items[child].sequence > items[largest].sequence { largest = child }
      }
      if largest == parent { return }
      items.swapAt(parent, largest)
      parent = largest
    }
  }
}

/// Follows inodes through log records.
enum InodeFold {
  /// The state of every inode that `entries` touch after them; nil: it does not exist.
  static func fold(_ entries: [LogEntry], before: [FileID: Inode?]) -> [FileID: Inode?] {
    var after: [FileID: Inode?] = [:]
    for entry in entries {
      switch entry.record {
      case .data(let record):
        guard var inode = (after[record.file] ?? before[record.file]).flatMap({ $0 }) else {
          continue
        }
        inode.note(record)
        after[record.file] = .some(inode)
      case .names(let changes):
        for change in changes {
          switch change {
          case .set(let inode): after[inode.id] = .some(inode)
          case .remove(let id): after[id] = .some(nil)
          }
        }
      }
    }
    return after
  }

  /// The inodes that a record touches.
  static func touched(by record: LogRecord) -> [FileID] {
    switch record {
    case .data(let record): [record.file]
    case .names(let changes):
      changes.map {
        switch $0 {
        case .set(let inode): inode.id
        case .remove(let id): id
        }
      }
    }
  }
}

extension Inode {
  /// A change of the file's data: its size and times follow. Content written by anyone but root
  /// takes set-id bits away, which the record of that request says separately.
  mutating func note(_ record: DataRecord) {
    size = record.size
    modified = record.time
    changed = record.time
  }
}
