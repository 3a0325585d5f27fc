import Locks
import Synchronization

/// Keeps transfer buffers for the next transfer: the first touch of fresh memory costs more than
/// the transfer itself. Bounded; what does not fit is freed.
public final class BufferPool: Sendable {
  private struct State {
    var free: [Int: [IOBuffer]] = [:]
    var bytes = 0
  }

  private let state = Lock(State())
  /// Bytes kept now.
  var keptBytes: Int { state.withLock { $0.bytes } }
  /// The most bytes kept.
  public let limit: Int

  /// A pool that keeps at most `limit` bytes.
  public init(limit: Int) { self.limit = limit }

  /// An empty buffer for at least `bytes` bytes (rounded up to a power of two of 64 KiB or more).
  public func take(_ bytes: Int) -> IOBuffer {
    let size = Self.roundedUp(bytes)
    let kept = state.withLock { state -> IOBuffer? in
      guard let buffer = state.free[size]?.popLast() else { return nil }
      state.bytes -= size
      return buffer
    }
    guard let kept else { return IOBuffer(capacity: size) }
    kept.count = 0
    return kept
  }

  /// Gives a buffer back; the caller must not use it any more.
  public func give(_ buffer: IOBuffer) {
    let size = buffer.capacity
    guard size == Self.roundedUp(size) else { return }
    state.withLock { state in
      guard state.bytes + size <= limit else { return }
      state.free[size, default: []].append(buffer)
      state.bytes += size
    }
  }

  /// The size of the buffer for so many bytes.
  static func roundedUp(_ bytes: Int) -> Int {
    var size = 64 << 10
    while size < bytes { size *= 2 }
    return size
  }
}

/// A buffer of a pool that several share: it goes back when the last of them lets go of it.
final class PooledBuffer: Sendable {
  let buffer: IOBuffer
  /// Chunks in it that are hot; changed with the lock of `HotChunks` held.
  let hotCount = Atomic<Int>(0)
  private let pool: BufferPool

  init(_ buffer: IOBuffer, pool: BufferPool) {
    self.buffer = buffer
    self.pool = pool
  }

  deinit { pool.give(buffer) }
}
