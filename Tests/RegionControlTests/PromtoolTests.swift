import Foundation
import Testing

@testable import RegionControl

/// Prometheus's own tool judges metrics and alert rules. `scripts/deps --test` brings it.
@Suite struct PromtoolTests {
  private static let root = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined()

  private struct Missing: Error, CustomStringConvertible {
    var description: String { "promtool is missing: run scripts/deps --test" }
  }

  /// Runs promtool; what it said where it was not content, else nothing.
  private func complaint(_ arguments: [String], input: String = "") throws -> String {
    let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
    let places = path.split(separator: ":").map(String.init) + [Self.root + "/.build/test-venv/bin"]
    let tool = places.map { $0 + "/promtool" }.first {
      FileManager.default.isExecutableFile(atPath: $0)
    }
    guard let tool else { throw Missing() }
    let process = Process()
    let (keys, output) = (Pipe(), Pipe())
    process.executableURL = URL(fileURLWithPath: tool)
    process.arguments = arguments
    process.standardInput = keys
    process.standardOutput = output
    process.standardError = output
    try process.run()
    try keys.fileHandleForWriting.write(contentsOf: Data(input.utf8))
    try keys.fileHandleForWriting.close()
    let text = String(
      decoding: output.fileHandleForReading.readDataToEndOfFile(), as: Unicode.UTF8.self)
    process.waitUntilExit()
    return process.terminationStatus == 0 ? "" : text
  }

  @Test func metricsAreAsPromtoolWantsThem() throws {
    let text = PrometheusText.render([PrometheusTests.report()])
    #expect(try complaint(["check", "metrics"], input: text) == "")
  }

  @Test func promtoolWouldComplain() throws {
    let wrong = "# HELP regionfs_gets Gets.\n# TYPE regionfs_gets counter\nregionfs_gets 1\n"
    #expect(try complaint(["check", "metrics"], input: wrong).contains("_total"))
  }

  /// `alerts_test.yml`: all fire where all is wrong, none where nothing is.
  @Test func alertsFireWhenTheyShould() throws {
    let rules = Self.root + "/docs/monitoring/alerts.yml"
    #expect(try complaint(["check", "rules", rules]) == "")
    let tests = Self.root + "/Tests/RegionControlTests/alerts_test.yml"
    #expect(try complaint(["test", "rules", tests]) == "")
  }
}
