import Locks

/// Reads that were begun before anybody asked: a GET of the same object, or of the same part of it,
/// takes over what has come, or waits for it.
///
/// Each read serves one GET (each part of it one) and none after a change through this store: who looks
/// what became of a change, or asks again because what came was damaged, gets an answer of its own. An
/// object that may change serves for a second, and says how old it is (`ObjectInfo.asOf`), so that
/// nothing is believed longer for it.
public final class EarlyReads: ObjectStore {
  /// An object, or a part of it.
  private struct Piece: Hashable {
    var key: ObjectKey
    var range: Range<UInt64>?
  }

  private typealias Outcome = Result<(bytes: IOBuffer, info: ObjectInfo), StoreError>

  private struct Read {
    var task: Task<Outcome, Never>
    var begun: MonotonicTime
    /// Its name is never given to other bytes: it may serve a GET of each of its parts.
    var isImmutable: Bool
    /// Parts that it has served.
    var served: Set<Range<UInt64>?> = []
  }

  /// How long a read serves.
  private static let age = Duration.seconds(1)
  private static let immutableAge = Duration.seconds(10)

  private let inner: any ObjectStore
  private let source: any ObjectStore
  private let clock: any EngineClock
  private let reads = Lock<[Piece: Read]>([:])

  /// Reads early from `source`, which gives up soon; everything else goes to `inner`.
  public init(
    _ inner: any ObjectStore, from source: any ObjectStore, clock: any EngineClock = SystemClock()
  ) {
    self.inner = inner
    self.source = source
    self.clock = clock
  }

  /// The inner store's address.
  public var address: String { inner.address }

  /// Begins to read an object, or `range` of it, if that is no longer than `limit` bytes. `then` gets
  /// the bytes.
  public func begin(
    _ key: ObjectKey, range: Range<UInt64>? = nil, limit: Int, isImmutable: Bool,
    on executor: any TaskExecutor, then: (@Sendable (IOBuffer) -> Void)? = nil
  ) {
    let begun = clock.now
    let piece = Piece(key: key, range: range)
    reads.withLock { reads in
      guard reads[piece] == nil else { return }
      let task = Task<Outcome, Never>(executorPreference: executor) { [source] in
        let buffer = IOBuffer(capacity: limit)
        do throws(StoreError) {
          let info = try await source.get(key, range: range, into: buffer, priority: .demand)
          then?(buffer)
          return .success((buffer, info))
        } catch {
          return .failure(error)
        }
      }
      reads[piece] = Read(task: task, begun: begun, isImmutable: isImmutable)
    }
  }

  /// Forgets what nobody asked for.
  public func end() {
    let unused = reads.withLock { reads in
      defer { reads = [:] }
      return reads.values.map(\.task)
    }
    for task in unused { task.cancel() }
  }

  private func forget(_ key: ObjectKey) {
    reads.withLock { reads in
      for piece in reads.keys where piece.key == key { reads[piece] = nil }
    }
  }

  private func take(_ piece: Piece, part: Range<UInt64>?) -> Read? {
    let now = clock.now
    return reads.withLock { reads in
      guard let read = reads[piece] else { return nil }
      if !read.isImmutable { reads[piece] = nil }
      guard reads[piece]?.served.insert(part).inserted ?? true else { return nil }
      let age = read.isImmutable ? Self.immutableAge : Self.age
      return now.since(read.begun) < age ? read : nil
    }
  }

  /// Reads an object, see `ObjectStore.get`. What came early is not there (absent, too long, an error)
  /// is asked for again.
  public func get(
    _ key: ObjectKey, range: Range<UInt64>?, into buffer: IOBuffer, priority: TransferPriority
  ) async throws(StoreError) -> ObjectInfo {
    if let range, let info = await early(Piece(key: key, range: range), part: nil, into: buffer) {
      return info
    }
    if let info = await early(Piece(key: key), part: range, into: buffer) { return info }
    return try await inner.get(key, range: range, into: buffer, priority: priority)
  }

  /// What came early of `piece`, or a part of that; nil if that is not there.
  private func early(
    _ piece: Piece, part: Range<UInt64>?, into buffer: IOBuffer
  ) async -> ObjectInfo? {
    guard let read = take(piece, part: part),
      case .success(let (bytes, info)) = await read.task.value,
      let info = Self.part(part, of: bytes, info, into: buffer)
    else { return nil }
    return ObjectInfo(
      etag: info.etag, totalLength: info.totalLength, asOf: read.isImmutable ? nil : read.begun)
  }

  /// Copies a part (all if nil); nil where it is not there or does not fit.
  private static func part(
    _ range: Range<UInt64>?, of bytes: IOBuffer, _ info: ObjectInfo, into buffer: IOBuffer
  ) -> ObjectInfo? {
    let range = range ?? 0..<UInt64(bytes.count)
    guard range.upperBound <= UInt64(bytes.count), range.count <= buffer.capacity else {
      return nil
    }
    let part = Int(range.lowerBound)..<Int(range.upperBound)
    buffer.count = 0
    // SAFETY: the part lies within the bytes, which outlive the copy.
    unsafe buffer.append(bytes.bytes.bytes(part))
    return info
  }

  /// Writes an object, see `ObjectStore.put`.
  public func put(
    _ key: ObjectKey, _ body: IOBuffer, condition: PutCondition, priority: TransferPriority
  ) async throws(StoreError) -> ETag {
    forget(key)
    return try await inner.put(key, body, condition: condition, priority: priority)
  }

  /// Removes an object, see `ObjectStore.delete`.
  public func delete(_ key: ObjectKey) async throws(StoreError) {
    forget(key)
    try await inner.delete(key)
  }

  /// Lists keys, see `ObjectStore.list`.
  public func list(prefix: String, from token: String?, limit: Int) async throws(StoreError)
    -> ListPage
  {
    try await inner.list(prefix: prefix, from: token, limit: limit)
  }
}
