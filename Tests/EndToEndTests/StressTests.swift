import RegionTesting
import Testing

extension EndToEnd {
  /// Other people's exercisers.
  @Suite(.serialized) struct StressTests {
    @Test(arguments: StoreKind.allCases, ["mmap", "psync", "libaio"])
    func fioVerifies(_ kind: StoreKind, engine: String) async throws {
      let store = try await TestStore(kind)
      func arguments(_ mounted: MountedFilesystem) -> [String] {
        [
          "fio", "--name=verify", "--filename=\(mounted.mountpoint)/f", "--size=48M",
          "--ioengine=\(engine)", "--rw=randwrite", "--bsrange=4k-64k", "--blockalign=4k",
          "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0", "--randseed=5",
          "--minimal",
        ]
      }
      try store.checkEverywhere(
        options: ["push_interval=500ms"],
        write: { try ChildProcess.check(arguments($0) + ["--do_verify=1"]) },
        check: { try ChildProcess.check(arguments($0) + ["--verify_only"]) })
    }

    /// Stressors with their arguments; two seconds each. Without io-uring, which fails on ext4 too
    /// (statx of a file that it has removed).
    static let stressors: [[String]] = [
      ["mmap", "--mmap-file", "--mmap-bytes", "32m"],
      ["mmap", "--mmap-file", "--mmap-async", "--mmap-odirect", "--mmap-bytes", "16m"],
      ["msync", "--msync-bytes", "16m"], ["mmapmany"], ["msyncmany"], ["mmapfork"],
      ["mincore"], ["madvise"], ["remap"],
      ["hdd", "--hdd-bytes", "32m"],
      ["hdd", "--hdd-bytes", "16m", "--hdd-opts", "direct,wr-rnd,rd-rnd"],
      ["hdd", "--hdd-bytes", "16m", "--hdd-opts", "fsync,wr-seq,rd-rnd,iovec"],
      ["seek", "--seek-size", "16m"], ["seek", "--seek-size", "16m", "--seek-punch"],
      ["revio", "--revio-bytes", "16m"], ["copy-file", "--copy-file-bytes", "128m"],
      ["readahead", "--readahead-bytes", "32m"], ["aio"],
      ["flock"], ["lockf"], ["lockf", "--lockf-nonblock"], ["locka"], ["lockofd"], ["fcntl"],
      ["dentry", "--dentries", "500"], ["rename"], ["filename", "--filename-opts", "probe"],
      ["sendfile", "--sendfile-size", "4m"], ["splice"], ["getdent"], ["dirmany"], ["dirdeep"],
      ["dir"], ["fsize"], ["fstat"], ["xattr"], ["chmod"], ["chown"], ["utime"], ["symlink"],
      ["access"], ["open"], ["touch"], ["unlink"], ["metamix"], ["chdir"],
      ["file-ioctl"], ["inotify"], ["dup"], ["handle"], ["eventfd"],
    ]

    @Test(arguments: StoreKind.allCases)
    func stressNgFindsNothing(_ kind: StoreKind) async throws {
      let store = try await TestStore(kind)
      try store.mounted(options: ["push_interval=500ms"]) { mounted in
        let directory = mounted.mountpoint + "/stress"
        try ChildProcess.check(["mkdir", directory])
        for stressor in Self.stressors where try Self.isKnown(stressor[0]) {
          let command =
            ["stress-ng", "--\(stressor[0])", "2"] + stressor.dropFirst()
            + ["--timeout", "2", "--verify", "--temp-path", directory, "--no-rand-seed"]
          let result = try ChildProcess.run(command)
          // 3: the stressor cannot run here; 4: not supported by the kernel.
          #expect([0, 3, 4].contains(result.status), "\(result)")
          let alive = mounted.pid != nil
          #expect(alive, "the daemon ended in \(stressor): \(mounted.log.suffix(2000))")
          if !alive { return }
        }
        try mounted.unmount()
      }
    }

    private static let help = try? ChildProcess.check(["stress-ng", "--help"]).output

    /// Versions of stress-ng differ in their stressors.
    private static func isKnown(_ stressor: String) throws -> Bool {
      try #require(help).contains("--\(stressor) N")
    }
  }
}
