/// The push of one group: decides, seals, uploads, commits, checkpoints, releases. One task from the
/// claim to its end.
extension Group {
  func startPusher() {
    engine.executor.spawn { await self.push() }
  }

  private func push() async {
    var backoff = Backoff()
    while true {
      let step = state.withLock { state -> PushState.Step? in
        guard case .writer = state.role else { return nil }
        let hasWriters = state.regions.values.contains { $0.writableOpens > 0 }
        if !state.isVerified { return .wait(.seconds(1)) }
        if state.pendingSwap != nil { return .commit }
        let step = state.push.next(
          now: engine.clock.now, settings: engine.settings, hasWriters: hasWriters)
        // One that did not get through is not left to the next commit.
        if case .wait = step, state.push.owesCheckpoint { return .checkpoint }
        guard step == .release else { return step }
        if state.root.tail.count >= engine.settings.checkpointSegmentsAtRelease {
          return .checkpoint
        }
        // From here on a change waits for a new claim.
        state.role = .claiming([])
        return .release
      }
      switch step {
      case nil: return
      case .wait(let limit): await pushSignal.wait(upTo: limit, on: engine)
      case .commit, .checkpoint:
        switch await commitAndCheckpoint(isLast: step == .checkpoint) {
        case .done: backoff.reset()
        case .again: await engine.clock.sleep(for: backoff.next(engine))
        case .over: return
        }
      case .release:
        if await releaseOrResume() { return }
        await engine.clock.sleep(for: backoff.next(engine))
      }
    }
  }

  /// Gives the claim back while new claims wait. Returns whether the pusher is done.
  private func releaseOrResume() async -> Bool {
    let released = await release()
    let (waiters, isDone) = state.withLock { state -> ([@Sendable (RegionError?) -> Void], Bool) in
      guard case .claiming(let waiters) = state.role else { return ([], true) }
      // Not released: still the writer, and whoever waited may go on.
      state.role = released ? .follower : .writer
      return (waiters, released)
    }
    guard released else {
      for waiter in waiters { waiter(nil) }
      return isDone
    }
    claimAgain(waiters)
    return isDone
  }

  /// Claims for those who came while the claim was given back or found gone.
  func claimAgain(_ waiters: [@Sendable (RegionError?) -> Void]) {
    for waiter in waiters {
      engine.executor.spawn {
        do throws(RegionError) {
          try await self.claim()
          waiter(nil)
        } catch {
          waiter(error)
        }
      }
    }
  }

  /// How a push ended.
  private enum PushEnd {
    case done
    /// To be tried again later.
    case again
    /// This daemon does not write the group any more.
    case over
  }

  /// `isLast`: the claim is to be given back, and the tail is long for that.
  private func commitAndCheckpoint(isLast: Bool) async -> PushEnd {
    do throws(PushError) {
      try await finishPendingSwap()
      // A root has room for one more commit, or there is none before a checkpoint.
      if needsCheckpointFirst { try await checkpoint() }
      try await commitOnce()
      if isLast || needsCheckpoint {
        state.withLock { $0.push.owesCheckpoint = true }
        try await checkpoint()
        state.withLock { $0.push.owesCheckpoint = false }
      }
      return .done
    } catch {
      switch error {
      case .lost(let root, let etag):
        if isPredecessor(root) { return await adoptPredecessor(root, etag) ? .done : .again }
        loseClaim(to: root)
        return .over
      case .remote(let error):
        state.withLock { state in
          state.lastError = "\(error)"
          state.push.isFailing = true
        }
        engine.log(.warning, "push of group \(id) will be tried again: \(error)")
        // At the log's limit write(2) is told now.
        retryWaiting()
        return .again
      case .local(let error):
        state.withLock { stop(.io, reason: "the log cannot be read: \(error)", &$0) }
      case .format(let error):
        state.withLock { stop(.io, reason: "a change cannot be encoded: \(error)", &$0) }
      }
      return .over
    }
  }

