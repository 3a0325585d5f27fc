/// When a group's changes are to be pushed: a pure clockwork of bytes and ages.
struct PushState: Sendable {
  /// Bytes of accepted records that no commit contains.
  private(set) var uncommittedBytes: UInt64 = 0
  /// Of these, bytes that the push under way contains.
  private(set) var bytesInUpload: UInt64 = 0
  /// Bytes of uncommitted records by the file whose data they change.
  private(set) var uncommittedByFile: [FileID: UInt64] = [:]
  private var uploadingByFile: [FileID: UInt64] = [:]
  /// When the oldest record was accepted that no seal has taken.
  private(set) var oldestUnsealed: MonotonicTime?
  /// When the oldest record of the push under way was accepted.
  private(set) var oldestSealed: MonotonicTime?
  /// A record was accepted while there was none to seal: the pusher has to begin to count its age.
  private var hasNews = false
  /// Somebody waits for a commit (sync=remote, `regionfs sync`, unmount).
  var wantsCommit = false
  /// Somebody waits for room in the log.
  var wantsRoom = false
  /// The last push did not get through, in spite of its retries: the store is away.
  var isFailing = false
  /// A checkpoint was begun and has not got through.
  var owesCheckpoint = false
  /// The mount ends: everything is to be committed and the claim released.
  var isDraining = false
  /// When the group became clean and without writers; nil while it is not.
  var idleSince: MonotonicTime?

  /// What to do next.
  enum Step: Equatable, Sendable {
    /// Seal what there is and commit it.
    case commit
    /// Nothing is dirty and nobody writes: give the claim back.
    case release
    /// Write a checkpoint first, so that the next mount reads few objects.
    case checkpoint
    /// Wait for a signal, at most so long.
    case wait(Duration?)
  }

  mutating func noteAppended(bytes: Int, file: FileID?, at now: MonotonicTime) {
    uncommittedBytes += UInt64(bytes)
    if let file { uncommittedByFile[file, default: 0] += UInt64(bytes) }
    guard oldestUnsealed == nil else { return }
    oldestUnsealed = now
    hasNews = true
  }

  /// Whether the pusher should look at what was accepted since the last call. Of most records it need
  /// not hear: it knows when the oldest is due, and to be woken for each costs more than a write.
  mutating func takeNews(_ settings: EngineSettings) -> Bool {
    defer { hasNews = false }
    return hasNews || isFull(settings)
  }

  private func isFull(_ settings: EngineSettings) -> Bool {
    uncommittedBytes >= settings.logLimit / 2
  }

  /// Entries of `bytes` bytes were taken; `rest` says whether unsealed ones remain.
  mutating func noteSealed(
    bytes: UInt64, byFile: [FileID: UInt64], rest: Bool, at now: MonotonicTime
  ) {
    bytesInUpload = bytes
    uploadingByFile = byFile
    oldestSealed = oldestUnsealed
    // The exact age of the first remaining record is not kept; it is younger than the sealed ones.
    oldestUnsealed = rest ? oldestUnsealed : nil
  }

  mutating func noteCommitted() {
    uncommittedBytes -= min(uncommittedBytes, bytesInUpload)
    bytesInUpload = 0
    oldestSealed = nil
    isFailing = false
    for (file, bytes) in uploadingByFile {
      let rest = (uncommittedByFile[file] ?? 0) - min(bytes, uncommittedByFile[file] ?? 0)
      uncommittedByFile[file] = rest == 0 ? nil : rest
    }
    uploadingByFile = [:]
    if uncommittedBytes == 0 {
      wantsCommit = false
      wantsRoom = false
    }
  }

  /// Counts from zero again, for the records that are left after others turned out to be committed.
  mutating func restart() {
    var fresh = PushState()
    fresh.wantsCommit = wantsCommit
    fresh.wantsRoom = wantsRoom
    fresh.isDraining = isDraining
    self = fresh
  }

  /// When the oldest uncommitted record was accepted.
  var oldestUncommitted: MonotonicTime? { oldestSealed ?? oldestUnsealed }

  /// The next step. `hasWriters`: files are open for writing.
  mutating func next(now: MonotonicTime, settings: EngineSettings, hasWriters: Bool) -> Step {
    // A sealed push that did not get through comes first.
    if oldestSealed != nil { return .commit }
    guard let oldest = oldestUnsealed else { return nextWhenClean(now, settings, hasWriters) }
    idleSince = nil
    let age = now.since(oldest)
    let limit = settings.pushInterval / 2
    if wantsCommit || wantsRoom || isDraining || isFull(settings) || age >= limit { return .commit }
    return .wait(limit - age)
  }

  private mutating func nextWhenClean(
    _ now: MonotonicTime, _ settings: EngineSettings, _ hasWriters: Bool
  ) -> Step {
    wantsCommit = false
    wantsRoom = false
    if isDraining { return .release }
    guard !hasWriters, !settings.keepsClaims else {
      idleSince = nil
      return .wait(nil)
    }
    let since = idleSince ?? now
    idleSince = since
    let idle = now.since(since)
    return idle >= settings.releaseDelay ? .release : .wait(settings.releaseDelay - idle)
  }
}

/// Which records are durable, and who waits for more to be.
struct SyncState {
  /// Records up to this one are on disk.
  var durable: SequenceNumber = 0
  /// Records up to this one are in the store.
  var committed: SequenceNumber = 0
  var isSyncing = false
  var durableWaiters: [(through: SequenceNumber, completion: @Sendable (RegionError?) -> Void)] = []
  var commitWaiters: [(through: SequenceNumber, completion: @Sendable (RegionError?) -> Void)] = []

  /// Takes the waiters that `done` satisfies.
  static func take(
    _ waiters: inout [(through: SequenceNumber, completion: @Sendable (RegionError?) -> Void)],
    through done: SequenceNumber
  ) -> [@Sendable (RegionError?) -> Void] {
    let ready = waiters.filter { $0.through <= done }.map(\.completion)
    waiters.removeAll { $0.through <= done }
    return ready
  }
}
