import Foundation
import RegionTesting
import Testing

extension EndToEnd {
  /// The proxy does to a connection what its rules say, and nothing else.
  @Suite struct ImpairmentProxyTests {
    let server: BackgroundProcess
    let proxy: ImpairmentProxy
    private let serverAddress: String

    init() throws {
      server = try BackgroundProcess(Programs.command("http_server.py", []))
      serverAddress = try server.nextLine()
      proxy = try ImpairmentProxy(to: serverAddress)
    }

    struct Outcome: Decodable {
      var status: Int?
      var error: String?
      var length: Int
      var differing_bits: Int
      var seconds: Double
      var first_byte_seconds: Double?
      var body_arrived: Bool?
      var headers: [String: String]?
      var text: String?
    }

    struct Counters: Decodable {
      struct Rule: Decodable { var matched, taken, fired: Int }
      var connections: Int
      var bytes_up, bytes_down: Int
      var requests, responses, request_body_bytes, response_body_bytes: [String: Int]
      var rules: [Rule]
    }

    /// Sends requests over one connection through the proxy.
    func send(_ requests: [String], timeout: Double = 20) throws -> [Outcome] {
      let arguments = [proxy.address, "--timeout", "\(timeout)"] + requests
      return try Programs.run("http_client.py", arguments).split(separator: "\n").map {
        try JSONDecoder().decode(Outcome.self, from: Data($0.utf8))
      }
    }

    func send(_ request: String, timeout: Double = 20) throws -> Outcome {
      try #require(try send([request], timeout: timeout).first)
    }

    func counters() throws -> Counters {
      try JSONDecoder().decode(Counters.self, from: Data(try proxy.control("stats").utf8))
    }

    @Test func bytesPassUnchangedWithoutARule() throws {
      let requests = [
        "GET:/1", "GET:/0", "PUT:/a:0", "HEAD:/5000", "GET:/100000", "PUT:/a:3000000",
        "GET:/chunked/1000000", "GET:/20000000", "PUT:/a:70000", "GET:/65536",
      ]
      let outcomes = try send(requests)
      #expect(outcomes.map(\.error) == requests.map { _ in nil })
      #expect(outcomes.map(\.status) == requests.map { _ in 200 })
      let lengths = [1, 0, 64, 0, 100_000, 64, 1_000_000, 20_000_000, 64, 65536]
      #expect(outcomes.map(\.length) == lengths)
      #expect(outcomes.allSatisfy { $0.body_arrived ?? ($0.differing_bits == 0) })
      let counters = try counters()
      #expect(counters.connections == 1)
      #expect(counters.requests == ["GET": 6, "PUT": 3, "HEAD": 1])
      #expect(counters.responses == ["200": 10])
      #expect(counters.request_body_bytes == ["PUT": 3_070_000])
      #expect(counters.bytes_down > 21_165_537)
    }

    @Test func bytesPassUnchangedThroughADelayLineAndANarrowWire() throws {
      try proxy.control("rtt 10ms")
      try proxy.control("bandwidth 400M")
      let outcomes = try send(["GET:/10000000", "PUT:/a:5000000"])
      #expect(outcomes.map(\.error) == [nil, nil])
      #expect(outcomes[0].differing_bits == 0 && outcomes[0].length == 10_000_000)
      #expect(outcomes[1].body_arrived == true)
      // 80 Mbit and 40 Mbit at 400 Mbit/s; only lower bounds, a busy machine may be slower.
      #expect(outcomes[0].seconds >= 0.19)
      #expect(outcomes[1].seconds >= 0.09)
    }

    @Test func everyRequestWaitsARoundTripAndTheFirstOneMore() throws {
      try proxy.control("rtt 60ms")
      let outcomes = try send(["GET:/1", "GET:/1", "GET:/1"])
      #expect(outcomes.map(\.error) == [nil, nil, nil])
      #expect(outcomes[0].seconds >= 0.12)
      #expect(outcomes[1].seconds >= 0.06)
      #expect(outcomes[2].seconds >= 0.06)
    }

