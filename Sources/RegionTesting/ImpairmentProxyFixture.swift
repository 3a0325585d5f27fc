import Glibc

/// A running `regionfs-impair` in front of a server. See its `--help` for rules and units.
public final class ImpairmentProxy: Sendable {
  /// ADDRESS:PORT to connect to.
  public let address: String
  private let process: BackgroundProcess

  /// Starts a proxy on a free port.
  ///
  /// - Parameters:
  ///   - server: ADDRESS:PORT behind it.
  ///   - arguments: further arguments, such as `["--rtt", "25ms"]`.
  /// - Throws: `ProcessFailure`.
  public init(to server: String, _ arguments: [String] = []) throws(ProcessFailure) {
    process = try BackgroundProcess(
      [Products.path("regionfs-impair"), "--to", server, "--control", "-"] + arguments)
    let line = try process.nextLine()
    // {"listening":"127.0.0.1:4711"}
    let words = line.split(separator: "\"")
    guard words.count >= 4, words[1] == "listening" else {
      throw ProcessFailure("unexpected first line \(line)")
    }
    address = String(words[3])
  }

  /// Carries out a command of the control channel; returns the answering line of JSON.
  ///
  /// - Throws: `ProcessFailure`, also where the answer is an error.
  @discardableResult
  public func control(_ command: String) throws(ProcessFailure) -> String {
    process.write(command + "\n")
    let answer = try process.nextLine()
    if answer.hasPrefix("{\"error\"") { throw ProcessFailure("\(command): \(answer)") }
    return answer
  }

  /// Adds a fault.
  ///
  /// - Throws: `ProcessFailure`.
  public func addRule(_ rule: String) throws(ProcessFailure) { try control("rule \(rule)") }

  /// Removes all faults.
  ///
  /// - Throws: `ProcessFailure`.
  public func clearRules() throws(ProcessFailure) { try control("clear-rules") }

  /// Ends it; its connections are reset.
  public func stop() { process.kill() }
}
