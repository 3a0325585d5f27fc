import RegionOptions

/// The generated parts of a page, each as lines of mdoc(7).
enum Sections {
  /// `.Nm`, the words of the command and its arguments, for each command.
  static func synopsis(_ root: HelpDump.Command) -> [String] {
    let leaves = root.leaves.isEmpty ? [("", root)] : root.leaves
    var lines: [String] = []
    for (words, command) in leaves {
      lines.append(".Nm")
      if !words.isEmpty { lines.append(".Cm \(words)") }
      let arguments = command.ownArguments
      lines += arguments.filter { $0.kind != .positional }.map { ".Op " + usage(of: $0) }
      lines += arguments.filter { $0.kind == .positional }.map(positional)
    }
    return lines + [".Nm", ".Fl -version"]
  }

  /// A subsection for each command.
  static func commands(_ root: HelpDump.Command) -> [String] {
    root.leaves.flatMap { (words, command) -> [String] in
      let text = HelpText(command.discussion)
      let placeholders = placeholders(command)
      var lines = [".Ss \(words)"] + Mdoc.prose(command.abstract ?? "")
      if let aliases = command.aliases, !aliases.isEmpty {
        lines.append("Also called \(aliases.joined(separator: ", ")).")
      }
      for paragraph in text.paragraphs {
        lines += [".Pp"] + Mdoc.prose(paragraph, placeholders: placeholders)
      }
      lines += arguments(command)
      lines += [".Pp", "Exit codes:"] + exits(text)
      lines += [".Pp", "Examples:"] + examples(text)
      return lines
    }
  }

  /// What a command takes, as a list.
  static func arguments(_ command: HelpDump.Command) -> [String] {
    let arguments = command.ownArguments
    guard !arguments.isEmpty else { return [] }
    let placeholders = placeholders(command)
    let positionals = arguments.filter { $0.kind == .positional }
    var lines = [".Bl -tag -width Ds"]
    for argument in positionals + arguments.filter({ $0.kind != .positional }) {
      lines.append(".It " + term(argument))
      lines += Mdoc.prose(description(argument), placeholders: placeholders)
    }
    return lines + [".El"]
  }

  static func exits(_ text: HelpText) -> [String] {
    var lines = [".Bl -tag -width Ds -compact"]
    for (code, meaning) in text.exitCodes {
      lines.append(".It \(code)")
      lines += Mdoc.prose(sentence(meaning))
    }
    return lines + [".El"]
  }

  static func examples(_ text: HelpText) -> [String] {
    [".Bd -literal -offset indent -compact"] + text.examples.map(Mdoc.literal) + [".Ed"]
  }

  /// Every option of `regionfs mount -o`.
  static func options() -> [String] {
    OptionTable.all.flatMap { option in
      var text = sentence(option.help)
      if let details = option.details { text += " \(details)" }
      if let value = option.defaultText { text += " The default is \(value)." }
      return [".It Cm \(option.name)" + value(of: option)] + Mdoc.prose(text)
    }
  }

  private static func value(of option: OptionSpecification) -> String {
    guard let value = option.value else { return "" }
    let words = value.split(separator: "|")
    let isChoice = words.count > 1 && words.allSatisfy { $0.allSatisfy { $0.isLowercase } }
    return " Ns = Ns "
      + (isChoice ? "Cm " + words.joined(separator: " | ") : "Ar \(Mdoc.argument(value))")
  }

  /// The words that stand for values in a command's text.
  private static func placeholders(_ command: HelpDump.Command) -> Set<String> {
    Set(command.ownArguments.compactMap { $0.valueName?.uppercased() })
  }

  private static func usage(of argument: HelpDump.Argument) -> String {
    let names = argument.names ?? []
    let name = names.first { $0.kind == .short } ?? names.first
    let flag = "Fl \(name?.flag ?? "")"
    return argument.kind == .flag ? flag : "\(flag) Ar \(argument.valueName ?? "value")"
  }

  private static func positional(_ argument: HelpDump.Argument) -> String {
    let name = "Ar \(argument.valueName ?? "")" + (argument.isRepeating ? " ..." : "")
    return argument.isOptional ? ".Op \(name)" : ".\(name)"
  }

  private static func term(_ argument: HelpDump.Argument) -> String {
    guard argument.kind != .positional else { return "Ar \(argument.valueName ?? "")" }
    let names = (argument.names ?? []).map { "Fl \($0.flag)" }.joined(separator: " , ")
    return argument.kind == .flag ? names : "\(names) Ar \(argument.valueName ?? "value")"
  }

  private static func description(_ argument: HelpDump.Argument) -> String {
    var text = sentence(argument.abstract ?? "")
    if let discussion = argument.discussion {
      text += " " + discussion.split(separator: "\n").joined(separator: " ")
    }
    if argument.isRepeating, argument.kind != .positional, !text.contains("several times") {
      text += " May be given several times."
    }
    if let values = argument.allValues { text += " One of \(values.joined(separator: ", "))." }
    if let value = argument.defaultValue { text += " The default is \(value)." }
    return text
  }

  /// Help is often half a sentence.
  private static func sentence(_ text: String) -> String {
    let whole = text.prefix(1).uppercased() + text.dropFirst()
    return whole.hasSuffix(".") ? whole : whole + "."
  }
}
