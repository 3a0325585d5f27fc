import Glibc
import Locks
import RegionControl
import RegionCore
import RegionFilesystem
import Synchronization

/// The daemon's side of the control socket.
struct DaemonControl: ControlHandler {
  let daemon: Daemon
  let watchdog: DaemonWatchdog
  let mountpoint: String
  let device: String

  func mountStatus() -> MountStatus {
    var status = MountStatus()
    let options = daemon.configuration.options
    status.storeAddress = daemon.configuration.store.description
    status.mountpoint = mountpoint
    status.pid = getpid()
    status.version = RegionfsVersion.text
    status.mountID = daemon.mountID
    status.device = device
    status.startedUnixSeconds = daemon.progress.started.unixSeconds
    status.state = daemon.progress.state
    status.offline = daemon.progress.isOffline
    status.pullMode = options.pull.rawValue
    status.syncMode = options.sync.rawValue
    status.cacheDirectory = daemon.cache.path
    status.kernelTuningReason = daemon.progress.tuningFailure
    status.kernelTuned = status.kernelTuningReason == nil
    status.readOnly = options.readOnly
    status.readOnlyReason = options.readOnly ? "mounted with -o ro" : nil
    return status
  }

  func status() -> StatusReport { report(maps: [:]) }

  func status(mapCells: Int) -> StatusReport {
    let maps = daemon.filesystem.chunkMaps(limit: mapCells).map { path, map in
      (Self.text(path), ChunkMapStatus(map))
    }
    // Two files of groups without a name may have one path.
    return report(maps: Dictionary(maps, uniquingKeysWith: { first, _ in first }))
  }

  private static func text(_ path: [FileName]) -> String {
    path.map(\.description).joined(separator: "/")
  }

  private func report(maps: [String: ChunkMapStatus]) -> StatusReport {
    let snapshots = daemon.filesystem.snapshots()
    let rate = ThroughputStatus.mean(daemon.progress.throughput.sent)
    let regions = snapshots.flatMap { name, group in
      group.regions.map {
        var status = region(name, group, $0)
        status.map = maps[status.name]
        // What others have to push goes first or at the same time. While nothing is being uploaded the
        // little that is sent, such as heartbeats, says nothing of the speed.
        let left = Double(daemon.filesystem.uncommittedBytes)
        status.pushSecondsLeft = status.uploadingBytes > 0 ? rate.map { left / $0 } : nil
        return status
      }
    }
    var report = StatusReport(
      mount: mountStatus(), store: storeStatus, memory: memoryStatus(snapshots.map(\.1)),
      regions: regions.sorted { $0.name < $1.name })
    report.watchdog = watchdog.status
    report.cache = cacheStatus
    return report
  }

  /// The process's memory, and what the formula in docs/ARCHITECTURE.md allows it.
  private func memoryStatus(_ groups: [GroupSnapshot]) -> MemoryStatus {
    var status = MemoryReading.current()
    let buffers = daemon.engine.bufferUsage
    status.bufferBytes = UInt64(buffers.transferBytes + buffers.keptBytes + buffers.hotBytes)
    var bound = MemoryBound(buffers: UInt64(buffers.limitBytes))
    bound.queue = daemon.engine.cacheBudget.statistics.queueBytes
    for group in groups {
      if case .writer = group.role { bound.writers += 1 }
      bound.inodes += UInt64(group.inodes)
      bound.uncommitted += group.uncommittedBytes
      bound.chunks += group.regions.reduce(0) { $0 + $1.chunksPresent }
    }
    status.boundBytes = bound.bytes
    return status
  }

  private var cacheStatus: CacheStatus {
    let statistics = daemon.engine.cacheBudget.statistics
    var status = CacheStatus()
    status.usedBytes = statistics.usedBytes
    status.limitBytes = statistics.limitBytes
    status.evictedChunks = statistics.evictedChunks
    status.keptChunks = statistics.refusals
    status.prefilledBytes = daemon.engine.prefilledBytes.load(ordering: .relaxed)
    status.slowedWrites = daemon.engine.slowedWrites.load(ordering: .relaxed)
    return status
  }