    @Test func theDelayIsOncePerFlightNotPerRead() throws {
      try proxy.control("rtt 200ms")
      // 30 MB are hundreds of reads. Were each delayed for itself, this would take minutes.
      let outcome = try send("GET:/30000000", timeout: 60)
      #expect(outcome.differing_bits == 0 && outcome.length == 30_000_000)
      #expect(outcome.seconds >= 0.4 && outcome.seconds < 30)
    }

    @Test func connectionBandwidthLimitsEachConnection() throws {
      let narrow = try ImpairmentProxy(to: serverAddress, ["--connection-bandwidth", "80M"])
      let output = try Programs.run("http_client.py", [narrow.address, "GET:/2000000"])
      let outcome = try JSONDecoder().decode(Outcome.self, from: Data(output.utf8))
      #expect(outcome.differing_bits == 0 && outcome.length == 2_000_000)
      #expect(outcome.seconds >= 0.19)
    }

    /// Served in a fixed order, small answers waited until the large ones before them were through.
    @Test func aNarrowWireIsSharedByAll() throws {
      try proxy.control("bandwidth 80M")
      let large = 8_000_000
      let downloads = try (0..<6).map { _ in
        try BackgroundProcess(Programs.command("http_client.py", [proxy.address, "GET:/\(large)"]))
      }
      try eventually("the large ones begin") { try counters().bytes_down >= 1_000_000 }
      for _ in 0..<6 { #expect(try send("GET:/50000", timeout: 60).differing_bits == 0) }
      #expect(try counters().bytes_down < 6 * large, "the small ones came last")
      withExtendedLifetime(downloads) {}
    }

    @Test func statusAnswersInsteadOfTheServer() throws {
      try proxy.addRule("match=PUT /a,action=status,status=503,skip=1,count=1")
      try proxy.addRule("match=GET,action=status,status=429,retry-after=7,count=1")
      let outcomes = try send([
        "PUT:/a:1000", "PUT:/a:200000", "PUT:/a:1000", "GET:/1", "GET:/count",
      ])
      #expect(outcomes.map(\.status) == [200, 503, 200, 429, 200])
      #expect(outcomes[1].text?.contains("<Code>SlowDown</Code>") == true)
      #expect(outcomes[3].headers?["retry-after"] == "7")
      #expect(outcomes[4].text == "2", "the server saw a request that the proxy answered")
      #expect(try counters().rules.map(\.fired) == [1, 1])
      #expect(try counters().connections == 1)
    }

    @Test func resetRequestNeverReachesTheServer() throws {
      try proxy.addRule("action=reset-request,count=1")
      let outcomes = try send(["PUT:/a:1000", "GET:/count"])
      #expect(outcomes[0].error == "reset")
      #expect(outcomes[1].text == "0")
    }

    @Test func resetRequestBodyCutsTheUpload() throws {
      try proxy.addRule("match=PUT,action=reset-request-body,after=100000,count=1")
      let outcomes = try send(["PUT:/a:1000000", "PUT:/a:1000000"])
      #expect(outcomes[0].error == "reset")
      #expect(outcomes[1].body_arrived == true)
      #expect(try counters().rules.map(\.fired) == [1])
    }

    @Test func resetResponseLosesTheAnswerOfACarriedOutRequest() throws {
      try proxy.addRule("match=PUT,action=reset-response,count=1")
      let outcomes = try send(["PUT:/a:1000", "GET:/count"])
      #expect(outcomes[0].error == "reset")
      #expect(outcomes[1].text == "1")
    }

    @Test func resetResponseBodyEndsTheDownloadEarly() throws {
      try proxy.addRule("match=GET,action=reset-response-body,count=1")
      let outcomes = try send(["GET:/1000000", "GET:/1000000"])
      #expect(outcomes[0].error == "reset")
      #expect(outcomes[1].error == nil && outcomes[1].differing_bits == 0)
    }

    @Test func truncateClosesAfterPartOfTheBody() throws {
      try proxy.addRule("match=GET,action=truncate,after=600000,count=1")
      let outcomes = try send(["GET:/1000000", "GET:/1000000"])
      #expect(outcomes[0].error == "incomplete")
      #expect(outcomes[0].length == 600_000 && outcomes[0].differing_bits == 0)
      #expect(outcomes[1].length == 1_000_000)
    }

    @Test func shortenGivesAWellFormedShortAnswer() throws {
      try proxy.addRule("match=GET,action=shorten,after=123456,count=1")
      let outcomes = try send(["GET:/1000000", "GET:/1000000"])
      #expect(outcomes.map(\.error) == [nil, nil])
      #expect(outcomes.map(\.length) == [123_456, 1_000_000])
      #expect(try counters().connections == 1)
    }

    @Test(arguments: ["GET:/1", "GET:/3000", "GET:/5000000"])
    func flipInvertsOneBit(request: String) throws {
      try proxy.addRule("match=GET,action=flip,count=1")
      let outcomes = try send([request, request])
      #expect(outcomes.map(\.error) == [nil, nil])
      #expect(outcomes.map(\.differing_bits) == [1, 0])
    }

    @Test func flipRequestInvertsOneBitOfTheUpload() throws {
      try proxy.addRule("match=PUT,action=flip-request,count=1")
      let outcomes = try send(["PUT:/a:500000", "PUT:/a:500000"])
      #expect(outcomes.map(\.status) == [200, 200])
      #expect(outcomes.map(\.body_arrived) == [false, true])
    }

    @Test func aFlipOfAnEmptyBodyIsNotCounted() throws {
      try proxy.addRule("match=GET,action=flip")
      #expect(try send("GET:/0").status == 200)
      let rules = try counters().rules
      #expect(rules.map(\.taken) == [1] && rules.map(\.fired) == [0])
    }

    @Test func blackholeNeverAnswers() throws {
      try proxy.addRule("match=GET,action=blackhole,count=1")
      let outcomes = try send(["GET:/1", "GET:/count"], timeout: 0.5)
      #expect(outcomes[0].error == "timeout")
      #expect(outcomes[1].text == "0")
    }

    @Test func stallStopsInTheMiddleOfTheBody() throws {
      try proxy.addRule("match=GET,action=stall,after=1000,count=1")
      let outcomes = try send(["GET:/1000000", "GET:/1000"], timeout: 0.5)
      #expect(outcomes[0].status == 200 && outcomes[0].error == "timeout")
      #expect(outcomes[1].error == nil)
    }

    @Test func stallForATimeGoesOn() throws {
      try proxy.addRule("match=GET,action=stall,after=1000,for=200ms,count=1")
      let outcome = try send("GET:/1000000")
      #expect(outcome.error == nil && outcome.length == 1_000_000 && outcome.differing_bits == 0)
      #expect(outcome.seconds >= 0.2)
    }

    @Test func delayHoldsBackTheResponse() throws {
      try proxy.addRule("match=GET,action=delay,for=150ms,count=1")
      let outcomes = try send(["GET:/10", "GET:/10"])
      #expect(outcomes.map(\.length) == [10, 10])
      #expect(outcomes[0].seconds >= 0.15)
    }

    @Test func probabilityIsSeededAndPicksSome() throws {
      let requests = [String](repeating: "GET:/1", count: 60)
      var runs: [[Int?]] = []
      for _ in 0..<2 {
        let other = try ImpairmentProxy(
          to: serverAddress,
          ["--seed", "7", "--rule", "match=GET,action=status,status=500,probability=0.5"])
        let lines = try Programs.run("http_client.py", [other.address] + requests)
        runs.append(
          try lines.split(separator: "\n").map {
            try JSONDecoder().decode(Outcome.self, from: Data($0.utf8)).status
          })
      }
      #expect(runs[0] == runs[1])
      #expect(Set(runs[0]) == [200, 500])
    }

    @Test func refuseAndDropTakeTheServerAway() throws {
      try proxy.control("refuse on")
      #expect(try send("GET:/1").error == "reset")
      try proxy.control("refuse off")
      #expect(try send("GET:/1").status == 200)
    }

    @Test(arguments: [
      "action=explode", "match=(,action=flip", "action=flip,skip=many", "action=delay",
      "action=flip,probability=2", "speed=3,action=flip",
    ])
    func aRuleThatCannotBeUsedIsAnError(rule: String) {
      #expect(throws: ProcessFailure.self) { try proxy.addRule(rule) }
    }
  }
}
