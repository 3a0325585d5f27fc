extension GroupObjects {
  /// What is wrong with the group's trace; nil for one that can be read, or where there is none.
  /// Nothing of the group depends on it.
  ///
  /// - Throws: `RemoteError.store` where the store could not be asked.
  func traceFinding(_ geometry: Geometry) async throws(RemoteError) -> AuditFinding? {
    let cause: String
    do throws(RemoteError) {
      _ = try await trace(geometry)
      return nil
    } catch {
      switch error {
      case .damaged(_, let error): cause = "\(error)"
      case .store(let error) where error.kind == .tooLarge || error.kind == .damagedAnswer:
        cause = error.detail
      default: throw error
      }
    }
    return AuditFinding(
      severity: .warning, object: address(ObjectKeys.trace(of: group)), cause: cause,
      remedy: "Remove it with regionfs trace clear: the next start records another")
  }
}
