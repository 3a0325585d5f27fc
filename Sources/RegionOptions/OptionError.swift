/// What is wrong with a mount option or a store address, said in one line with the remedy.
///
/// No case carries the value of an option that is not ours: it might be a secret.
public enum OptionError: Error, Equatable, Sendable, CustomStringConvertible {
  /// No such option; `nearest` is the known name that is the fewest edits away, unless those would be
  /// much of it.
  case unknown(name: String, nearest: String?)
  /// The option needs a value.
  case missingValue(name: String, expected: String)
  /// The option is a word that takes no value.
  case unexpectedValue(name: String)
  /// The value is malformed or out of range.
  case badValue(name: String, value: String, expected: String)
  /// Secrets do not belong into options: `ps`, fstab and shell histories show them.
  case secret(name: String)
  /// A word that mount(8) knows and regionfs cannot do.
  case unsupported(name: String, reason: String)
  /// The option string itself cannot be split.
  case malformed(reason: String)
  /// The store's address is not one.
  case badStore(reason: String)
  /// The mountpoint is not usable as a path.
  case badMountpoint(reason: String)

  /// One line for the user.
  public var description: String {
    switch self {
    case .unknown(let name, nil):
      "unknown option '\(name)'; 'regionfs mount --help' lists all"
    case .unknown(let name, let nearest?):
      "unknown option '\(name)'; the nearest known option is '\(nearest)'"
    case .missingValue(let name, let expected):
      "option '\(name)' needs a value: \(name)=\(expected)"
    case .unexpectedValue(let name):
      "option '\(name)' takes no value"
    case .badValue(let name, let value, let expected):
      "option '\(name)': '\(value)' is not allowed; expected \(expected)"
    case .secret(let name):
      "option '\(name)' is refused: options are visible to every user of the host. "
        + "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or keep the keys in "
        + "~/.aws/credentials and name them with profile="
    case .unsupported(let name, let reason):
      "option '\(name)' is not supported: \(reason)"
    case .malformed(let reason):
      "options: \(reason)"
    case .badStore(let reason):
      "store address: \(reason)"
    case .badMountpoint(let reason):
      "mountpoint: \(reason)"
    }
  }
}