  /// Why a push did not get through.
  enum PushError: Error {
    case lost(Root, ETag)
    case remote(RemoteError)
    case local(LocalError)
    case format(FormatError)
  }

  /// Seals a cut, uploads its segments, swaps the root.
  func commitOnce() async throws(PushError) {
    guard let recipe = seal() else { return }
    let old = state.withLock { $0.root }
    let (references, tables) = try await upload(recipe, old)
    var new = old
    new.history = Array(([old.commit] + old.history).prefix(Limits.rootHistory))
    new.commit = CommitID(number: old.commit.number + 1, nonce: engine.freshID())
    new.committedAt = engine.clock.wall
    let (log, nextFileID, collected) = state.withLock { state in
      defer { state.collected = [] }
      return (state.log?.header.log, state.namespace.nextFileID, state.collected)
    }
    new.pendingDeletion.removeAll { collected.contains($0) }
    new.log = log ?? old.log
    new.cut = recipe.cut
    new.nextFileID = nextFileID
    new.tail += references
    let root = new
    try await swap(to: root) { $0.committed(root, $1, recipe, tables) }
  }

  /// Replaces the root and then calls `finish`. If the store cannot say what became of it, the same
  /// bytes are tried again later (`finishPendingSwap`), and nothing else before.
  func swap(
    to new: Root, finish: @escaping @Sendable (Group, ETag) -> Void
  ) async throws(PushError) {
    state.withLock { $0.pendingSwap = PendingSwap(root: new, finish: finish) }
    try await finishPendingSwap()
  }

  private func finishPendingSwap() async throws(PushError) {
    let (pending, old, etag) = state.withLock { ($0.pendingSwap, $0.root, $0.etag) }
    guard let pending else { return }
    let result = try await remote { () async throws(RemoteError) in
      try await objects.swapRoot(from: old, etag, to: pending.root)
    }
    switch result {
    case .lost(let root, let current):
      // Done, not acknowledged, and taken over since: what it committed is committed.
      if pending.root.commit != old.commit, root.contains(pending.root.commit) {
        objects.keeping { () throws(LocalError) in try objects.copies?.keep(pending.root) }
        pending.finish(self, current)
        state.withLock { $0.pendingSwap = nil }
      }
      throw .lost(root, current)
    case .done(let etag):
      // Before the log lets go of what the new root holds.
      objects.keeping { () throws(LocalError) in try objects.copies?.keep(pending.root) }
      pending.finish(self, etag)
      state.withLock { $0.pendingSwap = nil }
    }
  }

  /// Takes the unsealed entries. A push that failed is sealed again with its own entries only, under
  /// new object names.
  private func seal() -> Recipe? {
    state.withLock { state in
      if let sealed = state.sealed { return sealed }
      guard let log = state.log else { return nil }
      let entries = log.takeEntries(limit: engine.settings.commitBytes)
      guard !entries.isEmpty else { return nil }
      let recipe = Recipe(entries: entries, before: state.before)
      var after = InodeFold.fold(entries, before: state.before)
      var before: [FileID: Inode?] = [:]
      for entry in log.entries {
        for id in InodeFold.touched(by: entry.record) where before[id] == nil {
          before[id] = after.removeValue(forKey: id) ?? state.before[id] ?? .some(nil)
        }
      }
      state.before = before
      state.sealed = recipe
      state.sealedEntries = entries
      state.push.noteSealed(
        bytes: recipe.logBytes, byFile: recipe.logBytesByFile, rest: !log.entries.isEmpty,
        at: engine.clock.now)
      return recipe
    }
  }

  /// Segments uploaded at a time: each holds about 8 MiB of memory.
  private static let uploadWidth = 4

