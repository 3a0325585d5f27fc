import Foundation
import Testing

@testable import RegionControl

/// A parser of Prometheus's text format (version 0.0.4), strict where the format is.
struct ParsedMetrics {
  struct Sample: Equatable {
    var name: String
    var labels: [String: String]
    var value: Double
  }

  var types: [String: String] = [:]
  var help: [String: String] = [:]
  var samples: [Sample] = []

  struct Malformed: Error { var line: String }

  init(_ text: String) throws {
    guard text.hasSuffix("\n") || text.isEmpty else { throw Malformed(line: "no final newline") }
    var current = ""
    for line in text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init) {
      if line.hasPrefix("# HELP ") || line.hasPrefix("# TYPE ") {
        let words = line.dropFirst(7).split(separator: " ", maxSplits: 1).map(String.init)
        guard words.count == 2 else { throw Malformed(line: line) }
        if line.hasPrefix("# HELP") {
          guard help.updateValue(words[1], forKey: words[0]) == nil else {
            throw Malformed(line: "twice: \(line)")
          }
          current = words[0]
        } else {
          guard words[0] == current, types.updateValue(words[1], forKey: words[0]) == nil else {
            throw Malformed(line: line)
          }
        }
        continue
      }
      let sample = try Self.sample(line)
      // A family's samples stand behind its head, together.
      guard sample.name == current, types[current] != nil else { throw Malformed(line: line) }
      samples.append(sample)
    }
  }

  private static func sample(_ line: String) throws -> Sample {
    let pattern = #/([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)/#
    guard let match = try pattern.wholeMatch(in: line), let value = Double(match.3) else {
      throw Malformed(line: line)
    }
    var labels: [String: String] = [:]
    var rest = match.2 ?? ""
    let label = #/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\[\\"n])*)"(,|$)/#
    while !rest.isEmpty {
      guard let one = try label.prefixMatch(in: rest), labels[String(one.1)] == nil else {
        throw Malformed(line: line)
      }
      labels[String(one.1)] = String(one.2).replacing("\\n", with: "\n")
        .replacing("\\\"", with: "\"").replacing("\\\\", with: "\\")
      rest = rest[one.range.upperBound...]
    }
    return Sample(name: String(match.1), labels: labels, value: value)
  }
}

@Suite struct PrometheusTests {
  static func report() -> StatusReport {
    var report = StatusReport(mount: MountStatus())
    report.mount.mountpoint = "/mnt/a \"b\"\\\n"
    report.mount.storeAddress = "s3://bucket/p"
    report.mount.version = "1"
    report.mount.pullMode = "auto"
    report.mount.syncMode = "local"
    report.mount.startedUnixSeconds = 1_700_000_000.5
    report.store.requests = ["get": 7, "put": 3]
    report.store.errors = 2
    var region = RegionStatus(name: "dir/file")
    region.sizeBytes = 8 << 40
    region.chunksTotal = 4
    region.dirtyBytes = 4096
    region.oldestUncommittedSeconds = 2.25
    region.faults.medianWaitSeconds = 0.02
    region.faults.p99WaitSeconds = 0.5
    region.role = .lost
    region.chunksPinned = 1
    region.pull.rateBytesPerSecond = .infinity
    region.lastCommitNumber = 9
    region.lastCommitUnixSeconds = 1_700_000_100
    report.memory.boundBytes = 1 << 30
    report.cache = CacheStatus()
    report.cache?.usedBytes = 5 << 20
    report.cache?.limitBytes = 64 << 20
    report.cache?.evictedChunks = 11
    report.watchdog = WatchdogStatus()
    report.watchdog?.oldestParkedSeconds = 1.5
    report.regions = [region, RegionStatus(name: "other")]
    return report
  }

