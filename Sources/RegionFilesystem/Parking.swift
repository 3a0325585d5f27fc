import FuseKit
import Glibc
import Locks
import RegionCore

/// Replies that wait, for the store or for room, by the key under which the kernel may interrupt them.
///
/// The kernel tells of an interrupt once, whatever signal it was, and then waits on, unkillably, for
/// the answer. So what waits here is looked after until it is answered: `PendingSignals` says whether
/// its process is being killed.
final class Parking: Sendable {
  /// What a reply that waits may come to.
  enum Kind {
    /// A read or a lookup. Waits no longer than `fault_timeout`, and ends with EINTR when its process
    /// is being killed or asked to stop (SIGINT and the like, also where it handles them).
    case reading
    /// The same without an end: write(2) and open(2) for writing.
    case writing
    /// A sync, or a change of names: only being killed ends the wait. Programs do not expect EINTR
    /// from fsync(2), and a rename that went through should not look as if it had not.
    case changing
  }

  /// Answers something parked with an errno.
  private typealias Fail = @Sendable (Int32) -> Void

  /// What is looked after while it waits.
  private struct Watched {
    var kind: Kind
    /// The thread that waits; 0 if that is not known.
    var thread: Int32
    var deadline: MonotonicTime?
    var isInterrupted = false
  }

  /// Parked reads above which the oldest read-ahead is given up. READs and write-back share a queue
  /// in the kernel: far below its limit (65,535), so that msync is never held up by reads.
  private static let readLimit = 4096
  /// What a read waits beyond `fault_timeout`, so that the store's own error comes first.
  private static let grace = Duration.milliseconds(500)
  /// How often deadlines and signals are looked at.
  private static let interval = Duration.milliseconds(100)

  private struct State {
    var table = ParkingTable<Fail>()
    var watched: [UInt64: Watched] = [:]
    var isWatching = false

    mutating func remove(_ key: UInt64) -> Fail? {
      watched[key] = nil
      return table.remove(key)
    }
  }

  private let engine: EngineContext
  private let state = Lock(State())

  init(engine: EngineContext) { self.engine = engine }

  /// Replies that wait now.
  var count: Int { state.withLock { $0.table.count } }

  /// Since when the oldest of them waits; nil if none does.
  var oldest: MonotonicTime? { state.withLock { $0.table.oldest() } }

  /// Parks a reply until its box is emptied. If its caller was interrupted already, it is answered at
  /// once, and the box is empty.
  func hold<Reply: ParkableReply & ~Copyable>(
    _ reply: consuming Reply, _ kind: Kind, isReadAhead: Bool = false
  ) -> ReplyBox<Reply> {
    let thread = reply.callerThread
    let box = ReplyBox(reply)
    let deadline =
      kind == .reading ? engine.clock.now + engine.settings.faultTimeout + Self.grace : nil
    var watched = Watched(kind: kind, thread: thread, deadline: deadline)
    let fail: Fail = { box.take()?.error($0) }
    let now = engine.clock.now
    let (key, mustWatch) = state.withLock { state -> (UInt64, Bool) in
      let key = state.table.makeKey()
      // Armed with the lock held: an interrupt that comes now finds the reply in the table.
      watched.isInterrupted = box.withReply { $0.armInterrupt(key: key) } ?? false
      state.table.insert(fail, at: key, isReadAhead: isReadAhead, now: now)
      state.watched[key] = watched
      let mustWatch = !state.isWatching && (deadline != nil || watched.isInterrupted)
      if mustWatch { state.isWatching = true }
      return (key, mustWatch)
    }
    box.whenTaken { [weak self] in self?.remove(key) }
    if mustWatch { watch() }
    if isReadAhead { shedReadAhead() }
    return box
  }

  /// Answers the oldest read-ahead with an error while too many reads are parked.
  private func shedReadAhead() {
    let fail = state.withLock { state -> Fail? in
      state.table.count > Self.readLimit ? state.table.removeOldestReadAhead() : nil
    }
    fail?(EIO)
  }

  private func remove(_ key: UInt64) { state.withLock { _ = $0.remove(key) } }

  /// The kernel says that a signal came for who waits.
  func interrupt(_ key: UInt64) {
    let mustWatch = state.withLock { state -> Bool in
      guard state.watched[key] != nil else { return false }
      state.watched[key]?.isInterrupted = true
      defer { state.isWatching = true }
      return !state.isWatching
    }
    if mustWatch { watch() }
  }

  /// Looks after deadlines and interrupted callers while there are any.
  private func watch() {
    engine.executor.spawn {
      while self.look() { await self.engine.clock.sleep(for: Self.interval) }
    }
  }

  /// Answers what need not wait any more; returns whether there may be more to look after.
  private func look() -> Bool {
    let interrupted = state.withLock { state in
      state.watched.filter(\.value.isInterrupted).map { ($0.key, $0.value.kind, $0.value.thread) }
    }
    let ended = interrupted.filter { _, kind, thread in
      let signals = PendingSignals(thread: thread)
      return signals.areFatal || signals.askToStop && kind != .changing
    }.map(\.0)
    let now = engine.clock.now
    let (given, late, goesOn) = state.withLock { state -> ([Fail], [Fail], Bool) in
      let given = ended.compactMap { state.remove($0) }
      let expired = state.watched.filter { $0.value.deadline.map { $0 <= now } ?? false }.map(\.key)
      let late = expired.compactMap { state.remove($0) }
      let goesOn = state.watched.contains { $0.value.deadline != nil || $0.value.isInterrupted }
      state.isWatching = goesOn
      return (given, late, goesOn)
    }
    for fail in given { fail(EINTR) }
    for fail in late { fail(EIO) }
    if !late.isEmpty {
      engine.log(
        .error, "\(late.count) requests failed: the store let them wait longer than fault_timeout")
    }
    return goesOn
  }

  /// Answers everything that waits with EIO: the session ends.
  func failAll() {
    let parked = state.withLock { state in
      state.watched = [:]
      return state.table.removeAll()
    }
    for fail in parked { fail(EIO) }
  }
}
