import RegionTesting
import Testing

/// Runs a line of shell.
func shell(_ script: String) throws -> ProcessResult {
  try ChildProcess.run(["sh", "-c", script])
}

/// Waits until `condition` holds.
func eventually(_ what: String, _ condition: () throws -> Bool) throws {
  let deadline = ContinuousClock.now + Patience.limit
  while try !condition() {
    try #require(ContinuousClock.now < deadline, "\(what): never")
    ChildProcess.pause(.milliseconds(100))
  }
}
