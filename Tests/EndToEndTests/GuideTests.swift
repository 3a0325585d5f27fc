import RegionTesting
import Testing

extension EndToEnd {
  /// The guides' scripts: what they write on one host another one reads.
  @Suite(.serialized) struct GuideTests {
    /// Each guide and its script.
    static let guides = [
      ("model-weights", "model_weights.py"), ("sqlite", "sqlite.py"), ("lmdb", "lmdb_store.py"),
      ("numpy", "numpy_arrays.py"), ("virtual-machines", "virtual_machine.py"),
      ("ci-caches", "ci_cache.sh"),
    ]

    static func run(_ script: String, _ mode: String, _ directory: String) throws {
      let path = "\(Programs.root)/scripts/guides/\(script)"
      let command = script.hasSuffix(".py") ? [Programs.python, path] : [path]
      try ChildProcess.check(
        command + [mode, directory], environment: ["PATH": "/usr/sbin:/sbin:/usr/bin:/bin"],
        timeout: Patience.limit)
    }

    @Test(arguments: guides)
    func whatAGuidesScriptWritesAnotherHostReads(guide: String, script: String) async throws {
      let text = try Files.read("\(Programs.root)/docs/guides/\(guide).md")
      #expect(String(decoding: text, as: UTF8.self).contains("(../../scripts/guides/\(script))"))
      let store = try await TestStore(.directory)
      try store.mounted { mounted in
        let directory = mounted.mountpoint + "/guide"
        try ChildProcess.check(["mkdir", directory])
        try Self.run(script, "write", directory)
        try Self.run(script, "check", directory)
        try mounted.unmount()
      }
      try store.mounted("elsewhere", options: ["ro"]) { other in
        // A reader of a WAL database writes to its index, so that one is copied.
        let directory =
          guide == "sqlite" ? try store.scratch.directory("copy") : other.mountpoint + "/guide"
        if guide == "sqlite" {
          try ChildProcess.check(["cp", "-r", other.mountpoint + "/guide/.", directory])
        }
        try Self.run(script, "check", directory)
        try other.unmount()
      }
    }

    @Test func everyGuideIsRunAndLinked() throws {
      let names = try ChildProcess.check(["ls", "\(Programs.root)/docs/guides"]).output
      #expect(
        names.split(separator: "\n").sorted() == Self.guides.map { "\($0.0).md"[...] }.sorted())
      let scripts = try ChildProcess.check(["ls", "\(Programs.root)/scripts/guides"]).output
      #expect(scripts.split(separator: "\n").sorted() == Self.guides.map { $0.1[...] }.sorted())
      let readme = String(decoding: try Files.read("\(Programs.root)/README.md"), as: UTF8.self)
      for (guide, _) in Self.guides { #expect(readme.contains("(docs/guides/\(guide).md)")) }
    }
  }
}
