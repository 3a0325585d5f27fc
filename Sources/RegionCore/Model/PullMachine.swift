/// Names one parked read.
public typealias Ticket = UInt64

/// Which chunks of a region are being pulled, and who waits for them. Pure: events in, actions out.
///
/// | chunk is   | demand(ticket)        | prefetch    | finished(ok)    | finished(error)  | discard |
/// |------------|-----------------------|-------------|-----------------|------------------|---------|
/// | idle       | pulling, ticket waits | pulling     | –               | –                | –       |
/// | pulling    | ticket waits          | –           | idle, resume    | idle, fail       | stale   |
/// | stale      | ticket waits          | –           | idle, resume    | idle, resume     | –       |
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

  private struct Pull: Sendable {
    var isStale = false
    var waiters: [Ticket] = []
  }

  private var pulls: [ChunkIndex: Pull] = [:]
  private var tickets: [Ticket: Set<ChunkIndex>] = [:]

  /// Chunks being pulled.
  var pullCount: Int { pulls.count }
  /// Reads that wait.
  var parkedCount: Int { tickets.count }
  /// Whether the chunk is being pulled.
  func isPulling(_ chunk: ChunkIndex) -> Bool { pulls[chunk] != nil }

  /// A read needs `chunks`, none of which is present. Returns those that must be pulled now; the
  /// others are on their way.
  mutating func demand(_ chunks: [ChunkIndex], ticket: Ticket) -> [ChunkIndex] {
    guard !chunks.isEmpty else { return [] }
    tickets[ticket] = Set(chunks)
    var start: [ChunkIndex] = []
    for chunk in chunks {
      if pulls[chunk] == nil { start.append(chunk) }
      pulls[chunk, default: Pull()].waiters.append(ticket)
    }
    return start
  }

  /// Somebody may need `chunk`. Returns whether it must be pulled now.
  mutating func prefetch(_ chunk: ChunkIndex) -> Bool {
    if pulls[chunk] != nil { return false }
    pulls[chunk] = Pull()
    return true
  }

  /// The bytes of the chunk became irrelevant: a pull under way must not be used.
  mutating func discard(_ chunk: ChunkIndex) { pulls[chunk]?.isStale = true }

  /// Chunks under way in `range`.
  func pulling(in range: Range<ChunkIndex>) -> [ChunkIndex] {
    range.count > pulls.count
      ? pulls.keys.filter { range.contains($0) } : range.filter { pulls[$0] != nil }
  }

  /// Whether a pull under way may still be used; false also if there is none.
  func isWanted(_ chunk: ChunkIndex) -> Bool { pulls[chunk].map { !$0.isStale } ?? false }

  /// A pull ended.
  mutating func finished(_ chunk: ChunkIndex, failed: Bool) -> [Action] {
    guard let pull = pulls.removeValue(forKey: chunk) else { return [] }
    var actions: [Action] = []
    for ticket in pull.waiters {
      guard var missing = tickets[ticket] else { continue }
      if failed, !pull.isStale {
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
    for (ticket, chunks) in tickets {
      precondition(!chunks.isEmpty, "a ticket that waits for nothing")
      for chunk in chunks {
        precondition(
          pulls[chunk]?.waiters.contains(ticket) == true, "a ticket waits for a chunk not pulled")
      }
    }
  }
}
