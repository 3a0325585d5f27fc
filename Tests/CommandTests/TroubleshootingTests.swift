import Foundation
import RegionTesting
import Testing

/// docs/TROUBLESHOOTING.md names messages; each has to be in the sources as it stands there, and each
/// message of the sources has to be explained there.
@Suite struct TroubleshootingTests {
  /// All sources of what users run, with the pieces of texts that are joined by `+` put together.
  private static let sources: [String] = {
    let paths = (try? Files.list(below: root + "/Sources")) ?? []
    let others = ["/RegionTesting/", "/regionfs-impair/", "/regionfs-synthesize/"]
    return paths.filter { path in
      path.hasSuffix(".swift") && !others.contains { path.contains($0) }
    }.compactMap { path in
      let text = try? String(decoding: Files.read(path), as: Unicode.UTF8.self)
      return text?.split(separator: "\n", omittingEmptySubsequences: false)
        .filter { !$0.drop { $0 == " " }.hasPrefix("//") }.joined(separator: "\n")
        .replacing(#/"\s*\+ "/#, with: "")
    }
  }()

  /// The messages: code spans of headings.
  private static let messages: [String] = {
    let text = (try? Files.read(root + "/docs/TROUBLESHOOTING.md")) ?? []
    let headings = String(decoding: text, as: Unicode.UTF8.self).split(separator: "\n")
      .filter { $0.hasPrefix("### ") }
    return headings.flatMap { $0.matches(of: #/`([^`]+)`/#).map { String($0.1) } }
  }()

  /// What is the same each time that a message is seen.
  private static func fixed(_ message: String) -> [String] {
    message.split(separator: "…").map { $0.trimmingCharacters(in: .whitespaces) }
      .filter { $0.count >= 3 }
  }

  @Test func thereAreMessages() {
    #expect(Self.messages.count > 140)
    #expect(Self.sources.count > 100)
    #expect(Self.literals.count > 100)
  }

  @Test(arguments: messages)
  func eachMessageIsInTheSources(message: String) {
    let parts = Self.fixed(message)
    #expect(!parts.isEmpty)
    for part in parts {
      // Not inside #expect, which would print them all.
      let isThere = Self.sources.contains { $0.contains(part) }
      #expect(isThere, "\(part)")
    }
  }

  /// Messages that only a wrong program can cause, or that say all themselves.
  private static let unexplained: Set<String> = [
    "given up", "a line of … bytes is too long", "cannot encode: …", "'…' cannot name a socket",
    "pull needs a path and a range that does not end too early", "takeover needs a path",
    "trace needs a path and an action",
    "setLog needs a level", "cannot encode the reports: …", "cannot encode the answer: …",
    // The lines about one thread, after the one that is explained.
    "watchdog: …",
    // Before the command makes it.
    "… does not exist",
  ]

  /// What errors and log lines say, with `…` for what differs: the texts in these calls.
  private static let literals: Set<String> = {
    let calls =
      #/(?:\.log\(\s*\.(?:warning|error),|StackError\(|CommandError\(|ControlError\(\s*\.\w+,|\bfail\()\s*"/#
    var found = Set<String>()
    for text in sources {
      for call in text.matches(of: calls) {
        var rest = text[call.range.upperBound...]
        let literal = literal(&rest)
        // Wrong usage says what is right.
        if rest.prefix(40).contains(#/^\s*,\s*code: ExitStatus\.usage/#) { continue }
        if fixed(literal).joined().count >= 6 { found.insert(literal) }
      }
    }
    return found
  }()

  /// The text up to the closing quote.
  private static func literal(_ rest: inout Substring) -> String {
    var text = ""
    while let character = rest.popFirst(), character != "\"" {
      guard character == "\\", let escaped = rest.popFirst() else {
        text.append(character)
        continue
      }
      if escaped == "(" {
        text.append("…")
        skipInterpolation(&rest)
      } else {
        text.append(escaped)
      }
    }
    return text
  }

  private static func skipInterpolation(_ rest: inout Substring) {
    var depth = 1
    while depth > 0, let character = rest.popFirst() {
      switch character {
      case "(": depth += 1
      case ")": depth -= 1
      case "\"": _ = literal(&rest)
      default: break
      }
    }
  }

  @Test func eachMessageOfTheSourcesIsExplained() {
    let explained = Self.messages.map(Self.fixed).filter { $0.joined().count >= 8 }
    for literal in Self.literals.subtracting(Self.unexplained).sorted() {
      let isExplained = explained.contains { parts in parts.allSatisfy(literal.contains) }
      #expect(isExplained, "docs/TROUBLESHOOTING.md says nothing of: \(literal)")
    }
    #expect(Self.literals.isSuperset(of: Self.unexplained))
  }

  /// What the store's advice says must be explained.
  @Test func everyAdviceOfAStoreIsExplained() throws {
    let source = String(
      decoding: try Files.read(root + "/Sources/regionfs/StoreFactory.swift"), as: Unicode.UTF8.self
    )
    let advice = try #require(
      source.split(separator: "enum StoreAdvice").last?
        .split(separator: "default: nil").first)
    let remedies = advice.matches(of: #/(?::|^)\s*"([A-Z][^"]{12,})"/#).map { String($0.1) }
    #expect(remedies.count >= 4)
    for remedy in remedies where remedy != "Check the disk and the permissions" {
      #expect(Self.messages.contains { $0.contains(remedy) }, "\(remedy)")
    }
  }
}
