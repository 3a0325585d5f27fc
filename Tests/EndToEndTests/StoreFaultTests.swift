import Foundation
import RegionTesting
import Testing

extension EndToEnd {
  /// The store errs, the network breaks: no wrong byte reaches a reader, nothing is lost.
  @Suite(.serialized) struct StoreFaultTests {
    struct Statistics: Decodable {
      struct Rule: Decodable {
        var rule: String
        var fired: Int
      }
      var rules: [Rule]
    }

    private func fired(_ proxy: ImpairmentProxy) throws -> [Int] {
      let answer = try proxy.control("stats")
      return try JSONDecoder().decode(Statistics.self, from: Data(answer.utf8)).rules.map(\.fired)
    }

    /// Faults that come and go: retries must carry the work through.
    static let passing: [[String]] = [
      ["action=status,status=503,probability=0.3"],
      ["action=status,status=500,probability=0.3"],
      ["action=status,status=429,retry-after=1,probability=0.1"],
      ["match=PUT,action=status,status=409,probability=0.3"],
      ["action=reset-request,probability=0.2"],
      ["match=PUT,action=reset-request-body,probability=0.2"],
      // Carried out, but the answer is lost: a 412 that follows is our own doing.
      ["match=PUT,action=reset-response,probability=0.3"],
      ["match=PUT .*/root,action=reset-response,count=3"],
      ["match=GET .*/seg/,action=reset-response-body,probability=0.3"],
      ["match=GET .*/seg/,action=truncate,probability=0.3"],
      ["match=GET .*/seg/,action=shorten,probability=0.3"],
      ["match=GET .*/seg/,action=flip,probability=0.3"],
      ["match=GET .*/root,action=flip,count=4"],
      ["match=PUT,action=flip-request,probability=0.1"],
      ["match=GET .*/seg/,action=stall,for=2s,count=2"],
      [
        "action=status,status=503,probability=0.05", "action=reset-response,probability=0.05",
        "match=GET,action=flip,probability=0.05", "match=GET,action=truncate,probability=0.05",
        "action=delay,for=200ms,probability=0.1",
      ],
    ]

