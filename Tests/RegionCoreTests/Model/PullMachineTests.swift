import Testing

@testable import RegionCore

/// `PullMachine` over every sequence of events up to a length, beside a naive reference.
@Suite struct PullMachineTests {
  private enum Event: Equatable {
    case demand(Ticket, [ChunkIndex], overtaking: Bool)
    case overtake(ChunkIndex)
    case prefetch(ChunkIndex)
    case finished(ChunkIndex, PullLane, PullMachine.End)
    case discard(ChunkIndex)
    case cancel(Ticket)
  }

  private static let transfer = PullMachine.Bulk(
    isReadAhead: true, began: MonotonicTime(nanoseconds: 5))

  /// What the doc comment of `PullMachine` says, word by word.
  private struct Reference {
    /// Pulls under way by chunk and lane, and whether they are stale.
    var demands: [ChunkIndex: Bool] = [:]
    var bulks: [ChunkIndex: Bool] = [:]
    var waiting: [Ticket: Set<ChunkIndex>] = [:]
    /// Tickets that were failed or cancelled: they never come again.
    var over: Set<Ticket> = []

    var pulled: Set<ChunkIndex> { Set(demands.keys).union(bulks.keys) }

    mutating func demand(_ ticket: Ticket, _ chunks: [ChunkIndex], overtaking: Bool)
      -> [ChunkIndex]
    {
      let start = chunks.filter { demands[$0] == nil && (bulks[$0] != false || overtaking) }
      for chunk in start { demands[chunk] = false }
      waiting[ticket] = Set(chunks)
      return start
    }

    mutating func overtake(_ chunk: ChunkIndex) -> Bool {
      guard demands[chunk] == nil, bulks[chunk] == false,
        waiting.values.contains(where: { $0.contains(chunk) })
      else { return false }
      demands[chunk] = false
      return true
    }

    mutating func finished(_ chunk: ChunkIndex, _ lane: PullLane, _ end: PullMachine.End) -> (
      resumed: Set<Ticket>, failed: Set<Ticket>
    ) {
      let own = lane == .demand ? demands[chunk] : bulks[chunk]
      let other = lane == .demand ? bulks[chunk] : demands[chunk]
      if lane == .demand { demands[chunk] = nil } else { bulks[chunk] = nil }
      switch (own, other, end) {
      case (nil, _, _), (true?, false?, _), (false?, false?, .failed): return ([], [])
      case (false?, false?, .filled):
        if lane == .demand { bulks[chunk] = true } else { demands[chunk] = true }
        return resume(chunk)
      case (false?, _, .failed): return fail(chunk)
      default: return resume(chunk)
      }
    }

    private mutating func resume(_ chunk: ChunkIndex) -> (Set<Ticket>, Set<Ticket>) {
      var resumed: Set<Ticket> = []
      for (ticket, chunks) in waiting where chunks.contains(chunk) {
        waiting[ticket]?.remove(chunk)
        if chunks == [chunk] { resumed.insert(ticket) }
      }
      for ticket in resumed { waiting[ticket] = nil }
      return (resumed, [])
    }

    private mutating func fail(_ chunk: ChunkIndex) -> (Set<Ticket>, Set<Ticket>) {
      let lost = Set(waiting.filter { $0.value.contains(chunk) }.keys)
      for ticket in lost { waiting[ticket] = nil }
      over.formUnion(lost)
      return ([], lost)
    }

    func allows(_ event: Event) -> Bool {
      switch event {
      case .demand(let ticket, _, _): waiting[ticket] == nil && !over.contains(ticket)
      case .finished(let chunk, .demand, _): demands[chunk] != nil
      case .finished(let chunk, .bulk, _): bulks[chunk] != nil
      case .prefetch, .discard, .cancel, .overtake: true
      }
    }
  }

