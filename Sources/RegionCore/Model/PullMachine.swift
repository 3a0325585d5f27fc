/// Names one parked read.
public typealias Ticket = UInt64

/// The two ways on which a chunk can be under way, at most once on each.
enum PullLane: Sendable, CaseIterable {
  /// Alone, because somebody waits for it.
  case demand
  /// With its neighbours: read-ahead and background.
  case bulk
}

/// Which chunks of a region are being pulled, and who waits for them. Pure: events in, actions out.
///
/// Each lane of a chunk is idle, live or stale. A demand that meets a bulk transfer may *overtake* it:
/// then both lanes are live, whoever is first fills the chunk, and the other's bytes are dropped.
///
/// | demand, bulk     | demand(ticket)                        | prefetch  | discard      |
/// |------------------|---------------------------------------|-----------|--------------|
/// | idle, idle       | demand live, ticket waits             | bulk live | –            |
/// | idle, live       | ticket waits; if it overtakes: demand live | –    | bulk stale   |
/// | idle, stale      | demand live, ticket waits             | –         | –            |
/// | live, idle       | ticket waits                          | –         | demand stale |
/// | live, live       | ticket waits                          | –         | both stale   |
/// | live, stale      | ticket waits                          | –         | demand stale |
/// | stale, any       | ticket waits                          | –         | both stale   |
///
/// | the lane that ends is | filled                              | dropped | failed                |
/// |-----------------------|-------------------------------------|---------|-----------------------|
/// | live, other live      | idle, other becomes stale, resume   | idle, resume | idle             |
/// | live, other not live  | idle, resume                        | idle, resume | idle, fail       |
/// | stale, other live     | idle                                | idle    | idle                  |
/// | stale, other not live | idle, resume                        | idle, resume | idle, resume     |
///
/// A ticket resumes when the last chunk it waits for is done, and then looks again: what it wanted
/// may be there, or zero by now, or (after a stale pull) still be absent. It fails at the first
/// chunk that fails. "Idle" says nothing about presence; that is the chunk table's.
struct PullMachine: Sendable {
  /// What to do, after the lock was given back.
  enum Action: Equatable, Sendable {
    /// Look at the parked read again.
    case resume(Ticket)
    /// Answer the parked read with an error.
    case fail(Ticket)
  }

  /// How a pull ended.
  enum End: Sendable, CaseIterable {
    /// Its bytes are in the data file.
    case filled
    /// Its bytes were not wanted when they came.
    case dropped
    /// There are no bytes.
    case failed
  }

  /// What is known of a bulk transfer when a demand meets it.
  struct Bulk: Equatable, Sendable {
    /// A reader is expected to come by, as opposed to a pull of everything.
    var isReadAhead: Bool
    /// When it was asked for.
    var began: MonotonicTime
  }

  private enum Lane: Sendable { case idle, live, stale }

  private struct Pull: Sendable {
    var demand = Lane.idle
    var bulk = Lane.idle
    var transfer: Bulk?
    var waiters: [Ticket] = []

    subscript(lane: PullLane) -> Lane {
      get { lane == .demand ? demand : bulk }
      set { if lane == .demand { demand = newValue } else { bulk = newValue } }
    }
  }

  private var pulls: [ChunkIndex: Pull] = [:]
  private var tickets: [Ticket: Set<ChunkIndex>] = [:]

  /// Chunks being pulled.
  var pullCount: Int { pulls.count }
  /// Reads that wait.
  var parkedCount: Int { tickets.count }
  /// Whether the chunk is being pulled.
  func isPulling(_ chunk: ChunkIndex) -> Bool { pulls[chunk] != nil }

  /// A read needs `chunks`, none of which is present. Returns those that must be pulled on demand now;
  /// the others are on their way. `overtakes` is asked about chunks that a bulk transfer holds.
  mutating func demand(
    _ chunks: [ChunkIndex], ticket: Ticket, overtakes: (ChunkIndex, Bulk) -> Bool
  ) -> [ChunkIndex] {
    guard !chunks.isEmpty else { return [] }
    tickets[ticket] = Set(chunks)
    var start: [ChunkIndex] = []
    for chunk in chunks {
      var pull = pulls[chunk] ?? Pull()
      pull.waiters.append(ticket)
      if pull.demand == .idle {
        var isNeeded = pull.bulk != .live
        if !isNeeded, let transfer = pull.transfer { isNeeded = overtakes(chunk, transfer) }
        if isNeeded {
          pull.demand = .live
          start.append(chunk)
        }
      }
      pulls[chunk] = pull
    }
    return start
  }

