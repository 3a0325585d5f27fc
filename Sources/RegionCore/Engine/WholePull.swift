extension Group {
  /// Failures in a row that may pass, while the store answers, before a file is given up.
  private static let mostFailures = 10

  /// A file that could not be pulled as a whole.
  public struct Unpulled: Error, Sendable {
    /// Why, in words.
    public let reason: String
  }

  /// The files of the group, with their sizes in bytes.
  public var files: [(id: FileID, size: UInt64)] {
    state.withLock { state in
      state.namespace.all.filter { $0.kind == .file }.map { ($0.id, $0.size) }
    }
  }

  /// Pulls all of a file and waits until it is here, also while the store is away. A file that was
  /// removed meanwhile is done, too.
  ///
  /// - Parameter note: told the bytes that are still to come; false ends the wait.
  /// - Throws: `Unpulled` if it does not get on.
  public func pullWhole(
    _ file: FileID, reason: String, note: (UInt64) -> Bool
  ) async throws(Unpulled) {
    let region: Region
    do throws(RegionError) {
      region = try hold(file)
    } catch {
      guard error == .notFound else { throw Unpulled(reason: "\(error)") }
      return
    }
    defer { close(file, writable: false) }
    guard region.absentBytes(in: 0..<region.chunkCount) > 0 else { return }
    func ask() -> RequestedPull { RequestedPull(region, bytes: nil, priority: 0, reason: reason) }
    var pull = ask()
    var failures = 0
    while true {
      switch pull.look() {
      case .here: return
      case .underWay(let remaining): guard note(remaining) else { return }
      case .failed(let why, let isPassing):
        // An outage counts as one only when it has lasted for a while.
        failures = engine.health.isDown ? 0 : failures + 1
        guard failures == 0 || isPassing && failures < Self.mostFailures else {
          throw Unpulled(reason: why)
        }
        guard note(pull.remainingBytes) else { return }
        await engine.clock.sleep(for: .milliseconds(500))
        pull = ask()
      }
      for _ in 0..<20 where pull.isRunning { await engine.clock.sleep(for: .milliseconds(10)) }
    }
  }
}