  private static func apply(
    _ event: Event, _ machine: inout PullMachine, _ reference: inout Reference
  )
    -> Bool
  {
    switch event {
    case .demand(let ticket, let chunks, let overtaking):
      var isAsked = true
      let start = machine.demand(chunks, ticket: ticket) { chunk, transfer in
        isAsked = isAsked && reference.bulks[chunk] == false && transfer == Self.transfer
        return overtaking
      }
      return isAsked && start == reference.demand(ticket, chunks, overtaking: overtaking)
    case .overtake(let chunk):
      return machine.overtake(chunk) == reference.overtake(chunk)
    case .prefetch(let chunk):
      let isNew = !reference.pulled.contains(chunk)
      if isNew { reference.bulks[chunk] = false }
      return machine.prefetch(chunk, as: Self.transfer) == isNew
    case .finished(let chunk, let lane, let end):
      let actions = machine.finished(chunk, lane, end)
      let expected = reference.finished(chunk, lane, end)
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
      if reference.demands[chunk] != nil { reference.demands[chunk] = true }
      if reference.bulks[chunk] != nil { reference.bulks[chunk] = true }
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
    return machine.pullCount == reference.pulled.count
      && machine.parkedCount == reference.waiting.count
      && machine.parked.sorted() == reference.waiting.keys.sorted()
      && chunks.allSatisfy {
        machine.isPulling($0) == reference.pulled.contains($0)
          && machine.isWanted($0, .demand) == (reference.demands[$0] == false)
          && machine.isWanted($0, .bulk) == (reference.bulks[$0] == false)
      }
      && machine.pulling(in: 0..<10).sorted() == reference.pulled.sorted()
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
    tickets.flatMap { ticket in
      sets.flatMap {
        [.demand(ticket, $0, overtaking: false), .demand(ticket, $0, overtaking: true)]
      } + [.cancel(ticket)]
    }
      + chunks.flatMap { chunk in
        [.prefetch(chunk), .discard(chunk), .overtake(chunk)]
          + PullLane.allCases.flatMap { lane in
            PullMachine.End.allCases.map { .finished(chunk, lane, $0) }
          }
      }
  }

  @Test func agreesWithTheTableOnOneChunk() {
    let events = Self.events(chunks: [0], sets: [[0]], tickets: [1, 2])
    let bad = Self.search(PullMachine(), Reference(), events, [0], depth: 6, path: [])
    #expect(bad == nil)
  }

  @Test func agreesWithTheTableOnTwoChunks() {
    let events = Self.events(chunks: [0, 1], sets: [[0], [1], [0, 1]], tickets: [1, 2])
    let bad = Self.search(PullMachine(), Reference(), events, [0, 1], depth: 4, path: [])
    #expect(bad == nil)
  }

  @Test func agreesWithTheTableOnThreeChunks() {
    let events = Self.events(
      chunks: [0, 1, 2], sets: [[0, 1], [0, 1, 2]], tickets: [1])
    let bad = Self.search(PullMachine(), Reference(), events, [0, 1, 2], depth: 4, path: [])
    #expect(bad == nil)
  }

  /// Every ticket ends once, whatever the order in which its pulls do.
  @Test func everyTicketEndsOnce() {
    for outcomes in 0..<8 {
      var machine = PullMachine()
      let start = machine.demand([4, 5, 6], ticket: 9) { _, _ in false }
      #expect(start == [4, 5, 6])
      var ends = 0
      for (bit, chunk) in [5, 4, 6].enumerated() {
        ends +=
          machine.finished(
            ChunkIndex(chunk), .demand, outcomes & 1 << bit != 0 ? .failed : .filled
          ).count
      }
      #expect(ends == 1)
      #expect(machine.parkedCount == 0 && machine.pullCount == 0)
    }
  }

  /// Two pulls of one chunk: the first fills it, the second's bytes are dropped, whoever it is.
  @Test(arguments: PullLane.allCases) func theFirstOfTwoLanesFills(first: PullLane) {
    let second: PullLane = first == .demand ? .bulk : .demand
    var machine = PullMachine()
    let isNew = machine.prefetch(3, as: Self.transfer)
    let start = machine.demand([3], ticket: 1) { _, _ in true }
    #expect(isNew && start == [3])
    var actions: [PullMachine.Action] = []
    actions = machine.finished(3, first, .filled)
    #expect(actions == [.resume(1)])
    #expect(!machine.isWanted(3, second) && machine.isPulling(3))
    actions = machine.finished(3, second, .dropped)
    #expect(actions.isEmpty)
    #expect(!machine.isPulling(3))
  }

  /// An error of one lane is none, as long as the other may still bring the bytes.
  @Test(arguments: PullLane.allCases) func aReadFailsOnlyWithTheLastLane(first: PullLane) {
    let second: PullLane = first == .demand ? .bulk : .demand
    var machine = PullMachine()
    let isNew = machine.prefetch(3, as: Self.transfer)
    let start = machine.demand([3], ticket: 1) { _, _ in true }
    #expect(isNew && start == [3])
    var actions: [PullMachine.Action] = []
    actions = machine.finished(3, first, .failed)
    #expect(actions.isEmpty)
    actions = machine.finished(3, second, .failed)
    #expect(actions == [.fail(1)])
  }
}

@Suite struct PullPaceTests {
  private static func at(_ milliseconds: Int) -> MonotonicTime {
    MonotonicTime(nanoseconds: UInt64(milliseconds) * 1_000_000)
  }

