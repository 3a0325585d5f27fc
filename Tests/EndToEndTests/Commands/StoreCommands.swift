import RegionTesting

extension TestStore {
  /// Words for `-o` of commands that open the store without mounting it.
  var storeOptions: [String] { kind == .s3 ? ["-o", "path_style"] : [] }

  /// What `regionfs` needs to know of the world.
  func commandEnvironment() throws -> [String: String] {
    environment.merging(
      [
        "XDG_STATE_HOME": try scratch.directory("state"),
        "XDG_CONFIG_HOME": try scratch.directory("config"),
        "REGIONFS_RUNTIME_DIR": try scratch.directory("run"),
      ], uniquingKeysWith: { $1 })
  }

  /// Runs `regionfs` with the store's options behind the arguments.
  func regionfs(_ arguments: String...) throws -> ProcessResult {
    try ChildProcess.run(
      [Products.path("regionfs")] + arguments + storeOptions,
      environment: try commandEnvironment())
  }

  /// Runs `regionfs` and demands that it succeeds; returns its standard output.
  @discardableResult
  func succeed(_ arguments: String...) throws -> String {
    let result = try ChildProcess.run(
      [Products.path("regionfs")] + arguments + storeOptions,
      environment: try commandEnvironment())
    guard result.succeeded else { throw ProcessFailure("\(result)") }
    return result.output
  }

  /// The directory of a store of files.
  var directory: String { String(address.dropFirst("file://".count)) }

  /// A value of a JSON document, as Python prints it.
  static func value(_ expression: String, of json: String) throws -> String {
    let program = "import json, sys; d = json.load(sys.stdin); print((\(expression)))"
    return try ChildProcess.check(["python3", "-c", program], input: json).output
      .split(separator: "\n").joined(separator: "\n")
  }
}