    @Test(arguments: passing)
    func passingFaultsChangeNothing(rules: [String]) async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      for rule in rules { try proxy.addRule(rule) }
      let touched = ["--pages", "4096", "--seed", "2", "--touch", "500"]
      try store.mounted(options: ["push_interval=200ms"], through: proxy) { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "4096", "--seed", "1"])
        for _ in 0..<3 {
          try Programs.run("pattern.py", ["map", file, "--msync"] + touched)
          ChildProcess.pause(.milliseconds(300))
        }
        try mounted.waitUntilCommitted()
        try mounted.unmount()
      }
      for name in ["elsewhere", "again"] {
        try store.mounted(name, through: proxy) { other in
          let file = other.mountpoint + "/f"
          try Programs.run("pattern.py", ["verify", file, "--mmap", "--base-seed", "1"] + touched)
          try other.unmount()
        }
      }
      let fired = try fired(proxy)
      #expect(fired.allSatisfy { $0 > 0 }, "not every rule was tried: \(fired) \(rules)")
    }

    /// exit(3) tore libcrypto down while a transfer was being signed again: three unmounts in a hundred
    /// ended with SIGSEGV, after everything was committed.
    @Test func anUnmountBesideTransfersEndsWell() async throws {
      let store = try await TestStore(.s3)
      try store.mounted { mounted in
        let file = mounted.mountpoint + "/f"
        try Programs.run("pattern.py", ["write", file, "--pages", "16384", "--seed", "1"])
        try mounted.unmount()
      }
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      try proxy.addRule("match=GET .*/seg/,action=reset-response-body,probability=0.5")
      for round in 0..<40 {
        let options = ["ro", "pull=background"]
        try store.mounted("m\(round)", options: options, through: proxy) { mounted in
          try ChildProcess.check(["head", "-c", "1", mounted.mountpoint + "/f"])
          ChildProcess.pause(.milliseconds(3 * (round % 20)))
          try mounted.unmount()
        }
      }
    }

    /// Faults that stay: the reader gets an error and never a wrong byte; when they end, so do the
    /// errors.
    @Test(arguments: [
      "match=GET .*/seg/,action=flip", "match=GET .*/seg/,action=truncate",
      "match=GET .*/seg/,action=shorten", "match=GET .*/seg/,action=status,status=500",
      "match=GET .*/seg/,action=status,status=404", "match=GET .*/seg/,action=reset-response",
      "match=GET .*/seg/,action=blackhole",
    ])
    func aLastingFaultIsAnErrorAndNeverAWrongByte(rule: String) async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let pattern = ["--pages", "600", "--seed", "3"]
      try store.mounted(through: proxy) { mounted in
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f"] + pattern)
        try mounted.unmount()
      }
      let options = ["fault_timeout=3s", "pull=lazy"]
      try store.mounted("elsewhere", options: options, through: proxy) { other in
        // So that the group is open and only its data are still to come.
        try ChildProcess.check(["stat", other.mountpoint + "/f"])
        try proxy.addRule(rule)
        for how in [[], ["--mmap"]] {
          let verify = ["verify", other.mountpoint + "/f"] + pattern + how
          let result = try ChildProcess.run(
            Programs.command("pattern.py", verify))
          #expect(!result.succeeded, "bytes came through a store that gives none")
          #expect(!result.errors.contains("are wrong"), "a wrong byte reached a reader: \(result)")
          // read(2) says EIO (an uncaught OSError), a mapping SIGBUS.
          #expect(result.status == (how.isEmpty ? 1 : -7), "\(result)")
        }
        #expect(try fired(proxy).allSatisfy { $0 > 0 })
        try proxy.clearRules()
        try Programs.run("pattern.py", ["verify", other.mountpoint + "/f"] + pattern)
        try other.unmount()
      }
    }

    /// A group cannot be opened: an error, which is not that there is no such file.
    @Test(arguments: [
      "match=GET .*/seg/,action=flip", "match=GET .*/seg/,action=status,status=404",
      "match=GET .*/root,action=truncate", "match=GET .*/root,action=status,status=404",
      "match=GET .*/root,action=status,status=500", "match=GET .*/groups/,action=status,status=403",
    ])
    func aGroupThatCannotBeOpenedIsNotAnAbsentFile(rule: String) async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let pattern = ["--pages", "60", "--seed", "3"]
      try store.mounted(through: proxy) { mounted in
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f"] + pattern)
        try mounted.unmount()
      }
      // Before the mount, which reads names and roots before anybody asks.
      try proxy.addRule(rule)
      try store.mounted("elsewhere", options: ["fault_timeout=3s"], through: proxy) { other in
        let result = try ChildProcess.run(["cat", other.mountpoint + "/f"])
        #expect(result.errors.contains("Input/output error"), "\(result)")
        #expect(try fired(proxy).allSatisfy { $0 > 0 })
        try proxy.clearRules()
        try Programs.run("pattern.py", ["verify", other.mountpoint + "/f"] + pattern)
        try other.unmount()
      }
    }

    @Test func aReaderThatWaitsCanBeKilled() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let pattern = ["--pages", "600", "--seed", "3"]
      try store.mounted(through: proxy) { mounted in
        try Programs.run("pattern.py", ["write", mounted.mountpoint + "/f"] + pattern)
        try mounted.unmount()
      }
      let options = ["fault_timeout=1000s", "pull=lazy"]
      try store.mounted("elsewhere", options: options, through: proxy) { other in
        try ChildProcess.check(["stat", other.mountpoint + "/f"])
        try proxy.addRule("match=GET .*/seg/,action=blackhole")
        for how in [[], ["--mmap"]] {
          let reader = try BackgroundProcess(
            Programs.command("pattern.py", ["verify", other.mountpoint + "/f"] + pattern + how))
          ChildProcess.pause(.seconds(1))
          #expect(reader.isRunning, "it should wait for the store: \(reader.errors)")
          reader.kill()
          #expect(
            !reader.isRunning,
            "SIGKILL does not end a process that waits for a page: \(reader.kernelStacks)")
        }
        try proxy.clearRules()
        try Programs.run("pattern.py", ["verify", other.mountpoint + "/f"] + pattern)
        try other.unmount()
      }
    }
  }
}
