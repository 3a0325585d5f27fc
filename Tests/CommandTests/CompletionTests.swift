import RegionTesting
import Testing

/// Completions are made by the programs themselves and installed by `scripts/install`.
@Suite struct CompletionTests {
  static let programs = ["regionfs", "regionfs-stat"]

  private func script(_ program: String, _ shell: String) throws -> String {
    try ChildProcess.check([Products.path(program), "--generate-completion-script", shell]).output
  }

  @Test(arguments: programs)
  func bashTakesItsCompletion(program: String) throws {
    let text = try script(program, "bash")
    try ChildProcess.check(["bash", "-n"], input: text)
    let words =
      program == "regionfs"
      ? "COMP_WORDS=(regionfs f); COMP_CWORD=1" : "COMP_WORDS=(regionfs-stat --j); COMP_CWORD=1"
    let function = text.split(separator: "\n").last { $0.hasPrefix("complete ") }?
      .split(separator: " ").first { $0.hasPrefix("_") }
    let call = """
      \(words); COMP_LINE="${COMP_WORDS[*]}"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
      \(try #require(function)) regionfs "${COMP_WORDS[1]}" regionfs
      printf '%s\\n' "${COMPREPLY[@]}"
      """
    let found = try ChildProcess.check(["bash", "-c", text + "\n" + call]).output
    #expect(
      found.split(separator: "\n").contains {
        $0.hasPrefix(program == "regionfs" ? "fsck" : "--json")
      },
      "\(found)")
  }

  @Test(arguments: programs, ["zsh", "fish"])
  func othersNameTheOptions(program: String, shell: String) throws {
    let text = try script(program, shell)
    let words =
      program == "regionfs" ? ["umount", "fsck", "doctor", "no-wait"] : ["watch", "json"]
    for word in words { #expect(text.contains(word), "\(word)") }
    #expect(text.hasPrefix(shell == "zsh" ? "#compdef \(program)" : "function"))
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
