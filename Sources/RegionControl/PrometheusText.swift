/// Reports in Prometheus's text format (version 0.0.4). Pure.
///
/// Names follow the conventions: a prefix, base units (bytes, seconds), `_total` for counters;
/// each metric family stands together with its HELP and TYPE.
public enum PrometheusText {
  /// What an HTTP answer says that it is.
  public static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  /// All metrics of all reports.
  public static func render(_ reports: [StatusReport]) -> String {
    (mountFamilies(reports) + storeFamilies(reports) + regionFamilies(reports))
      .filter { !$0.samples.isEmpty }.map(\.text).joined()
  }

  private struct Family {
    enum Kind: String { case counter, gauge }
    var name: String
    var kind: Kind
    var help: String
    var samples: [(labels: [(String, String)], value: Double)]

    var text: String {
      var text = "# HELP \(name) \(help)\n# TYPE \(name) \(kind.rawValue)\n"
      for sample in samples {
        let labels = sample.labels.map { "\($0.0)=\"\(PrometheusText.escaped($0.1))\"" }
        text += name + (labels.isEmpty ? "" : "{\(labels.joined(separator: ","))}")
        text += " \(PrometheusText.number(sample.value))\n"
      }
      return text
    }
  }

  // MARK: Families

  private static func mountFamilies(_ reports: [StatusReport]) -> [Family] {
    func family(
      _ name: String, _ help: String, _ value: (StatusReport) -> Double?,
      _ labels: (StatusReport) -> [(String, String)] = { _ in [] }
    ) -> Family {
      Family(
        name: "regionfs_" + name, kind: .gauge, help: help,
        samples: reports.compactMap { report in
          value(report).map { (mount(report) + labels(report), $0) }
        })
    }
    return [
      family("mount_info", "A mount; the value is always 1.", { _ in 1 }) { report in
        [
          ("store", report.mount.storeAddress), ("version", report.mount.version),
          ("pull", report.mount.pullMode), ("sync", report.mount.syncMode),
        ]
      },
      family("mount_start_time_seconds", "When the daemon started, since the Unix epoch.") {
        $0.mount.startedUnixSeconds
      },
      family("mount_read_only", "1 if nothing can be changed through the mount.") {
        $0.mount.readOnly ? 1 : 0
      },
      family("mount_draining", "1 if it is unmounted and commits what is left.") {
        $0.mount.state == .draining ? 1 : 0
      },
      family("mount_kernel_tuned", "1 if the kernel's limits for the mount were set.") {
        $0.mount.kernelTuned ? 1 : 0
      },
      family("resident_memory_bytes", "Resident memory of the daemon.") {
        Double($0.memory.residentBytes)
      },
      family("resident_memory_peak_bytes", "Largest resident memory of the daemon so far.") {
        Double($0.memory.peakResidentBytes)
      },
      family("resident_memory_bound_bytes", "What the daemon's memory stays below.") {
        $0.memory.boundBytes.map { Double($0) }
      },
      family("cache_used_bytes", "Cached chunks of all regions, on the disk.") {
        $0.cache.map { Double($0.usedBytes) }
      },
      family("cache_limit_bytes", "The most that cached chunks may take, if there is a limit.") {
        $0.cache?.limitBytes.map { Double($0) }
      },
      family("store_up", "1 if the store has been answering lately.") {
        $0.store.reachable ? 1 : 0
      },
      family(
        "uncommitted_bytes", "Bytes of changes that are on this host only.",
        { Double($0.regions.reduce(0) { $0 &+ $1.dirtyBytes }) }),
      family(
        "oldest_uncommitted_seconds",
        "Age of the oldest change that is on this host only; 0 if there is none.",
        { $0.regions.compactMap(\.oldestUncommittedSeconds).max() ?? 0 }),
      family(
        "oldest_waiting_request_seconds",
        "How long the oldest request that needs the store has been waiting; 0 if none waits.",
        { report in report.watchdog.map { $0.oldestParkedSeconds ?? 0 } }),
    ]
  }