  private var storeStatus: StoreStatus {
    var status = StoreStatus()
    let counts = daemon.stack.meter.snapshot()
    status.requests = [
      "get": counts.get.requests, "put": counts.put.requests, "delete": counts.delete.requests,
      "list": counts.list.requests,
    ]
    status.uploadedBytes = counts.put.bytes
    status.downloadedBytes = counts.get.bytes
    status.errors = counts.errors
    status.lastError = daemon.progress.lastStoreError
    status.reachable = !daemon.stack.health.isDown
    status.throughput = daemon.progress.throughput
    return status
  }

  private func region(_ top: FileName?, _ group: GroupSnapshot, _ region: RegionSnapshot)
    -> RegionStatus
  {
    var status = RegionStatus(name: Self.text([top].compactMap { $0 } + region.path))
    status.groupID = "\(group.id)"
    status.sizeBytes = region.size
    status.chunkBytes = region.chunkSize
    status.chunksTotal = region.chunksTotal
    status.chunksPresent = region.chunksPresent
    status.chunksPinned = region.chunksPinned
    status.chunksPulling = region.chunksPulling
    status.pull.mode = region.pullMode
    status.pull.reason = region.pullReason
    status.pull.doneBytes = region.pulledBytes
    status.pull.totalBytes = region.pullTotalBytes
    status.pull.rateBytesPerSecond = region.pullRate
    status.pull.secondsLeft = region.secondsLeft
    status.dirtyBytes = region.uncommittedBytes
    status.uploadingBytes = min(group.bytesInUpload, region.uncommittedBytes)
    status.oldestUncommittedSeconds = group.oldestUncommitted?.secondsValue
    status.lastCommitNumber = group.commit
    status.lastCommitUnixSeconds = group.committedAt?.unixSeconds
    status.faults.hits = region.hits
    status.faults.misses = region.misses
    status.faults.parked = region.parked
    status.faults.oldestParkedSeconds = region.oldestParked?.secondsValue
    status.faults.medianWaitSeconds = region.waits?.median.secondsValue
    status.faults.p99WaitSeconds = region.waits?.p99.secondsValue
    status.faults.errors = region.errors
    status.faults.lastError = region.lastError.map {
      ErrorStatus(message: $0, unixSeconds: SystemClock().wall.unixSeconds)
    }
    switch group.role {
    case .idle: status.role = .idle
    case .writer: status.role = .writer
    case .stopped(let reason, let isStale):
      status.role = isStale ? .lost : .readOnly
      status.roleReason = reason
    }
    return status
  }

  func sync(path: String?, progress: (SyncProgress) -> Bool) throws(ControlError) {
    let result = BlockingOutcome()
    do throws(RegionError) {
      try daemon.filesystem.commit(Self.top(of: path)) { result.set($0) }
    } catch {
      throw ControlError(.notFound, "\(path ?? "the mount") is not known here: \(error)")
    }
    while true {
      if let outcome = result.outcome(within: 400) {
        if let error = outcome { throw ControlError(.failed, "cannot commit: \(error)") }
        return
      }
      if !progress(currentProgress) { return }
    }
  }

  func pull(
    path: String, start: UInt64?, end: UInt64?, priority: Int, progress: (SyncProgress) -> Bool
  ) throws(ControlError) {
    let names = path.split(separator: "/").compactMap { FileName(String($0)) }
    guard let region = daemon.filesystem.openRegion(at: names) else {
      throw ControlError(.notFound, "\(path) is not an open file of this mount")
    }
    let first = min(start ?? 0, region.size)
    let bytes = first..<max(first, min(end ?? .max, region.size))
    var pull = RequestedPull(region, bytes: bytes, priority: priority)
    while true {
      switch pull.look() {
      case .here: return
      case .failed(let why, _): throw ControlError(.failed, "cannot pull \(path): \(why)")
      case .underWay(let remaining):
        let received = daemon.progress.throughput.received
        if !progress(daemon.state(remaining: remaining, traffic: received)) { return }
      }
      for _ in 0..<40 where pull.isRunning { usleep(10_000) }
    }
  }

