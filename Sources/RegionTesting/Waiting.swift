/// How long tests wait for what should have happened long ago. It measures nothing: it only ends what
/// hangs, also where the machine is busy or all of its tests are stopped for minutes.
public enum Patience {
  /// For a step of a test.
  public static let limit = Duration.seconds(300)
}

/// What a test waited for in vain.
public struct NeverHappened: Error, CustomStringConvertible {
  /// What it was, and where it was waited for.
  public let description: String
}

/// Waits until `condition` holds. Looks often at first, so that a test that wants to be there in that
/// moment is; counts looks and not time, which also passes while the process is stopped.
public func eventually(
  _ what: String, file: String = #fileID, line: Int = #line, _ condition: () async throws -> Bool
) async throws {
  for look in 0..<200_000 {
    if try await condition() { return }
    if look < 20_000 { await Task.yield() } else { try await Task.sleep(for: .milliseconds(1)) }
  }
  throw NeverHappened(description: "\(file):\(line): never: \(what)")
}
