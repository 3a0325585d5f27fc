import RegionTesting
import Testing

extension EndToEnd {
  /// `regionfs takeover` and `regionfs recover`, with the daemons that they are about.
  @Suite(.serialized) struct RecoverCommandTests {
    private func regionfs(_ store: TestStore, _ arguments: String...) throws -> ProcessResult {
      var environment = store.environment
      environment["REGIONFS_RUNTIME_DIR"] = try store.scratch.directory("run")
      environment["AWS_ENDPOINT_URL_S3"] = store.serverAddress.map { "http://\($0)" }
      return try ChildProcess.run(
        [Products.path("regionfs")] + arguments, environment: environment)
    }

    @Test func theSecondWriterIsToldWhoHoldsTheClaim() async throws {
      let store = try await TestStore(.directory)
      let path = String(store.address.dropFirst("file://".count))
      try store.mounted("first") { first in
        let holder = try BackgroundProcess([
          "sh", "-c", "exec 3>\(first.mountpoint)/f; echo held; cat",
        ])
        #expect(try holder.nextLine() == "held")
        try first.waitUntilCommitted()
        try eventually("a heartbeat") {
          try Files.list(below: path).contains { $0.contains("/mounts/") }
        }
        try store.mounted("second") { second in
          #expect(try shell("cat \(second.mountpoint)/f").succeeded)
          #expect(try shell("echo x >> \(second.mountpoint)/f").errors.contains("busy"))
          let line = second.log.split(separator: "\n").last { $0.contains("cannot be written") }
          #expect(
            line?.contains("\(first.mountpoint) writes it (last seen ") == true, "\(second.log)")
          try second.unmount()
        }
        holder.closeInput()
        _ = try holder.waitForExit()
        try first.unmount()
      }
      let left = try Files.list(below: path).filter { $0.contains("/mounts/") }
      #expect(left.isEmpty, "the heartbeat goes with the mount")
    }

    @Test(arguments: StoreKind.allCases)
    func whatALoserHadNotCommittedIsSavedOrDiscarded(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      let pattern = ["--pages", "300", "--seed", "1"]
      let mine = ["--pages", "300", "--seed", "2", "--touch", "40"]
      let path = "path_style"
      try store.mounted("first", options: ["push_interval=1h"]) { first in
        let options = "cache_dir=\(first.cacheDirectory)" + (kind == .s3 ? ",\(path)" : "")
        let recover = ["recover", store.address, "-o", options]
        func recovering(_ more: String...) throws -> ProcessResult {
          var environment = store.environment
          environment["AWS_ENDPOINT_URL_S3"] = store.serverAddress.map { "http://\($0)" }
          return try ChildProcess.run(
            [Products.path("regionfs")] + recover + more, environment: environment,
            timeout: Patience.limit)
        }
        for round in 0..<2 {
          let file = first.mountpoint + "/db\(round)/f"
          try ChildProcess.check(["mkdir", first.mountpoint + "/db\(round)"])
          try Programs.run("pattern.py", ["write", file] + pattern)
          try first.sync()
          let holder = try BackgroundProcess(
            Programs.command("pattern.py", ["map", file, "--msync", "--hold"] + mine))
          #expect(try holder.nextLine() == "done")
          try store.mounted("second") { second in
            let theirs = second.mountpoint + "/db\(round)/f"
            #expect(try shell("echo x >> \(theirs)").errors.contains("busy"))
            let taken = try regionfs(store, "takeover", theirs)
            #expect(taken.succeeded, "\(taken)")
            #expect(taken.errors.contains("was claimed by"), "\(taken)")
            try Programs.run("pattern.py", ["verify", theirs] + pattern)
            try ChildProcess.check(["sh", "-c", "echo theirs > \(second.mountpoint)/db\(round)/g"])
            try second.unmount()
          }
          #expect(try !regionfs(store, "sync", first.mountpoint).succeeded)
          #expect(try shell("sync \(file)").errors.contains("Stale file handle"))
          #expect(try shell("touch \(file)").errors.contains("Stale file handle"))
          try Programs.run("pattern.py", ["verify", file, "--base-seed", "1"] + mine)
          let busy = try recovering("--save", "x")
          #expect(busy.status == 33 && busy.errors.contains("Unmount"), "\(busy)")
          holder.closeInput()
          _ = try holder.waitForExit()
          if round == 0 {
            // An orderly end, which says that something is left.
            #expect(throws: ProcessFailure.self) { try first.unmount() }
          } else {
            try first.kill()
          }
          try first.remount()
          // The group is what the other writer made of it; what is set aside stays.
          try Programs.run("pattern.py", ["verify", file] + pattern)
          #expect(try shell("cat \(first.mountpoint)/db\(round)/g").output == "theirs\n")
          #expect(try recovering("--save", "saved").status == 33)
          #expect(try recovering("--discard", "--yes").status == 33)
          try first.unmount()
          let list = try recovering()
          #expect(list.succeeded && list.output.contains("db\(round): "), "\(list)")
          #expect(try recovering("--json").output.contains("\"name\" : \"db\(round)\""))
          if round == 0 {
            #expect(try recovering("--save", "db0").errors.contains("there is a db0"))
            let saved = try recovering("--save", "saved")
            #expect(saved.succeeded, "\(saved)")
          } else {
            #expect(try recovering("--discard").status == 1)
            #expect(try recovering("--discard", "--yes").succeeded)
          }
          #expect(try recovering().output == "Nothing is set aside.\n")
          try first.mount()
        }
        try first.unmount()
      }
      try store.mounted("third") { third in
        let saved = third.mountpoint + "/saved"
        try Programs.run("pattern.py", ["verify", saved + "/f", "--base-seed", "1"] + mine)
        #expect(try shell("ls \(saved)").output == "f\n")
        #expect(try shell("ls \(third.mountpoint)").output == "db0\ndb1\nsaved\n")
        try third.unmount()
      }
    }
  }
}