  private static func storeFamilies(_ reports: [StatusReport]) -> [Family] {
    let requests = reports.flatMap { report in
      report.store.requests.sorted { $0.key < $1.key }.map {
        (mount(report) + [("operation", $0.key)], Double($0.value))
      }
    }
    func counter(_ name: String, _ help: String, _ value: (StoreStatus) -> UInt64) -> Family {
      Family(
        name: "regionfs_store_" + name, kind: .counter, help: help,
        samples: reports.map { (mount($0), Double(value($0.store))) })
    }
    return [
      Family(
        name: "regionfs_store_requests_total", kind: .counter,
        help: "Requests to the store, repeated ones included.", samples: requests),
      counter("request_errors_total", "Requests that failed, repeated ones included.") {
        $0.errors
      },
      counter("received_bytes_total", "Payload bytes that came from the store.") {
        $0.downloadedBytes
      },
      counter("sent_bytes_total", "Payload bytes that went to the store.") { $0.uploadedBytes },
      Family(
        name: "regionfs_cache_evicted_chunks_total", kind: .counter,
        help: "Chunks that made room for others.",
        samples: reports.compactMap { report in
          report.cache.map { (mount(report), Double($0.evictedChunks)) }
        }),
    ]
  }

  private static func regionFamilies(_ reports: [StatusReport]) -> [Family] {
    func family(
      _ kind: Family.Kind, _ name: String, _ help: String, _ value: (RegionStatus) -> Double?
    ) -> Family {
      Family(
        name: "regionfs_region_" + name, kind: kind, help: help,
        samples: reports.flatMap { report in
          report.regions.compactMap { region in
            value(region).map { (mount(report) + [("region", region.name)], $0) }
          }
        })
    }
    func gauge(_ name: String, _ help: String, _ value: (RegionStatus) -> Double?) -> Family {
      family(.gauge, name, help, value)
    }
    // They start anew with each opening of a region, as counters may.
    func counter(_ name: String, _ help: String, _ value: (RegionStatus) -> UInt64) -> Family {
      family(.counter, name, help) { Double(value($0)) }
    }
    return [
      gauge("size_bytes", "Size of the region, holes included.") { Double($0.sizeBytes) },
      gauge("chunks", "Chunks that the size spans.") { Double($0.chunksTotal) },
      gauge("chunks_present", "Chunks that can be read without the store.") {
        Double($0.chunksPresent)
      },
      gauge("chunks_pulling", "Chunks on their way.") { Double($0.chunksPulling) },
      gauge("chunks_pinned", "Chunks that are here and kept here.") {
        $0.chunksPinned.map { Double($0) }
      },
      gauge("pull_bytes_per_second", "Speed of the running pull of the whole region.") {
        $0.pull.rateBytesPerSecond
      },
      gauge("uncommitted_bytes", "Bytes of changes of the region that are on this host only.") {
        Double($0.dirtyBytes)
      },
      gauge("last_commit_number", "Number of the last commit of the region's group.") {
        $0.lastCommitNumber.map { Double($0) }
      },
      gauge("last_commit_timestamp_seconds", "When that commit was made, since the Unix epoch.") {
        $0.lastCommitUnixSeconds
      },
      counter("read_hits_total", "Reads answered from what is here.") { $0.faults.hits },
      counter("read_misses_total", "Reads that needed the store.") { $0.faults.misses },
      counter("read_errors_total", "Reads that failed.") { $0.faults.errors },
      gauge("reads_waiting", "Reads that wait for the store now.") { Double($0.faults.parked) },
      gauge(
        "read_wait_median_seconds",
        "How long half of the reads that needed the store waited at most, since it was opened."
      ) { $0.faults.medianWaitSeconds },
      gauge(
        "read_wait_p99_seconds",
        "How long 99 of 100 of the reads that needed the store waited at most, since it was opened."
      ) { $0.faults.p99WaitSeconds },
      gauge("claim_lost", "1 if the group's claim was lost or it failed: writes are refused.") {
        $0.role == .lost ? 1 : 0
      },
    ]
  }

  private static func mount(_ report: StatusReport) -> [(String, String)] {
    [("mountpoint", report.mount.mountpoint)]
  }

  // MARK: Text

  /// Backslash, quote and newline are escaped in a label's value.
  static func escaped(_ text: String) -> String {
    var result = ""
    for character in text.unicodeScalars {
      switch character {
      case "\\": result += "\\\\"
      case "\"": result += "\\\""
      case "\n": result += "\\n"
      default: result.unicodeScalars.append(character)
      }
    }
    return result
  }

  /// Whole numbers without a fraction; what is no number as Prometheus writes it.
  static func number(_ value: Double) -> String {
    if value.isNaN { return "NaN" }
    if value.isInfinite { return value < 0 ? "-Inf" : "+Inf" }
    return value == value.rounded() && abs(value) < 9e15 ? "\(Int64(value))" : "\(value)"
  }
}
