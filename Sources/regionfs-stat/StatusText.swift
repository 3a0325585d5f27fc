import RegionControl

/// Reports as text for people. Pure: the time is given.
enum StatusText {
  /// Every mount with its table of regions.
  static func full(_ reports: [StatusReport], now: Double) -> String {
    reports.map { mount($0, now: now) }.joined(separator: "\n")
  }

  /// One line a region, for logs: `TIME PATH key=value …`.
  static func lines(_ reports: [StatusReport], now: Double) -> String {
    let time = HumanText.timestamp(unixSeconds: now)
    return reports.flatMap { report in
      report.regions.map { region in
        let path = HumanText.printable(report.mount.mountpoint + "/" + region.name)
        let oldest = HumanText.seconds(region.oldestUncommittedSeconds)
        return "\(time) \(path) size=\(region.sizeBytes) "
          + "present=\(region.chunksPresent)/\(region.chunksTotal) "
          + "pulled=\(region.pull.doneBytes)/\(region.pull.totalBytes) "
          + "dirty=\(region.dirtyBytes) uploading=\(region.uploadingBytes) oldest=\(oldest) "
          + "commit=\(region.lastCommitNumber.map(String.init) ?? HumanText.none) "
          + "hit=\(region.faults.hits) miss=\(region.faults.misses) "
          + "parked=\(region.faults.parked) errors=\(region.faults.errors) "
          + "role=\(region.role.rawValue)\n"
      }
    }.joined()
  }

  private static func mount(_ report: StatusReport, now: Double) -> String {
    var text = header(report, now: now)
    if report.regions.isEmpty {
      text += "  no regions\n"
    } else {
      text += "\n" + table(report.regions, now: now)
    }
    for region in report.regions {
      let name = HumanText.printable(region.name)
      if let reason = region.roleReason {
        text += "  \(name): \(region.role.rawValue): \(HumanText.printable(reason))\n"
      }
      if let pinned = region.chunksPinned, pinned > 0 {
        text += "  \(name): \(pinned) chunks pinned\n"
      }
      if let error = region.faults.lastError {
        text += "  \(name): last error \(self.error(error, now: now))\n"
      }
    }
    return text
  }

  private static func header(_ report: StatusReport, now: Double) -> String {
    let mount = report.mount
    let store = report.store
    let age = HumanText.seconds(now - mount.startedUnixSeconds)
    var text = "\(HumanText.printable(mount.storeAddress)) on "
    text += "\(HumanText.printable(mount.mountpoint)): \(mount.state.rawValue)"
    if mount.offline { text += ", OFFLINE since the mount (shown as the cache has it)" }
    if mount.readOnly {
      text += ", read-only" + (mount.readOnlyReason.map { " (\(HumanText.printable($0)))" } ?? "")
    }
    text +=
      "\n  daemon   pid \(mount.pid), up \(age), version \(HumanText.printable(mount.version))"
    text += ", memory \(HumanText.bytes(report.memory.residentBytes))"
    text += " (peak \(HumanText.bytes(report.memory.peakResidentBytes))"
    text += (report.memory.boundBytes.map { ", at most \(HumanText.bytes($0))" } ?? "") + ")\n"
    text += "  mode     pull=\(mount.pullMode) sync=\(mount.syncMode)"
    text += mount.kernelTuned ? ", kernel tuned" : ", kernel not tuned"
    text += mount.kernelTuningReason.map { ": " + HumanText.printable($0) } ?? ""
    text += "\n  cache    \(HumanText.printable(mount.cacheDirectory))"
    text += (report.cache.map(cache) ?? "") + "\n"
    let requests = store.requests.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
    text += "  store    \(store.reachable ? "reachable" : "NOT REACHABLE")"
    text += ", \(HumanText.bytes(store.downloadedBytes)) down"
    text += ", \(HumanText.bytes(store.uploadedBytes)) up"
    text += requests.isEmpty ? "" : ", requests: " + requests.joined(separator: ", ")
    text += "\n"
    if store.errors > 0 {
      text += "  errors   \(store.errors)"
      text += store.lastError.map { ", last \(error($0, now: now))" } ?? ""
      text += "\n"
    }
    return text
  }