  @Test func everyValueArrivesWithItsLabels() throws {
    let parsed = try ParsedMetrics(PrometheusText.render([Self.report()]))
    func value(_ name: String, _ labels: [String: String] = [:]) -> Double? {
      parsed.samples.first { sample in
        sample.name == name && labels.allSatisfy { sample.labels[$0.key] == $0.value }
      }?.value
    }
    #expect(value("regionfs_store_requests_total", ["operation": "get"]) == 7)
    #expect(value("regionfs_store_request_errors_total") == 2)
    #expect(value("regionfs_uncommitted_bytes") == 4096)
    #expect(value("regionfs_oldest_uncommitted_seconds") == 2.25)
    #expect(value("regionfs_region_size_bytes", ["region": "dir/file"]) == 0x1p43)
    #expect(value("regionfs_region_read_wait_p99_seconds", ["region": "dir/file"]) == 0.5)
    #expect(value("regionfs_region_read_wait_p99_seconds", ["region": "other"]) == nil)
    #expect(value("regionfs_region_claim_lost", ["region": "dir/file"]) == 1)
    #expect(value("regionfs_region_claim_lost", ["region": "other"]) == 0)
    #expect(value("regionfs_region_pull_bytes_per_second", ["region": "dir/file"]) == .infinity)
    #expect(value("regionfs_region_last_commit_number", ["region": "other"]) == nil)
    // `map(Double.init)` of an optional number once took its bits for those of a fraction.
    #expect(value("regionfs_region_last_commit_number", ["region": "dir/file"]) == 9)
    #expect(value("regionfs_region_chunks_pinned", ["region": "dir/file"]) == 1)
    #expect(value("regionfs_cache_used_bytes") == 0x5p20)
    #expect(value("regionfs_cache_limit_bytes") == 0x1p26)
    #expect(value("regionfs_cache_evicted_chunks_total") == 11)
    #expect(value("regionfs_oldest_waiting_request_seconds") == 1.5)
    #expect(value("regionfs_resident_memory_bound_bytes") == 0x1p30)
    #expect(value("regionfs_mount_start_time_seconds") == 1_700_000_000.5)
    let mountpoints = Set(parsed.samples.map { $0.labels["mountpoint"] })
    #expect(mountpoints == ["/mnt/a \"b\"\\\n"])
  }

  @Test func namesAndUnitsFollowTheConventions() throws {
    let parsed = try ParsedMetrics(PrometheusText.render([Self.report()]))
    #expect(parsed.types.count > 20)
    for (name, type) in parsed.types {
      #expect(name.hasPrefix("regionfs_"))
      #expect((type == "counter") == name.hasSuffix("_total"), "\(name)")
      #expect(!name.contains("kib") && !name.contains("_ms") && !name.contains("percent"))
      #expect(parsed.help[name]?.hasSuffix(".") == true, "\(name)")
    }
    #expect(PrometheusText.render([]).isEmpty)
  }

  // MARK: Documents

  private static let docs =
    #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/docs"

  private func metricNames(in text: String) -> Set<String> {
    Set(text.matches(of: #/regionfs_[a-z0-9_]+[a-z]/#).map { String($0.output) })
  }

  @Test func documentListsExactlyTheMetrics() throws {
    let text = try String(contentsOfFile: Self.docs + "/MONITORING.md", encoding: .utf8)
    let types = try ParsedMetrics(PrometheusText.render([Self.report()])).types
    #expect(metricNames(in: text) == Set(types.keys))
    for (name, type) in types { #expect(text.contains("| `\(name)` | \(type) |"), "\(name)") }
  }

  @Test func dashboardAndAlertsUseMetricsThatExist() throws {
    let types = try ParsedMetrics(PrometheusText.render([Self.report()])).types
    let dashboard = Self.docs + "/monitoring/grafana-dashboard.json"
    let data = try #require(FileManager.default.contents(atPath: dashboard))
    let document = try #require(
      try JSONSerialization.jsonObject(with: data) as? [String: Any])
    let panels = try #require(document["panels"] as? [[String: Any]])
    let queries = panels.flatMap { $0["targets"] as? [[String: Any]] ?? [] }
      .compactMap { $0["expr"] as? String }
    #expect(queries.count >= panels.count && panels.count >= 10)
    let alerts = try String(contentsOfFile: Self.docs + "/monitoring/alerts.yml", encoding: .utf8)
    let expressions = alerts.split(separator: "\n").filter { $0.contains("expr:") }
    #expect(expressions.count >= 5)
    for text in queries + expressions.map(String.init) {
      let names = metricNames(in: text)
      #expect(!names.isEmpty && names.isSubset(of: types.keys), "\(text)")
      for name in names where types[name] == "counter" {
        #expect(text.contains("rate(\(name)"), "a counter without rate: \(text)")
      }
    }
  }
}
