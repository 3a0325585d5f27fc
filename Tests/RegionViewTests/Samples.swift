import RegionControl

/// Reports to draw.
enum Samples {
  static let now = 1_800_000_000.0

  /// A map with every kind of cell.
  static func map(_ cells: Int) -> ChunkMapStatus {
    let all = (0..<cells).map { at -> ChunkCell in
      switch at * 100 / cells {
      case ..<40: .present
      case ..<44: .pinned
      case ..<50: at % 3 == 0 ? .part : .present
      case ..<53: .pulling
      case ..<80: .absent
      case ..<86: .dirty
      case ..<90: .pushing
      default: .absent
      }
    }
    return ChunkMapStatus(chunks: UInt64(cells) * 4, chunksPerCell: 4, cells: all)
  }

  static func region(_ name: String, cells: Int = 1000, dirty: UInt64 = 0) -> RegionStatus {
    var region = RegionStatus(name: name)
    region.chunkBytes = 256 << 10
    region.chunksTotal = UInt64(cells) * 4
    region.sizeBytes = region.chunksTotal * region.chunkBytes
    region.chunksPresent = region.chunksTotal / 2
    region.chunksPulling = 12
    region.pull.mode = "background"
    region.pull.totalBytes = 600 << 20
    region.pull.doneBytes = 100 << 20
    region.pull.rateBytesPerSecond = 25e6
    region.pull.secondsLeft = 21
    region.dirtyBytes = dirty
    region.uploadingBytes = dirty / 3
    region.oldestUncommittedSeconds = dirty > 0 ? 3.2 : nil
    region.pushSecondsLeft = dirty > 0 ? 12 : nil
    region.lastCommitNumber = 42
    region.lastCommitUnixSeconds = now - 65
    region.faults.hits = 123_456
    region.faults.misses = 789
    region.faults.parked = 3
    region.faults.oldestParkedSeconds = 0.12
    region.faults.medianWaitSeconds = 0.0123
    region.faults.p99WaitSeconds = 0.25
    region.role = dirty > 0 ? .writer : .follower
    region.map = map(cells)
    return region
  }

  static func report(_ regions: [RegionStatus], at mountpoint: String = "/mnt/models")
    -> StatusReport
  {
    var report = StatusReport(mount: MountStatus(), regions: regions)
    report.mount.storeAddress = "s3://bucket/models"
    report.mount.mountpoint = mountpoint
    report.memory.residentBytes = 48 << 20
    var throughput = ThroughputStatus()
    throughput.received = (0..<60).map { UInt64($0 % 13) << 20 }
    throughput.sent = (0..<60).map { $0 < 50 ? 0 : UInt64($0) << 14 }
    report.store.throughput = throughput
    return report
  }

  /// A mount with three regions, one of them with a name in other letters.
  static let busy = report([
    region("checkpoints/step-1000/optimizer.bin", dirty: 12 << 20),
    region("llama/模型.safetensors", cells: 4096), region("small.db", cells: 12),
  ])

  /// A mount in trouble.
  static let broken: StatusReport = {
    var lost = region("db/data.mdb", cells: 64, dirty: 4096)
    lost.role = .lost
    lost.roleReason = "another mount took the claim"
    lost.faults.errors = 2
    lost.faults.lastError = ErrorStatus(message: "no answer\u{1B}[31m", unixSeconds: now - 4)
    lost.map = nil
    var report = Samples.report([lost], at: "/mnt/db")
    report.mount.offline = true
    report.mount.readOnly = true
    report.store.reachable = false
    report.store.errors = 17
    report.store.lastError = ErrorStatus(message: "connection refused", unixSeconds: now - 1)
    report.store.throughput = nil
    return report
  }()
}
