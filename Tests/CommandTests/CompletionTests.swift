import RegionTesting
import Testing

/// Completions are made by the programs themselves and installed by `scripts/install`. Each shell is asked
/// with the tab key, in a terminal.
@Suite struct CompletionTests {
  static let shells = ["bash", "zsh", "fish"]

  /// What `lines` become when their last word is completed.
  private func completed(
    _ program: String, _ shell: String, _ lines: [String], environment: [String: String] = [:]
  ) throws -> [String] {
    let scratch = try Scratch()
    let tool = Products.path(program)
    let script = scratch.file("completion")
    let text = try ChildProcess.check([tool, "--generate-completion-script", shell]).output
    try ChildProcess.check(["sh", "-c", "cat > '\(script)'"], input: text)
    let result = try ChildProcess.check(
      ["python3", "\(root)/Tests/CommandTests/complete.py", shell, script, tool] + lines,
      environment: environment, timeout: .seconds(300))
    return result.output.split(separator: "\n").map(String.init)
  }

  @Test(arguments: shells)
  func commandsOptionsAndNamesOfStoresAreCompleted(shell: String) throws {
    let scratch = try Scratch()
    let file = scratch.file("regionfs.toml")
    try ChildProcess.check(
      ["sh", "-c", "cat > '\(file)'"], input: "[stores.models]\nurl = \"file:///srv\"\n")
    let found = try completed(
      "regionfs", shell,
      ["fsc", "umount --no-w", "config ch", "log-level / deb", "mount mod", "mount -o cache_d"],
      environment: ["REGIONFS_CONFIG": file])
    #expect(
      found == [
        "fsck", "umount --no-wait", "config check", "log-level / debug", "mount models",
        "mount -o cache_dir=",
      ])
  }

  @Test(arguments: shells)
  func optionsOfStatAreCompleted(shell: String) throws {
    let found = try completed("regionfs-stat", shell, ["--prom", "--wait comm"])
    #expect(found == ["--prometheus", "--wait committed"])
  }

  @Test func installPutsThemWhereTheShellsLook() throws {
    let text = try ChildProcess.check(["cat", root + "/scripts/install"]).output
    for place in [
      "share/bash-completion/completions", "share/zsh/${ZSH_PLACE:-site-functions}",
      "share/fish/vendor_completions.d",
    ] {
      #expect(text.contains(place), "\(place)")
    }
  }
}