  private func upload(_ recipe: Recipe, _ root: Root) async throws(PushError) -> (
    [Root.SegmentReference], [SegmentTable]
  ) {
    let plans = SegmentBuilder.plan(recipe, geometry: geometry)
    let builder = SegmentBuilder(
      group: id, geometry: geometry, epoch: root.epoch, commit: root.commit.number + 1,
      parent: root.commit.nonce)
    var references: [Root.SegmentReference?] = Array(repeating: nil, count: plans.count)
    var tables: [SegmentTable?] = references.map { _ in nil }
    var failure: PushError?
    await withTaskGroup(of: (Int, Result<SegmentBuilder.Segment, PushError>).self) { group in
      var next = 0
      func addOne() {
        guard next < plans.count else { return }
        let at = next
        next += 1
        group.addTask { (at, await self.upload(plans[at], at, plans.count, builder)) }
      }
      for _ in 0..<Self.uploadWidth { addOne() }
      while let (at, result) = await group.next() {
        switch result {
        case .success(let segment):
          references[at] = segment.reference
          tables[at] = segment.table
          if failure == nil { addOne() }
        case .failure(let error): failure = error
        }
      }
    }
    if let failure { throw failure }
    return (references.compactMap { $0 }, tables.compactMap { $0 })
  }

  private func upload(
    _ plan: SegmentBuilder.Plan, _ index: Int, _ count: Int, _ builder: SegmentBuilder
  ) async -> Result<SegmentBuilder.Segment, PushError> {
    do throws(SegmentBuilder.BuildError) {
      let segment = try builder.build(
        plan, as: ObjectID(epoch: builder.epoch, random: engine.freshID()), index: index,
        count: count)
      do throws(RemoteError) {
        let key = objects.segmentKey(segment.object)
        try await objects.create(key, segment.body)
        objects.keep(
          key, segment.body, offset: UInt64(segment.reference.tableOffset),
          length: segment.reference.tableLength)
        return .success(segment)
      } catch {
        return .failure(.remote(error))
      }
    } catch {
      switch error {
      case .local(let error): return .failure(.local(error))
      case .format(let error): return .failure(.format(error))
      }
    }
  }

  /// The commit is in the store: the map, the counters and the waiters follow, and the log may go.
  private func committed(
    _ root: Root, _ etag: ETag, _ recipe: Recipe, _ tables: [SegmentTable]
  ) {
    let (ready, room) = state.withLock { state in
      state.root = root
      state.etag = etag
      state.sealed = nil
      state.sealedEntries = []
      state.lastCommitAt = root.committedAt
      state.hasCommitted = true
      for table in tables {
        map.apply(table, keeping: state.orphans)
        state.tail.note(table, geometry: geometry)
      }
      state.push.noteCommitted()
      state.sync.committed = recipe.cut
      noteCommitted(through: recipe.cut, state)
      do throws(LocalError) {
        try state.log?.drop(through: recipe.cut)
      } catch {
        engine.log(.warning, "cannot drop committed log files: \(error)")
      }
      let room = state.spaceWaiters
      state.spaceWaiters = []
      return (SyncState.take(&state.sync.commitWaiters, through: recipe.cut), room)
    }
    for completion in ready { completion(nil) }
    for retry in room { retry() }
  }

  func remote<Value>(_ body: () async throws(RemoteError) -> Value) async throws(PushError) -> Value
  {
    do throws(RemoteError) { return try await body() } catch { throw .remote(error) }
  }
}

/// Waits that double, up to 10 s or what else is the longest, each shortened by up to a half at
/// random: hosts that failed together do not come back together.
struct Backoff {
  private let first: Duration
  private let longest: Duration
  private var current: Duration

  init(first: Duration = .milliseconds(100), longest: Duration = .seconds(10)) {
    self.first = first
    self.longest = longest
    current = first
  }

  mutating func next(_ engine: EngineContext) -> Duration {
    defer { current = min(current * 2, longest) }
    return current / 2 + engine.random(upTo: current / 2)
  }

  mutating func reset() { current = first }
}
