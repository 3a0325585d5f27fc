import Testing

@testable import RegionCore

/// `PullMachine` over every sequence of events up to a length, beside a naive reference.
@Suite struct PullMachineTests {
  private enum Event: Equatable {
    case demand(Ticket, [ChunkIndex])
    case prefetch(ChunkIndex)
    case finished(ChunkIndex, failed: Bool)
    case discard(ChunkIndex)
    case cancel(Ticket)
  }

  /// What the doc comment of `PullMachine` says, word by word.
  private struct Reference {
    /// Chunks being pulled, and whether that is stale.
    var pulls: [ChunkIndex: Bool] = [:]
    var waiting: [Ticket: Set<ChunkIndex>] = [:]
    /// Tickets that were failed or cancelled: they never come again.
    var over: Set<Ticket> = []

    mutating func demand(_ ticket: Ticket, _ chunks: [ChunkIndex]) -> [ChunkIndex] {
      let start = chunks.filter { pulls[$0] == nil }
      for chunk in start { pulls[chunk] = false }
      waiting[ticket] = Set(chunks)
      return start
    }

    mutating func finished(_ chunk: ChunkIndex, failed: Bool) -> (
      resumed: Set<Ticket>, failed: Set<Ticket>
    ) {
      guard let isStale = pulls.removeValue(forKey: chunk) else { return ([], []) }
      var resumed: Set<Ticket> = []
      var lost: Set<Ticket> = []
      for (ticket, chunks) in waiting where chunks.contains(chunk) {
        if failed, !isStale {
          lost.insert(ticket)
        } else {
          waiting[ticket]?.remove(chunk)
          if waiting[ticket]?.isEmpty == true { resumed.insert(ticket) }
        }
      }
      for ticket in resumed.union(lost) { waiting[ticket] = nil }
      over.formUnion(lost)
      return (resumed, lost)
    }

    func allows(_ event: Event) -> Bool {
      switch event {
      case .demand(let ticket, _): waiting[ticket] == nil && !over.contains(ticket)
      case .finished(let chunk, _): pulls[chunk] != nil
      case .prefetch, .discard, .cancel: true
      }
    }
  }

  private static func apply(
    _ event: Event, _ machine: inout PullMachine, _ reference: inout Reference
  )
    -> Bool
  {
    switch event {
    case .demand(let ticket, let chunks):
      return machine.demand(chunks, ticket: ticket) == reference.demand(ticket, chunks)
    case .prefetch(let chunk):
      let isNew = reference.pulls[chunk] == nil
      if isNew { reference.pulls[chunk] = false }
      return machine.prefetch(chunk) == isNew
    case .finished(let chunk, let failed):
      let actions = machine.finished(chunk, failed: failed)
      let expected = reference.finished(chunk, failed: failed)
      var resumed: [Ticket] = []
      var lost: [Ticket] = []
      for action in actions {
        switch action {
        case .resume(let ticket): resumed.append(ticket)
        case .fail(let ticket): lost.append(ticket)
        }
      }
      return resumed.sorted() == expected.resumed.sorted()
        && lost.sorted() == expected.failed.sorted()
    case .discard(let chunk):
      machine.discard(chunk)
      if reference.pulls[chunk] != nil { reference.pulls[chunk] = true }
      return true
    case .cancel(let ticket):
      let isParked = reference.waiting.removeValue(forKey: ticket) != nil
      if isParked { reference.over.insert(ticket) }
      return machine.cancel(ticket) == isParked
    }
  }

  private static func agree(_ machine: PullMachine, _ reference: Reference, _ chunks: [ChunkIndex])
    -> Bool
  {
    machine.checkInvariants()
    return machine.pullCount == reference.pulls.count
      && machine.parkedCount == reference.waiting.count
      && machine.parked.sorted() == reference.waiting.keys.sorted()
      && chunks.allSatisfy {
        machine.isPulling($0) == (reference.pulls[$0] != nil)
          && machine.isWanted($0) == (reference.pulls[$0] == false)
      }
      && machine.pulling(in: 0..<10).sorted() == reference.pulls.keys.sorted()
  }

  private static func search(
    _ machine: PullMachine, _ reference: Reference, _ events: [Event], _ chunks: [ChunkIndex],
    depth: Int, path: [Event]
  ) -> [Event]? {
    guard depth > 0 else { return nil }
    for event in events where reference.allows(event) {
      var machine = machine
      var reference = reference
      let path = path + [event]
      guard apply(event, &machine, &reference), agree(machine, reference, chunks) else {
        return path
      }
      if let bad = search(machine, reference, events, chunks, depth: depth - 1, path: path) {
        return bad
      }
    }
    return nil
  }

  private static func events(chunks: [ChunkIndex], sets: [[ChunkIndex]], tickets: [Ticket])
    -> [Event]
  {
    tickets.flatMap { ticket in sets.map { .demand(ticket, $0) } + [.cancel(ticket)] }
      + chunks.flatMap {
        [.prefetch($0), .discard($0), .finished($0, failed: false), .finished($0, failed: true)]
      }
  }

  @Test func agreesWithTheTableOnTwoChunks() {
    let events = Self.events(chunks: [0, 1], sets: [[0], [1], [0, 1]], tickets: [1, 2])
    let bad = Self.search(PullMachine(), Reference(), events, [0, 1], depth: 5, path: [])
    #expect(bad == nil)
  }

  @Test func agreesWithTheTableOnThreeChunks() {
    let events = Self.events(
      chunks: [0, 1, 2], sets: [[0, 1], [1, 2], [0, 1, 2]], tickets: [1, 2])
    let bad = Self.search(PullMachine(), Reference(), events, [0, 1, 2], depth: 4, path: [])
    #expect(bad == nil)
  }

  /// Every ticket ends once, whatever the order in which its pulls do.
  @Test func everyTicketEndsOnce() {
    for outcomes in 0..<8 {
      var machine = PullMachine()
      #expect(machine.demand([4, 5, 6], ticket: 9) == [4, 5, 6])
      var ends = 0
      for (bit, chunk) in [5, 4, 6].enumerated() {
        ends += machine.finished(ChunkIndex(chunk), failed: outcomes & 1 << bit != 0).count
      }
      #expect(ends == 1)
      #expect(machine.parkedCount == 0 && machine.pullCount == 0)
    }
  }
}
