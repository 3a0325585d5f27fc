/// Changes of names, attributes and data: planned, logged, applied, all under the group's lock, and
/// only then answered.
extension Group {
  /// How a change that may have to wait went.
  public enum Outcome: Sendable {
    /// Logged and applied.
    case done
    /// `demand` these bytes of the region and try again.
    case waitFor(Range<UInt64>)
    /// Try again when there is room (`whenThereIsRoom`).
    case waitForRoom
    /// Refused.
    case failed(RegionError)
  }

  /// Changes names or attributes. `plan` says what changes, given the namespace and the time.
  public func edit<Value>(
    _ plan: (borrowing Namespace, Timestamp) throws(RegionError) -> (Value, [NameChange])
  ) throws(RegionError) -> Value {
    let now = engine.clock.wall
    return try accepting { (state) throws(RegionError) in
      try checkWriter(state)
      let (value, changes) = try plan(state.namespace, now)
      if !changes.isEmpty { try log(.names(changes), &state) }
      return value
    }
  }

  /// Changes an inode's attributes, also of a removed file that is still open.
  public func editInode(
    _ id: FileID, _ body: (inout Inode, Timestamp) throws(RegionError) -> Void
  ) throws(RegionError) -> Inode {
    let now = engine.clock.wall
    return try accepting { (state) throws(RegionError) in
      try checkWriter(state)
      guard var inode = state.inode(id) else { throw .notFound }
      try body(&inode, now)
      if state.unlinked[id] != nil {
        state.unlinked[id] = inode
      } else {
        try log(.names([.set(inode)]), &state)
      }
      return inode
    }
  }

  /// Changes the state, and wakes the pusher if it has to hear of that.
  private func accepting<Value, Failure: Error>(
    _ body: (inout State) throws(Failure) -> Value
  ) throws(Failure) -> Value {
    let (value, isNews) = try state.withLock { (state) throws(Failure) in
      (try body(&state), state.push.takeNews(engine.settings))
    }
    if isNews { pushSignal.signal() }
    return value
  }

  func checkWriter(_ state: borrowing State) throws(RegionError) {
    switch state.role {
    case .writer: return
    // What is open of a removed group can be changed until it is closed; nobody will see it.
    case .stopped where state.isAbandoned: return
    case .stopped(let error, _): throw error
    case .follower, .claiming: throw .unclaimed
    }
  }

  /// Appends a record of names and applies it.
  private func log(_ record: LogRecord, _ state: inout State) throws(RegionError) {
    if !state.isAbandoned {
      guard let log = state.log else { throw .readOnly }
      do throws(WriteLog.AppendError) {
        try unsafe log.append(record, payload: UnsafeRawBufferPointer(start: nil, count: 0))
      } catch {
        throw refused(error)
      }
      noteAppended(record, &state)
    }
    guard case .names(let changes) = record else { return }
    for change in changes {
      if case .remove(let id) = change { detach(id, &state) }
      state.namespace.apply(change)
    }
  }

  /// A file's name goes: while it is open its bytes stay.
  private func detach(_ id: FileID, _ state: inout State) {
    guard let inode = state.namespace[id], inode.kind == .file else { return }
    if let open = state.regions[id], open.opens > 0 {
      state.unlinked[id] = inode
      open.region.keepAll(true)
      return
    }
    state.regions.removeValue(forKey: id)?.region.close()
    state.openedAt[id] = nil
    do throws(LocalError) {
      try cache.remove(id)
    } catch {
      engine.log(.warning, "\(error)")
    }
  }

  /// Keeps count of what is not committed; before the record is applied.
  func noteAppended(_ record: LogRecord, _ state: inout State) {
    for id in InodeFold.touched(by: record) where state.before[id] == nil {
      state.before[id] = .some(state.namespace[id])
    }
    state.push.noteAppended(
      bytes: state.log?.entries.last?.length ?? 0, file: record.dataFile, at: engine.clock.now)
  }

  func refused(_ error: WriteLog.AppendError) -> RegionError {
    switch error {
    case .tooLarge: return .limitReached
    case .local(let error):
      engine.log(.error, "cannot append to the log: \(error)")
      return error.isOutOfSpace ? .noSpace : .io
    }
  }

  // MARK: Data

