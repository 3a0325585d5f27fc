import RegionTesting
import Testing

extension EndToEnd {
  /// `regionfs doctor` tells a healthy host and store from those that are not.
  @Suite(.serialized) struct DoctorTests {
    /// Verdicts by check.
    private func verdicts(_ result: ProcessResult) throws -> [String: String] {
      let text = try TestStore.value(
        "'\\n'.join(c['check'] + '=' + c['verdict'] for c in d['checks'])", of: result.output)
      let pairs = text.split(separator: "\n").map { $0.split(separator: "=").map(String.init) }
      return Dictionary(pairs.map { ($0[0], $0[1]) }, uniquingKeysWith: { $1 })
    }

    @Test(arguments: StoreKind.allCases)
    func aHealthyStoreIsHealthyAndLeftAsItWas(kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      let result = try store.regionfs("doctor", store.address, "--json")
      #expect(result.status == 0, "\(result)")
      let found = try verdicts(result)
      for check in ["kernel", "fuse", "store", "reachable", "conditional writes", "throughput"] {
        #expect(found[check] == "good", "\(check): \(result.output)")
      }
      #expect(found["clock"] == (kind == .s3 ? "good" : "skipped"))
      #expect(found["credentials"] == (kind == .s3 ? "good" : "skipped"))
      if kind == .s3 {
        #expect(result.output.contains("AWS_ACCESS_KEY_ID"))
        #expect(!result.output.contains(store.environment["AWS_SECRET_ACCESS_KEY"] ?? "?"))
      } else {
        #expect(try Files.list(below: store.directory).allSatisfy { !$0.contains("probe-") })
      }
      let careful = try verdicts(
        try store.regionfs("doctor", store.address, "--json", "--read-only"))
      #expect(careful["throughput"] == "skipped" && careful["reachable"] == "good")
    }

    @Test func whatIsWrongIsSaidWithARemedy() async throws {
      let store = try await TestStore(.s3)
      let command = [Products.path("regionfs"), "doctor", store.address, "-o", "path_style"]
      var environment = try store.commandEnvironment()
      environment["AWS_SECRET_ACCESS_KEY"] = "wrong"
      let wrongKey = try ChildProcess.run(command, environment: environment)
      #expect(wrongKey.status == 32)
      #expect(wrongKey.output.contains("WRONG   reachable"), "\(wrongKey)")
      #expect(wrongKey.output.contains("Check the credentials"))
      environment = try store.commandEnvironment()
      environment["AWS_ENDPOINT_URL_S3"] = "http://127.0.0.1:1"
      let away = try ChildProcess.run(
        command + ["-o", "fault_timeout=1s", "--json"], environment: environment)
      #expect(away.status == 32)
      #expect(try verdicts(away)["reachable"] == "failure")
      environment["AWS_ACCESS_KEY_ID"] = ""
      environment["HOME"] = store.scratch.path
      let noKeys = try ChildProcess.run(
        command + ["-o", "fault_timeout=1s", "--json"], environment: environment)
      #expect(try verdicts(noKeys)["credentials"] == "failure", "\(noKeys)")
    }

    @Test func theHostAloneCanBeChecked() throws {
      let scratch = try Scratch()
      let result = try ChildProcess.run(
        [Products.path("regionfs"), "doctor", "--json"],
        environment: ["XDG_CONFIG_HOME": scratch.path])
      #expect(result.status == 0, "\(result)")
      #expect(try verdicts(result)["cache directory"] != nil)
    }
  }
}
