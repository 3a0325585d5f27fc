import Foundation
import RegionTesting
import Testing

extension EndToEnd {
  /// A mount that reads what another one writes, while it writes.
  @Suite(.serialized) struct FollowerTests {
    private struct Seen: Decodable {
      var reads, changes, torn, passing, foreign, back, newest: Int
    }

    /// Seconds of each run; `REGIONFS_FOLLOW_SECONDS` makes them longer.
    private static let seconds = Environment.all["REGIONFS_FOLLOW_SECONDS"] ?? "8"
    private static let limit = Patience.limit + .seconds(Double(seconds) ?? 8)

    /// Commits under a live mapping, and under O_DIRECT, whose every read is one answer.
    @Test func aLiveMappingSeesNewCommitsAndNoTornChunk() async throws {
      let store = try await TestStore(.s3)
      let words = ["--chunk", "65536", "--chunks", "24"]
      try store.mounted("writer", options: ["push_interval=200ms", "chunk_size=64k"]) { writer in
        let writing = try BackgroundProcess(
          Programs.command(
            "generations.py",
            ["write", writer.mountpoint + "/f", "--seconds", Self.seconds, "--resize"] + words))
        #expect(try writing.nextLine() == "ready")
        try writer.sync()
        let options = ["ro", "follow_interval=100ms"]
        try store.mounted("reader", options: options) { reader in
          let longer = String((Double(Self.seconds) ?? 8) + 6)
          let watchers = try [[], ["--direct"]].map { how in
            try BackgroundProcess(
              Programs.command(
                "generations.py",
                ["watch", reader.mountpoint + "/f", "--seconds", longer] + words + how))
          }
          let last = try #require(Int(try writing.nextLine(timeout: Self.limit)))
          try writer.sync()
          for watcher in watchers {
            #expect(try watcher.nextLine() == "ready")
            let line = try watcher.nextLine(timeout: Self.limit)
            let seen = try JSONDecoder().decode(Seen.self, from: Data(line.utf8))
            #expect(seen.torn == 0 && seen.foreign == 0 && seen.back == 0, "\(line)")
            #expect(seen.newest == last, "it does not see the last commit of \(last): \(line)")
            #expect(seen.changes > 48, "no commits but the first and the last: \(line)")
            _ = try watcher.waitForExit()
          }
          try reader.unmount()
        }
        try writer.unmount()
      }
    }

    /// Growth and shrinking reach a mapping that stays.
    @Test func aLiveMappingSeesTheFileGrowAndShrink() async throws {
      let store = try await TestStore(.s3)
      let watch = """
        import mmap, os, sys
        f = os.open(sys.argv[1], os.O_RDONLY)
        m = mmap.mmap(f, 1 << 20, prot=mmap.PROT_READ) if os.fstat(f).st_size >= 1 << 20 else None
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
        # Longer than the file, as a database maps what is to grow.
        base = libc.mmap(None, 1 << 20, mmap.PROT_READ, mmap.MAP_SHARED, f, 0)
        print(ctypes.string_at(base, 4), flush=True)
        for line in sys.stdin:
            at = int(line)
            if os.fork() == 0:
                print(ctypes.string_at(base + at, 4), flush=True)
                os._exit(0)
            status = os.wait()[1]
            if status: print("signal", status & 127, flush=True)
        """
      try store.mounted("writer", options: ["push_interval=200ms"]) { writer in
        let file = writer.mountpoint + "/f"
        let shell = { (script: String) in try ChildProcess.check(["sh", "-c", script]) }
        _ = try shell("printf 'aaaa' > \(file)")
        try writer.sync()
        try store.mounted("reader", options: ["ro", "follow_interval=100ms"]) { reader in
          let watcher = try BackgroundProcess(
            [Programs.python, "-c", watch, reader.mountpoint + "/f"])
          #expect(try watcher.nextLine() == "b'aaaa'")
          func look(_ offset: Int) throws -> String {
            watcher.write("\(offset)\n")
            return try watcher.nextLine()
          }
          #expect(try look(8192) == "signal 7", "beyond the end")
          _ = try shell("printf 'bbbb' | dd of=\(file) bs=1 seek=8192 conv=notrunc status=none")
          try writer.sync()
          try eventually("grown") { try look(8192) == "b'bbbb'" }
          #expect(try look(0) == "b'aaaa'")
          _ = try shell("truncate -s 4 \(file)")
          try writer.sync()
          try eventually("shrunk") { try look(8192) == "signal 7" }
          _ = try shell("truncate -s 12288 \(file)")
          try writer.sync()
          try eventually("grown again, with zeros") { try look(8192) == #"b'\x00\x00\x00\x00'"# }
          watcher.closeInput()
          _ = try watcher.waitForExit()
          try reader.unmount()
        }
        try writer.unmount()
      }
    }

    /// The kernel drops the answer to a touch that crosses with the invalidation of the same file's pages;
    /// a mapping was then refused what lies behind the old end for good.
    @Test func everyGrowthReachesALiveMapping() async throws {
      let store = try await TestStore(.s3)
      try store.mounted("writer", options: ["push_interval=200ms"]) { writer in
        try store.mounted("reader", options: ["ro", "follow_interval=100ms"]) { reader in
          let growing = try BackgroundProcess(
            Programs.command("growing.py", ["write", writer.mountpoint + "/f"]))
          #expect(try growing.nextLine() == "0")
          try writer.sync()
          let watching = try BackgroundProcess(
            Programs.command("growing.py", ["watch", reader.mountpoint + "/f"]))
          for step in 0..<25 {
            if step > 0 {
              growing.write("\(step)\n")
              #expect(try growing.nextLine() == "\(step)")
              try writer.sync()
            }
            watching.write("\(step)\n")
            #expect(try watching.nextLine() == "\(step)")
          }
          for program in [growing, watching] {
            program.closeInput()
            _ = try program.waitForExit()
          }
          try reader.unmount()
        }
        try writer.unmount()
      }
    }

    /// Files stay open and mapped while the store is away and commits pour in: the mount comes off.
    @Test func anUnmountUnderNewCommitsDoesNotHang() async throws {
      let store = try await TestStore(.s3)
      let proxy = try ImpairmentProxy(to: try #require(store.serverAddress))
      let words = ["--chunk", "65536", "--chunks", "24"]
      try store.mounted("writer", options: ["push_interval=200ms", "chunk_size=64k"]) { writer in
        let writing = try BackgroundProcess(
          Programs.command(
            "generations.py", ["write", writer.mountpoint + "/f", "--seconds", "600"] + words))
        #expect(try writing.nextLine() == "ready")
        try writer.sync()
        for round in 0..<3 {
          let options = ["ro", "follow_interval=100ms", "fault_timeout=5s"]
          try store.mounted("reader", options: options, through: proxy) { reader in
            let watcher = try BackgroundProcess(
              Programs.command(
                "generations.py", ["watch", reader.mountpoint + "/f", "--seconds", "600"] + words))
            #expect(try watcher.nextLine() == "ready")
            ChildProcess.pause(.seconds(2))
            // In one round READs hang when the mount is to go.
            if round == 1 { try proxy.addRule("match=GET .*/seg/,action=blackhole") }
            ChildProcess.pause(.milliseconds(500))
            watcher.kill()
            #expect(!watcher.isRunning, "\(watcher.kernelStacks)")
            try reader.unmount()
            try proxy.clearRules()
          }
        }
        writing.kill()
        try writer.unmount()
      }
    }
  }
}
