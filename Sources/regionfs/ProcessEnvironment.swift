import Glibc

/// The environment of this process (`environ`), read once.
enum ProcessEnvironment {
  /// Names and values; what is not `name=value` is left out.
  static let variables: [String: String] = {
    var result: [String: String] = [:]
    // SAFETY: nothing in this process changes the environment; the array ends with a null pointer.
    var item = unsafe environ
    while let text = unsafe item.pointee {
      let entry = unsafe String(cString: text)
      if let equals = entry.firstIndex(of: "=") {
        result[String(entry[..<equals])] = String(entry[entry.index(after: equals)...])
      }
      unsafe item += 1
    }
    return result
  }()
}
