/// Pulls that somebody asked for: how much of them is still to come.
public struct RequestedPull: Sendable {
  /// The region, which is open while this is used.
  let region: Region
  /// What was asked for.
  let chunks: Range<ChunkIndex>
  private let kind: PullOrder.Kind
  private let reason: String
  /// How often it was asked for.
  private var attempts = 1

  /// How a pull is getting on.
  public enum State: Sendable {
    /// All of it is here.
    case here
    /// So much is still to come.
    case underWay(remainingBytes: UInt64)
    /// It does not get on, and why; a passing reason may be over soon.
    case failed(String, isPassing: Bool)
  }

  /// Asks for the bytes (all of the region if nil) with a priority of 0 ... 9: from 5 on before
  /// recorded traces and what file formats suggest, else after them.
  public init(
    _ region: Region, bytes: Range<UInt64>?, priority: Int,
    reason: String = "asked for by regionfs pull"
  ) {
    self.region = region
    let all = 0..<region.chunkCount
    chunks = bytes.map { region.geometry.chunks(touching: $0).clamped(to: all) } ?? all
    kind = priority >= 5 ? .request : .hint
    self.reason = reason
    begin()
  }

  private func begin() { region.pull([chunks], kind, reason: reason) }

  /// Looks how far it is. Chunks that were changed while they came are dropped: they are asked for
  /// again, as is what could not be had, twice at most.
  public mutating func look() -> State {
    let remaining = remainingBytes
    if remaining == 0 { return .here }
    if !isRunning {
      guard attempts < 3 else { return failure }
      attempts += 1
      begin()
    }
    return .underWay(remainingBytes: remaining)
  }

  /// Bytes that are not here yet.
  public var remainingBytes: UInt64 { region.absentBytes(in: chunks) }

  /// Whether something is on its way: by the region's background pull, or because somebody reads it.
  public var isRunning: Bool {
    region.state.withLock { state in
      !state.isClosed
        && (state.background.phase == .running || !state.machine.pulling(in: chunks).isEmpty)
    }
  }

  /// Why it does not get on.
  private var failure: State {
    region.state.withLock { state in
      if let error = state.lastError {
        return .failed(error, isPassing: state.lastErrorIsPassing)
      }
      let why = state.background.reason
      return .failed(why == reason ? "its bytes change while they come" : why, isPassing: false)
    }
  }
}

extension Region {
  /// What is here, and why more comes or does not.
  public var pullReading: (presentBytes: UInt64, size: UInt64, mode: String, reason: String) {
    let size = currentSize.load(ordering: .relaxed)
    let present = UInt64(max(0, chunksPresent.load(ordering: .relaxed))) << geometry.chunkShift
    return state.withLock { state in
      let isDone = state.background.phase == .done
      return (
        isDone ? size : min(size, present), size,
        state.background.phase == .idle ? "lazy" : "background", state.background.reason
      )
    }
  }

  /// Bytes of the chunks that are absent and not known to be zero.
  func absentBytes(in range: Range<ChunkIndex>) -> UInt64 {
    var absent: UInt64 = 0
    var next = range.lowerBound
    while let first = map.nextMapped(file, from: next, below: range.upperBound) {
      // In slices, so that nobody waits long for the lock.
      let slice = first..<min(first + 4096, range.upperBound)
      absent += state.withLock { state in
        UInt64(slice.count { !chunks.isPresent($0) && !isZero($0, state) })
      }
      next = slice.upperBound
    }
    return absent << geometry.chunkShift
  }
}

extension Group {
  /// The region at a path within the group, if it is open.
  public func openRegion(at path: [FileName]) -> Region? {
    state.withLock { state in
      state.regions.first { state.namespace.path(of: $0.key) == path }?.value.region
    }
  }

  /// The region of a file if it is open.
  public func openRegion(of file: FileID) -> Region? {
    state.withLock { $0.regions[file]?.region }
  }
}