  /// What a read does `milliseconds` after the transfer began.
  private func choice(
    _ pace: PullPace, isReadAhead: Bool = false, isStream: Bool = false, isSoonHere: Bool = false,
    at milliseconds: Int
  ) -> PullPace.Choice {
    pace.choice(
      PullMachine.Bulk(isReadAhead: isReadAhead, began: Self.at(0)), isStream: isStream,
      isSoonHere: isSoonHere, at: Self.at(milliseconds))
  }

  private func pace(demand: Int, bulk: Int) -> PullPace {
    var pace = PullPace()
    pace.noteDemand(.milliseconds(demand))
    pace.noteBulk(.milliseconds(bulk))
    return pace
  }

  @Test func aReadOvertakesATransferThatHasLongToGo() {
    let pace = pace(demand: 30, bulk: 200)
    #expect(choice(pace, at: 20) == .overtake)
    #expect(choice(pace, isStream: true, at: 20) == .overtake)
    #expect(choice(PullPace(), at: 20) == .overtake)
  }

  @Test func aReadWaitsForATransferThatIsAboutToEndButNotForEver() {
    guard case .wait(let time) = choice(pace(demand: 32, bulk: 200), at: 190) else {
      Issue.record("it overtakes")
      return
    }
    #expect(time > .milliseconds(10) && time < .milliseconds(32))
  }

  @Test func aReadOvertakesATransferThatIsOverdue() {
    #expect(choice(pace(demand: 32, bulk: 200), at: 201) == .overtake)
  }

  @Test func aStreamWaitsForItsReadAheadUntilThatIsOverdue() {
    let pace = pace(demand: 32, bulk: 200)
    guard case .wait(let time) = choice(pace, isReadAhead: true, isStream: true, at: 20) else {
      Issue.record("it overtakes")
      return
    }
    #expect(time > .milliseconds(180))
    #expect(choice(pace, isReadAhead: true, at: 20) == .overtake)
  }

  /// A database of 17 MB was fetched twice, a quarter megabyte for each of its first reads.
  @Test func whereAllIsHereInAMomentAReadWaitsForIt() {
    let pace = pace(demand: 32, bulk: 200)
    guard case .wait(let time) = choice(pace, isSoonHere: true, at: 20) else {
      Issue.record("it overtakes")
      return
    }
    #expect(time > .milliseconds(180) && time < .milliseconds(500))
    #expect(choice(PullPace(), isSoonHere: true, at: 20) == .overtake, "how long is not known yet")
  }
}