  /// Writes bytes. `isWriteBack`: the kernel writes back a mapping, which must never be refused for
  /// lack of room.
  public func write(
    _ region: Region, at offset: UInt64, _ bytes: UnsafeRawBufferPointer, isWriteBack: Bool
  ) -> Outcome {
    guard bytes.count > 0 else { return .done }
    guard offset <= Limits.regionSize, UInt64(bytes.count) <= Limits.regionSize - offset else {
      return .failed(.tooLarge)
    }
    let now = engine.clock.wall
    let outcome = accepting { state -> Outcome in
      change(region, &state) { (inode, state) throws(RegionError) in
        let plan = WritePlan(offset: offset, count: bytes.count, size: inode.size)
        if case .waitFor(let busy) = region.canReplace(plan.pages) { return .waitFor(busy) }
        // Only now, when no eviction can come between.
        for page in plan.mergedPages where !region.isValid(page) {
          return .waitFor(page << Geometry.pageShift..<(page + 1) << Geometry.pageShift)
        }
        if isLogFull(state) {
          // A slow store makes room again; one that is away may not for long.
          guard !state.push.isFailing, state.isVerified else { throw .noSpace }
          return .waitForRoom
        }
        return try unsafe apply(plan, bytes, region, inode, now, isWriteBack: isWriteBack, &state)
      }
    }
    return settle(outcome, isWriteBack: isWriteBack)
  }

  /// Makes bytes zero (`FALLOC_FL_PUNCH_HOLE`, `FALLOC_FL_ZERO_RANGE`) or only sets the size
  /// (`zeroing` empty).
  public func zero(_ region: Region, _ zeroing: Range<UInt64>, size newSize: UInt64?) -> Outcome {
    guard zeroing.upperBound <= Limits.regionSize, newSize ?? 0 <= Limits.regionSize else {
      return .failed(.tooLarge)
    }
    let now = engine.clock.wall
    let outcome = accepting { state -> Outcome in
      change(region, &state) { (inode, state) throws(RegionError) in
        try zero(region, inode, zeroing, newSize ?? inode.size, now, &state)
      }
    }
    return settle(outcome, isWriteBack: false)
  }

  /// Sets the size; what lies beyond a smaller one is gone, what a larger one adds is zero.
  public func resize(_ region: Region, to size: UInt64) -> Outcome {
    // All that may lie behind the new end: a write may make the region longer before the lock is had.
    zero(region, size..<max(size, Limits.regionSize), size: size)
  }

  private func change(
    _ region: Region, _ state: inout State,
    _ body: (Inode, inout State) throws(RegionError) -> Outcome
  ) -> Outcome {
    do throws(RegionError) {
      try checkWriter(state)
      guard let inode = state.inode(region.file) else { throw .notFound }
      defer { region.endReplacing() }
      return try body(inode, &state)
    } catch {
      return .failed(error)
    }
  }

  /// Write-back waits where a write(2) hears ENOSPC at once.
  private func settle(_ outcome: Outcome, isWriteBack: Bool) -> Outcome {
    if case .failed(.noSpace) = outcome, isWriteBack { return .waitForRoom }
    return outcome
  }

  private func isLogFull(_ state: borrowing State) -> Bool {
    !state.isAbandoned && state.push.uncommittedBytes >= engine.settings.logLimit
  }

  /// Logs whole pages and puts them in place.
  private func apply(
    _ plan: WritePlan, _ bytes: UnsafeRawBufferPointer, _ region: Region, _ inode: Inode,
    _ now: Timestamp, isWriteBack: Bool, _ state: inout State
  ) throws(RegionError) -> Outcome {
    do throws(LocalError) {
      let image = try unsafe plan.image(of: bytes, region)
      let changed = try unsafe plan.changedPages(image.bytes, region)
      let size = max(inode.size, plan.end)
      if changed.isEmpty, size == inode.size, isWriteBack {
        // Equal to what is known to be there; kernels write back more than was dirtied. A write(2)
        // is logged all the same: its new times are an accepted change.
        touch(region.file, now, &state)
        return .done
      }
      let record = DataRecord(
        file: region.file, size: size, time: now,
        runs: changed.isEmpty ? [] : [PageRun(changed, isZero: false)])
      let payload = unsafe image.pages(changed, of: plan)
      try unsafe commitToLog(record, payload, region, &state)
      return .done
    } catch {
      engine.log(.error, "cannot write \(region.name): \(error)")
      throw error.isOutOfSpace ? .noSpace : .io
    }
  }

