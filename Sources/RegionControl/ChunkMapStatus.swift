/// What a cell of a region's map shows; its raw value is how it is written, on the socket and in a
/// view of plain characters.
public enum ChunkCell: Character, CaseIterable, Sendable {
  /// Nothing of it is here.
  case absent = "."
  /// Some of its chunks are here.
  case part = "-"
  /// All of its chunks are here.
  case present = "#"
  /// As present, and they are kept here.
  case pinned = "P"
  /// Something of it is on its way here.
  case pulling = "<"
  /// Something of it was changed and waits to be pushed.
  case dirty = "*"
  /// Something of it belongs to the commit that is under way.
  case pushing = ">"

  /// The word for it in legends.
  public var name: String { "\(self)" }

  /// Of the cells that a smaller map draws as one, the one that is shown. Half here, half not is part.
  public static func merged(_ cells: some Collection<ChunkCell>) -> ChunkCell {
    let order: [ChunkCell] = [.pushing, .dirty, .pulling]
    if let strongest = order.first(where: cells.contains) { return strongest }
    guard let first = cells.first else { return .absent }
    return cells.allSatisfy { $0 == first }
      ? first : cells.allSatisfy { $0 == .present || $0 == .pinned } ? .present : .part
  }
}

/// A region's chunks, drawn small: at most 4,096 cells, however large the region is.
public struct ChunkMapStatus: Codable, Equatable, Sendable {
  /// Most cells of a map.
  public static let cellLimit = 4096

  /// Chunks of the region.
  public var chunks: UInt64
  /// Chunks that a cell stands for; the last cell may have fewer.
  public var chunksPerCell: UInt64
  /// The cells, run by run: a count and the letter of `ChunkCell`, as in `12#3<1.`.
  public var runs: String

  /// A map of `cells`, of which at most `cellLimit` are taken.
  public init(chunks: UInt64, chunksPerCell: UInt64, cells: [ChunkCell]) {
    self.chunks = chunks
    self.chunksPerCell = chunksPerCell
    runs = ""
    var rest = cells.prefix(Self.cellLimit)
    while let cell = rest.first {
      let count = rest.prefix { $0 == cell }.count
      runs += "\(count)\(cell.rawValue)"
      rest = rest.dropFirst(count)
    }
  }

  /// The cells; nil if `runs` is not what a map may be.
  public var cells: [ChunkCell]? {
    var cells: [ChunkCell] = []
    var count = 0
    for character in runs {
      // ASCII only: other digits have whole-number values too.
      if character.isASCII, let digit = character.wholeNumberValue {
        count = count * 10 + digit
        guard count <= Self.cellLimit else { return nil }
      } else {
        guard let cell = ChunkCell(rawValue: character), count > 0,
          cells.count + count <= Self.cellLimit
        else { return nil }
        cells += Array(repeating: cell, count: count)
        count = 0
      }
    }
    return count == 0 ? cells : nil
  }
}

/// Bytes that came and went in each of the last seconds, oldest first.
public struct ThroughputStatus: Codable, Equatable, Sendable {
  /// Payload bytes received from the store.
  public var received: [UInt64] = []
  /// Payload bytes sent to it.
  public var sent: [UInt64] = []

  /// Nothing came or went yet.
  public init() {}

  /// Bytes a second over the last `seconds`, or since something began to move in them; nil when nothing
  /// moved.
  public static func mean(_ history: [UInt64], seconds: Int = 20) -> Double? {
    let last = history.suffix(seconds).drop { $0 == 0 }
    let sum = last.reduce(0, &+)
    return sum == 0 ? nil : Double(sum) / Double(last.count)
  }
}

/// Makes a `ThroughputStatus` of counters that only grow, read about once a second. A value: the time
/// is given.
public struct ThroughputMeter: Sendable {
  /// Seconds that are remembered.
  public static let length = 60

  private var last: (second: Int, received: UInt64, sent: UInt64)?
  /// The last seconds.
  public private(set) var status = ThroughputStatus()

  /// Nothing counted yet.
  public init() {}

  /// Takes note of the counters at a time, in seconds of any clock that does not go back.
  public mutating func note(second: Int, received: UInt64, sent: UInt64) {
    defer { last = (second, received, sent) }
    guard let last else { return }
    let passed = min(second - last.second, Self.length)
    guard passed > 0 else {
      // Too soon for a column of its own.
      Self.add(received &- last.received, to: &status.received)
      Self.add(sent &- last.sent, to: &status.sent)
      return
    }
    Self.append(received &- last.received, over: passed, to: &status.received)
    Self.append(sent &- last.sent, over: passed, to: &status.sent)
  }

  private static func add(_ bytes: UInt64, to history: inout [UInt64]) {
    if !history.isEmpty { history[history.count - 1] &+= bytes }
  }

  private static func append(_ bytes: UInt64, over seconds: Int, to history: inout [UInt64]) {
    // A reading that came late is spread over the seconds that it missed.
    history += Array(repeating: bytes / UInt64(seconds), count: seconds)
    history.removeFirst(max(0, history.count - length))
  }
}
