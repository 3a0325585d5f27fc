import Glibc
import RegionTesting
import Testing

/// What `scripts/install` and `scripts/package` make, with the programs that the tests run. Release
/// builds, which take minutes, are what `scripts/package --check` makes and runs.
@Suite(.serialized) struct PackageTests {
  /// The built package's path.
  static func build(in scratch: Scratch) throws -> String {
    let binaries = Products.path("regionfs").split(separator: "/").dropLast().map { "/" + $0 }
    let result = try ChildProcess.check(
      ["\(root)/scripts/package", scratch.path], environment: ["BINARIES": binaries.joined()],
      timeout: .seconds(300))
    return String(try #require(result.output.split(separator: "\n").last))
  }

  @Test func thePackageHoldsWhatItShouldAndRunsFromWhereItIsUnpacked() throws {
    let scratch = try Scratch()
    let package = try Self.build(in: scratch)
    let files = try ChildProcess.check(["dpkg-deb", "-c", package]).output
    for path in [
      "usr/bin/regionfs", "usr/bin/regionfs-stat", "usr/sbin/mount.fuse.regionfs",
      "usr/sbin/umount.fuse.regionfs", "usr/lib/systemd/system/regionfs@.service",
      "usr/lib/systemd/user/regionfs@.service", "usr/share/man/man1/regionfs.1.gz",
      "usr/share/man/man1/regionfs-stat.1.gz", "usr/share/man/man8/mount.fuse.regionfs.8.gz",
      "usr/share/bash-completion/completions/regionfs",
      "usr/share/zsh/vendor-completions/_regionfs-stat",
      "usr/share/fish/vendor_completions.d/regionfs.fish",
      "usr/share/doc/regionfs/examples/regionfs.toml", "usr/share/doc/regionfs/copyright",
    ] { #expect(files.contains(" ./\(path)\n"), "\(path)") }
    #expect(!files.contains("/local/"))
    let depends = try ChildProcess.check(["dpkg-deb", "-f", package, "Depends"]).output
    for library in ["libfuse3-3", "libcurl4", "libexpat1", "libisal2", "libssl3", "libc6", "fuse3"]
    {
      #expect(depends.split { ", \n".contains($0) }.contains { $0 == library }, "\(library)")
    }
    // All of them are to be had here: the package could be installed.
    let system = try scratch.directory("root")
    try ChildProcess.check(["dpkg-deb", "-x", package, system])
    let tool = system + "/usr/bin/regionfs"
    #expect(try ChildProcess.check([tool, "--version"]).output.hasPrefix("regionfs "))
    let checked = try ChildProcess.run(["dpkg", "--dry-run", "-i", package])
    #expect(checked.status == 0, "\(checked)")
    try mountAndUnmount(system, scratch)
  }

  /// Through the unpacked helper, which finds the program by PATH.
  private func mountAndUnmount(_ system: String, _ scratch: Scratch) throws {
    let mountpoint = try scratch.directory("mnt")
    let environment = [
      "REGIONFS_RUNTIME_DIR": try scratch.directory("run"),
      "PATH": "\(system)/usr/bin:/usr/bin:/bin",
    ]
    defer { _ = try? ChildProcess.run(["umount", "-i", "-l", "-q", mountpoint]) }
    let mount = try ChildProcess.run(
      [
        "\(system)/usr/sbin/mount.fuse.regionfs", "file://\(try scratch.directory("store"))",
        mountpoint, "-o", "cache_dir=\(try scratch.directory("cache"))",
      ], environment: environment)
    try #require(mount.status == 0, "\(mount)")
    try ChildProcess.check(["sh", "-c", "echo hello > '\(mountpoint)/file'"])
    let umount = try ChildProcess.run(
      ["\(system)/usr/sbin/umount.fuse.regionfs", mountpoint], environment: environment,
      timeout: Patience.limit)
    #expect(umount.status == 0, "\(umount)")
  }

  @Test func theUnitIsOneThatSystemdUnderstands() throws {
    let scratch = try Scratch()
    let unit = try ChildProcess.check(["cat", "\(root)/scripts/package.d/regionfs@.service"]).output
    let file = scratch.file("regionfs@.service")
    let directory = Products.path("regionfs").split(separator: "/").dropLast().map { "/" + $0 }
    try ChildProcess.check(
      ["sh", "-c", "cat > '\(file)'"],
      input: unit.replacing("@BIN@", with: directory.joined())
        .replacing("Documentation=man:regionfs(1) man:regionfs-stat(1)\n", with: ""))
    for manager in ["--system", "--user"] {
      let result = try ChildProcess.run(
        ["systemd-analyze", "verify", manager, scratch.file("regionfs@models.service")])
      // Units of the host are not ours to judge.
      let ours = result.errors.split(separator: "\n").filter { $0.contains("regionfs") }
      #expect(ours.isEmpty, "\(result)")
    }
  }
}
