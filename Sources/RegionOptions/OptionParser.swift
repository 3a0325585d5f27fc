extension MountOptions {
  /// Parses `-o` arguments in the style of fstab: `a,b=c`, repeated; later ones win.
  ///
  /// A comma within a value is written `\,` or the value is put in double quotes, as libmount does.
  ///
  /// - Throws: `OptionError` naming the option, its value and what is allowed.
  public init(parsing arguments: [String], context: OptionContext) throws(OptionError) {
    self.init(cacheDirectory: context.defaultCacheDirectory)
    for argument in arguments {
      for option in try Self.split(argument) {
        try apply(option, context: context)
      }
    }
  }

  private mutating func apply(
    _ option: (name: String, value: String?), context: OptionContext
  ) throws(OptionError) {
    let (name, value) = option
    if let specification = OptionTable.all.first(where: { $0.name == name }) {
      try apply(specification, value: value, context: context)
    } else if OptionTable.secretWords.contains(name.lowercased()) {
      throw .secret(name: name)
    } else if let reason = OptionTable.unsupportedWords[name] {
      throw .unsupported(name: name, reason: reason)
    } else if let pair = OptionTable.kernelFlagPairs.first(where: { $0.0 == name || $0.1 == name })
    {
      guard value == nil else { throw .unexpectedValue(name: name) }
      kernelFlags.removeAll { $0 == pair.0 || $0 == pair.1 }
      kernelFlags.append(name)
    } else if !OptionTable.ignoredWords.contains(name), !name.hasPrefix("x-"),
      !name.hasPrefix("X-")
    {
      throw .unknown(name: name, nearest: Self.nearest(to: name))
    }
  }

  private mutating func apply(
    _ specification: OptionSpecification, value: String?, context: OptionContext
  ) throws(OptionError) {
    guard let expected = specification.value else {
      guard value == nil else { throw .unexpectedValue(name: specification.name) }
      _ = specification.apply(&self, "", context)
      return
    }
    guard let value, !value.isEmpty else {
      throw .missingValue(name: specification.name, expected: expected)
    }
    guard !value.contains("\0"), specification.apply(&self, value, context) else {
      throw .badValue(
        name: specification.name, value: Self.withoutUserinfo(value), expected: expected)
    }
  }

  /// An endpoint with a password in it is refused; the message must not repeat the password.
  private static func withoutUserinfo(_ value: String) -> String {
    guard let at = value.lastIndex(of: "@") else { return value }
    return "…" + value[at...]
  }

  /// The known name that somebody may have meant; nil if two fifths of it would be edits.
  private static func nearest(to name: String) -> String? {
    var best = (name: "", distance: Int.max)
    // Bounded, because a hostile name would cost time that goes with its length; no known name has
    // more bytes than that.
    let name = Array(name.lowercased().utf8.prefix(32))
    for known in OptionTable.knownNames
    where abs(known.utf8.count - name.count) < best.distance {
      // No fewer edits than the lengths differ by.
      let distance = editDistance(name, Array(known.utf8))
      if distance < best.distance { best = (known, distance) }
    }
    return best.distance * 5 < max(name.count, best.name.utf8.count) * 2 ? best.name : nil
  }

  /// Splits at commas outside quotes and escapes; the first `=` ends the name.
  static func split(_ text: String) throws(OptionError) -> [(name: String, value: String?)] {
    guard text.utf8.count <= 65_536 else {
      throw .malformed(reason: "longer than 65536 bytes")
    }
    var result: [(name: String, value: String?)] = []
    var name = String.UnicodeScalarView()
    var value: String.UnicodeScalarView?
    var quoted = false
    var escaped = false
    func finished() -> (name: String, value: String?)? {
      name.isEmpty && value == nil ? nil : (String(name), value.map { String($0) })
    }
    // By scalars: a combining mark after a comma must not hide the comma.
    for character in text.unicodeScalars {
      if escaped || (quoted && character != "\"") {
        if value != nil { value?.append(character) } else { name.append(character) }
        escaped = false
        continue
      }
      switch character {
      case "\\": escaped = true
      case "\"": quoted.toggle()
      case ",":
        if let option = finished() { result.append(option) }
        (name, value) = (.init(), nil)
      case "=" where value == nil: value = .init()
      default:
        if value != nil { value?.append(character) } else { name.append(character) }
      }
    }
    guard !quoted else { throw .malformed(reason: "a double quote is not closed") }
    guard !escaped else { throw .malformed(reason: "ends in a backslash") }
    if let option = finished() { result.append(option) }
    return result
  }
}