  private static func cache(_ cache: CacheStatus) -> String {
    var text = ", \(HumanText.bytes(cache.usedBytes))"
    text += cache.limitBytes.map { " of \(HumanText.bytes($0))" } ?? ""
    if cache.evictedChunks > 0 { text += ", \(cache.evictedChunks) chunks evicted" }
    if let slowed = cache.slowedWrites, slowed > 0 { text += ", \(slowed) writes slowed" }
    return text
  }

  private static func error(_ error: ErrorStatus, now: Double) -> String {
    "\(HumanText.seconds(max(0, now - error.unixSeconds))) ago: "
      + HumanText.printable(error.message)
  }

  private static func table(_ regions: [RegionStatus], now: Double) -> String {
    let titles = [
      "REGION", "SIZE", "CHUNK", "PRESENT", "PULL", "RATE", "LEFT", "DIRTY", "UPLOAD", "OLDEST",
      "COMMIT", "AGE", "HIT", "MISS", "PARKED", "ERRORS", "ROLE",
    ]
    let rows = regions.map { row($0, now: now) }
    // Words to the left, quantities to the right.
    let leftAligned: Set<Int> = [0, titles.count - 1]
    return aligned([titles] + rows, leftAligned: leftAligned)
  }

  private static func row(_ region: RegionStatus, now: Double) -> [String] {
    let pull = region.pull
    let isPulling = pull.totalBytes > 0 && pull.doneBytes < pull.totalBytes
    return [
      HumanText.printable(region.name),
      HumanText.bytes(region.sizeBytes),
      HumanText.bytes(region.chunkBytes),
      region.chunksPulling == 0
        ? "\(region.chunksPresent)/\(region.chunksTotal)"
        : "\(region.chunksPresent)+\(region.chunksPulling)/\(region.chunksTotal)",
      isPulling ? "\(pull.mode) \(percent(pull.doneBytes, of: pull.totalBytes))" : pull.mode,
      HumanText.rate(bytesPerSecond: isPulling ? pull.rateBytesPerSecond : nil),
      HumanText.seconds(isPulling ? pull.secondsLeft : nil),
      amount(region.dirtyBytes),
      amount(region.uploadingBytes),
      HumanText.seconds(region.oldestUncommittedSeconds),
      region.lastCommitNumber.map { "\($0)" } ?? HumanText.none,
      HumanText.seconds(region.lastCommitUnixSeconds.map { max(0, now - $0) }),
      "\(region.faults.hits)",
      "\(region.faults.misses)",
      "\(region.faults.parked)",
      "\(region.faults.errors)",
      region.role.rawValue,
    ]
  }

  private static func amount(_ bytes: UInt64) -> String {
    bytes == 0 ? HumanText.none : HumanText.bytes(bytes)
  }

  private static func percent(_ part: UInt64, of whole: UInt64) -> String {
    // 100 only when it is all there.
    "\(min(99, Int(Double(part) / Double(whole) * 100)))%"
  }

  /// Columns two spaces apart; the last one is not padded.
  static func aligned(_ rows: [[String]], leftAligned: Set<Int>) -> String {
    var widths: [Int] = []
    for row in rows {
      for (column, cell) in row.enumerated() {
        if column == widths.count { widths.append(0) }
        widths[column] = max(widths[column], cell.count)
      }
    }
    return rows.map { row in
      let cells = row.enumerated().map { column, cell in
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        guard leftAligned.contains(column) else { return padding + cell }
        return column == row.count - 1 ? cell : cell + padding
      }
      return cells.joined(separator: "  ") + "\n"
    }.joined()
  }
}
