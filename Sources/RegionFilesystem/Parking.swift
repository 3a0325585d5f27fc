import FuseKit
import Glibc
import RegionCore

/// Replies that wait for the store, by the key under which the kernel may interrupt them.
final class Parking: Sendable {
  /// Answers something parked with an errno.
  private typealias Fail = @Sendable (Int32) -> Void

  /// Parked reads above which the oldest read-ahead is given up. READs and write-back share a queue
  /// in the kernel: far below its limit (65,535), so that msync is never held up by reads.
  private static let readLimit = 4096

  private let state = Lock(ParkingTable<Fail>())
  private let clock: any EngineClock

  /// An empty one, which tells ages by `clock`.
  init(clock: any EngineClock) { self.clock = clock }

  /// Replies that wait now.
  var count: Int { state.withLock { $0.count } }

  /// Since when the oldest of them waits; nil if none does.
  var oldest: MonotonicTime? { state.withLock { $0.oldest() } }

  /// Parks a read; nil if its caller was interrupted already (it has been answered).
  func park(_ reply: consuming ReadReply, size: Int) -> (key: UInt64, box: ReplyBox<ReadReply>)? {
    let box = ReplyBox(reply)
    // A read of one page may be the retry of one that was given up: it always stays.
    let key = register(box, isReadAhead: size > 4096) {
      $0.armInterrupt(key: $1)
    } fail: {
      box.take()?.error($0)
    }
    shedReadAhead()
    return key.map { ($0, box) }
  }

  /// Answers the oldest read-ahead with an error while too many reads are parked.
  private func shedReadAhead() {
    let fail = state.withLock { state -> Fail? in
      state.count > Self.readLimit ? state.removeOldestReadAhead() : nil
    }
    fail?(EIO)
  }

  /// Parks a sync.
  func park(_ reply: consuming EmptyReply) -> (key: UInt64, box: ReplyBox<EmptyReply>)? {
    let box = ReplyBox(reply)
    let key = register(box, isReadAhead: false) {
      $0.armInterrupt(key: $1)
    } fail: {
      box.take()?.error($0)
    }
    return key.map { ($0, box) }
  }

  private func register<Reply: ~Copyable & Sendable>(
    _ box: ReplyBox<Reply>, isReadAhead: Bool, arm: (borrowing Reply, UInt64) -> Bool,
    fail: @escaping @Sendable (Int32) -> Void
  ) -> UInt64? {
    let now = clock.now
    let (key, isInterrupted) = state.withLock { state -> (UInt64, Bool) in
      let key = state.makeKey()
      // Armed with the lock held: an interrupt that comes now finds the reply in the table.
      let isInterrupted = box.inspect { arm($0, key) } ?? true
      if !isInterrupted { state.insert(fail, at: key, isReadAhead: isReadAhead, now: now) }
      return (key, isInterrupted)
    }
    if isInterrupted {
      fail(EINTR)
      return nil
    }
    return key
  }

  /// The reply was, or is about to be, answered by its owner.
  func remove(_ key: UInt64) { state.withLock { _ = $0.remove(key) } }

  /// Answers EINTR if the reply still waits.
  func interrupt(_ key: UInt64) {
    state.withLock { $0.remove(key) }?(EINTR)
  }

  /// Answers everything that waits with EIO: the session ends.
  func failAll() {
    for fail in state.withLock({ $0.removeAll() }) { fail(EIO) }
  }
}

extension ReplyBox where Reply: ~Copyable {
  /// Looks at the reply without taking it; nil if it was taken.
  func inspect<Value>(_ body: (borrowing Reply) -> Value) -> Value? {
    withReply { body($0) }
  }
}

/// A buffer of the calling thread's own, for READs.
enum ThreadScratch {
  private static let key: pthread_key_t = {
    var key = pthread_key_t()
    let status = unsafe pthread_key_create(&key) { pointer in
      guard let pointer = unsafe pointer else { return }
      unsafe Unmanaged<IOBuffer>.fromOpaque(pointer).release()
    }
    precondition(status == 0, "pthread_key_create: out of keys")
    return key
  }()

  /// At least `size` bytes that nobody else uses until this thread asks again.
  static func buffer(_ size: Int) -> IOBuffer {
    if let pointer = unsafe pthread_getspecific(key) {
      // SAFETY: only this function stores there, always a retained IOBuffer.
      let kept = unsafe Unmanaged<IOBuffer>.fromOpaque(pointer)
      let buffer = unsafe kept.takeUnretainedValue()
      if buffer.capacity >= size { return buffer }
      unsafe kept.release()
    }
    let fresh = IOBuffer(capacity: max(size, 256 << 10))
    unsafe pthread_setspecific(key, Unmanaged.passRetained(fresh).toOpaque())
    return fresh
  }
}