  /// A bulk transfer takes longer than was thought. Returns whether its chunk must be pulled on
  /// demand now, because somebody still waits for it.
  mutating func overtake(_ chunk: ChunkIndex) -> Bool {
    guard let pull = pulls[chunk], pull.demand == .idle, pull.bulk == .live,
      pull.waiters.contains(where: { tickets[$0] != nil })
    else { return false }
    pulls[chunk]?.demand = .live
    return true
  }

  /// Somebody may need `chunk`. Returns whether it must be pulled now.
  mutating func prefetch(_ chunk: ChunkIndex, as transfer: Bulk) -> Bool {
    if pulls[chunk] != nil { return false }
    pulls[chunk] = Pull(bulk: .live, transfer: transfer)
    return true
  }

  /// The bytes of the chunk became irrelevant: a pull under way must not be used.
  mutating func discard(_ chunk: ChunkIndex) {
    for lane in PullLane.allCases where pulls[chunk]?[lane] == .live {
      pulls[chunk]?[lane] = .stale
    }
  }

  /// Chunks under way in `range`.
  func pulling(in range: Range<ChunkIndex>) -> [ChunkIndex] {
    range.count > pulls.count
      ? pulls.keys.filter { range.contains($0) } : range.filter { pulls[$0] != nil }
  }

  /// Whether the pull under way on this lane may still be used; false also if there is none.
  func isWanted(_ chunk: ChunkIndex, _ lane: PullLane) -> Bool { pulls[chunk]?[lane] == .live }

  /// A pull ended.
  mutating func finished(_ chunk: ChunkIndex, _ lane: PullLane, _ end: End) -> [Action] {
    guard var pull = pulls[chunk], pull[lane] != .idle else { return [] }
    let wasLive = pull[lane] == .live
    let other: PullLane = lane == .demand ? .bulk : .demand
    pull[lane] = .idle
    let waits = pull[other] == .live && (!wasLive || end == .failed)
    if wasLive, end == .filled, pull[other] == .live { pull[other] = .stale }
    let waiters = waits ? [] : pull.waiters
    if !waits { pull.waiters = [] }
    pulls[chunk] = pull.demand == .idle && pull.bulk == .idle ? nil : pull
    return release(waiters, from: chunk, failed: wasLive && end == .failed)
  }

  private mutating func release(_ waiters: [Ticket], from chunk: ChunkIndex, failed: Bool)
    -> [Action]
  {
    var actions: [Action] = []
    for ticket in waiters {
      guard var missing = tickets[ticket] else { continue }
      if failed {
        tickets[ticket] = nil
        actions.append(.fail(ticket))
        continue
      }
      missing.remove(chunk)
      tickets[ticket] = missing.isEmpty ? nil : missing
      if missing.isEmpty { actions.append(.resume(ticket)) }
    }
    return actions
  }

  /// The read was given up. Returns whether it was still waiting; its pulls go on.
  mutating func cancel(_ ticket: Ticket) -> Bool { tickets.removeValue(forKey: ticket) != nil }

  /// Whether a read waits for any of `chunks`.
  func isAwaited(_ chunks: Range<ChunkIndex>) -> Bool {
    pulls.contains { chunk, pull in
      chunks.contains(chunk) && pull.waiters.contains { tickets[$0] != nil }
    }
  }

  /// All reads that wait, e.g. to fail them at the end of the session.
  var parked: [Ticket] { Array(tickets.keys) }

  /// Recounts what must always hold; for debug builds and tests.
  func checkInvariants() {
    for (chunk, pull) in pulls {
      precondition(pull.demand != .idle || pull.bulk != .idle, "chunk \(chunk) is kept for nothing")
    }
    for (ticket, chunks) in tickets {
      precondition(!chunks.isEmpty, "a ticket that waits for nothing")
      for chunk in chunks {
        precondition(
          pulls[chunk]?.waiters.contains(ticket) == true, "a ticket waits for a chunk not pulled")
      }
    }
  }
}