  private func touch(_ file: FileID, _ now: Timestamp, _ state: inout State) {
    state.namespace.update(file) { inode in
      inode.modified = now
      inode.changed = now
    }
  }

  /// Appends the record, then applies it; takes the record back if it cannot be applied.
  private func commitToLog(
    _ record: DataRecord, _ payload: UnsafeRawBufferPointer, _ region: Region,
    _ state: inout State
  ) throws(LocalError) {
    try state.space.reserve(record, payload.count, region)
    if state.isAbandoned {
      try unsafe region.apply(record, payload)
      return noteChanged(record, &state)
    }
    guard let log = state.log else { throw LocalError("append", path: region.name, code: 30) }
    do throws(WriteLog.AppendError) {
      try unsafe log.append(.data(record), payload: payload)
    } catch {
      switch error {
      case .local(let error): throw error
      case .tooLarge: throw LocalError("append", path: region.name, code: 27 /* EFBIG */)
      }
    }
    region.noteUncommitted(record, log.lastSequence)
    do throws(LocalError) {
      try unsafe region.apply(record, payload)
    } catch {
      // Space was made sure of, so this is a failing disk. The record was not accepted; what the
      // cache has of its pages is not known any more.
      stop(.io, reason: "\(error)", &state)
      try log.takeBackLast()
      throw error
    }
    noteAppended(.data(record), &state)
    noteChanged(record, &state)
  }

  private func noteChanged(_ record: DataRecord, _ state: inout State) {
    if state.unlinked[record.file] != nil {
      state.unlinked[record.file]?.note(record)
    } else {
      state.namespace.update(record.file) { $0.note(record) }
    }
  }

  private func zero(
    _ region: Region, _ inode: Inode, _ zeroing: Range<UInt64>, _ size: UInt64, _ now: Timestamp,
    _ state: inout State
  ) throws(RegionError) -> Outcome {
    let plan = ZeroPlan(zeroing, oldSize: inode.size, newSize: size)
    if case .waitFor(let busy) = region.canReplace(plan.touched) { return .waitFor(busy) }
    for page in plan.edges where !region.isValid(page.page) {
      return .waitFor(page.page << Geometry.pageShift..<(page.page + 1) << Geometry.pageShift)
    }
    do throws(LocalError) {
      let image = try plan.image(region)
      let record = DataRecord(file: region.file, size: size, time: now, runs: plan.runs)
      try unsafe commitToLog(record, image.bytes, region, &state)
      return .done
    } catch {
      engine.log(.error, "cannot change \(region.name): \(error)")
      throw error.isOutOfSpace ? .noSpace : .io
    }
  }

  // MARK: Room

  /// How long the answer to a write that was just accepted should wait, because the log fills up.
  public func answerDelay(bytes: Int) -> Duration {
    let limit = engine.settings.logLimit
    return state.withLock { state in
      let used = state.bytesToCommit
      guard used > limit / 2 else { return .zero }
      return state.pacing.delay(
        bytes: bytes, used: used, limit: limit, now: engine.clock.now)
    }
  }

  /// Calls `retry` when the log or the disk may have room again.
  public func whenThereIsRoom(_ retry: @escaping @Sendable () -> Void) {
    let isFirst = state.withLock { state in
      state.spaceWaiters.append(retry)
      state.push.wantsRoom = true
      defer { state.isRetryDue = true }
      return !state.isRetryDue
    }
    pushSignal.signal()
    guard isFirst else { return }
    // The disk may get room without any commit of ours. One look for all who wait: each of thousands
    // waking all the others would be no rest for anybody.
    engine.executor.spawn {
      await self.engine.clock.sleep(for: .seconds(1))
      self.retryWaiting()
    }
  }

  func retryWaiting() {
    let waiters = state.withLock { state -> [@Sendable () -> Void] in
      state.isRetryDue = false
      defer { state.spaceWaiters = [] }
      return state.spaceWaiters
    }
    for retry in waiters { retry() }
  }
}
