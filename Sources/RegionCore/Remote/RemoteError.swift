/// Why something of a group could not be read from or written to the store.
public enum RemoteError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The store said no, or nothing.
  case store(StoreError)
  /// The object is there and is not what it should be. `object` has the store's address.
  case damaged(object: String, FormatError)
  /// Another writer holds the group.
  case heldByOther(holder: String)
  /// Our claim is gone: the root has a higher epoch.
  case claimLost(holder: String)

  /// One line with object, cause and, where a person can do something, the remedy.
  public var description: String {
    switch self {
    case .store(let error): error.description
    case .damaged(let object, let error): "\(object): \(error)"
    case .heldByOther(let holder): "the group is written by \(holder)"
    case .claimLost(let holder): "the group was taken over by \(holder)"
    }
  }

  /// Whether trying again later may help.
  public var isRetryable: Bool {
    if case .store(let error) = self { return error.isRetryable }
    return false
  }

  /// Whether the store says that there is no such object.
  public var isNotFound: Bool {
    if case .store(let error) = self { return error.kind == .notFound }
    return false
  }
}