  func takeOver(path: String) throws(ControlError) -> String {
    guard let name = Self.top(of: path) else {
      throw ControlError(.notFound, "\(path) is not under the mount")
    }
    let filesystem = daemon.filesystem
    let result = daemon.wait { () async -> Result<String?, RegionError> in
      do throws(RegionError) {
        return .success(try await filesystem.takeOver(name))
      } catch {
        return .failure(error)
      }
    }
    switch result {
    case .success(let holder?): return "\(name) was claimed by \(holder); this mount writes it now"
    case .success(nil): return "\(name) is written by this mount; nobody else claimed it"
    case .failure(let error): throw ControlError(.failed, Self.explain(error, name))
    }
  }

  private static func explain(_ error: RegionError, _ name: FileName) -> String {
    switch error {
    case .notFound: "there is no \(name) in the store"
    case .readOnly: "this mount is read-only"
    case .busy(let holder): "\(name) is claimed by \(holder) again and again; try again"
    case .stale:
      "this mount lost \(name) to another writer and keeps uncommitted changes of it: unmount, mount "
        + "again, and see regionfs recover"
    default: "cannot take \(name) over: \(error); the daemon's log says why"
    }
  }

  private static func top(of path: String?) -> FileName? {
    guard let first = path?.split(separator: "/").first else { return nil }
    return FileName(String(first))
  }

  func drain(progress: (SyncProgress) -> Bool) throws(ControlError) {
    while daemon.progress.state != .drained {
      if !progress(currentProgress) { return }
      for _ in 0..<20 where daemon.progress.state != .drained { usleep(20_000) }
    }
  }

  private var currentProgress: SyncProgress {
    daemon.state(
      remaining: daemon.filesystem.uncommittedBytes, traffic: daemon.progress.throughput.sent)
  }

  func requestShutdown() throws(ControlError) { try daemon.unmount() }

  func setLogLevel(_ level: String) throws(ControlError) { try LogSetup.setLevel(level) }
}

extension ChunkMapStatus {
  /// The daemon's map as it goes over the socket.
  init(_ map: ChunkMap) {
    self.init(
      chunks: map.chunks, chunksPerCell: map.chunksPerCell,
      cells: map.cells.map { cell in
        switch cell {
        case .absent: .absent
        case .part: .part
        case .present: .present
        case .pinned: .pinned
        case .pulling: .pulling
        case .dirty: .dirty
        case .pushing: .pushing
        }
      })
  }
}

/// Waits on a thread of the control server for a completion.
final class BlockingOutcome: Sendable {
  private let outcome = Lock<RegionError??>(nil)

  func set(_ error: RegionError?) { outcome.withLock { $0 = .some(error) } }

  /// The outcome, or nil if it has not come within so many milliseconds.
  func outcome(within milliseconds: Int) -> RegionError?? {
    for _ in 0..<max(1, milliseconds / 5) {
      if let done = outcome.withLock({ $0 }) { return .some(done) }
      usleep(5_000)
    }
    return nil
  }
}

/// The process's memory, from procfs.
enum MemoryReading {
  static func current() -> MemoryStatus {
    var status = MemoryStatus()
    guard let file = try? LocalFile(path: "/proc/self/status", flags: O_RDONLY) else {
      return status
    }
    let buffer = IOBuffer(capacity: 8192)
    buffer.count = (try? unsafe file.read(into: buffer.memory, at: 0)) ?? 0
    for line in String(decoding: buffer.array, as: UTF8.self).split(separator: "\n") {
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      guard words.count >= 2, let kib = UInt64(words[1]) else { continue }
      if words[0] == "VmRSS:" { status.residentBytes = kib << 10 }
      if words[0] == "VmHWM:" { status.peakResidentBytes = kib << 10 }
    }
    return status
  }
}
