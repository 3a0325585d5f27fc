import Foundation
import RegionTesting
import Testing

/// docs/TROUBLESHOOTING.md names messages; each has to be in the sources as it stands there.
@Suite struct TroubleshootingTests {
  /// All sources, with the pieces of texts that are joined by `+` put together.
  private static let sources: String = {
    let paths = (try? Files.list(below: root + "/Sources")) ?? []
    let texts = paths.filter { $0.hasSuffix(".swift") }.compactMap {
      try? String(decoding: Files.read($0), as: Unicode.UTF8.self)
    }
    return texts.joined(separator: "\n").replacing(#/"\s*\+ "/#, with: "")
  }()

  /// The messages: code spans of headings.
  private static let messages: [String] = {
    let text = (try? Files.read(root + "/docs/TROUBLESHOOTING.md")) ?? []
    let headings = String(decoding: text, as: Unicode.UTF8.self).split(separator: "\n")
      .filter { $0.hasPrefix("### ") }
    return headings.flatMap { $0.matches(of: #/`([^`]+)`/#).map { String($0.1) } }
  }()

  @Test func thereAreMessages() {
    #expect(Self.messages.count > 40)
    #expect(Self.sources.utf8.count > 100_000)
  }

  @Test(arguments: messages)
  func eachMessageIsInTheSources(message: String) {
    let fixed = message.split(separator: "…").map { $0.trimmingCharacters(in: .whitespaces) }
      .filter { $0.count >= 3 }
    #expect(!fixed.isEmpty)
    for part in fixed {
      let isThere = Self.sources.contains(part)  // Not inside #expect, which would print them all.
      #expect(isThere, "\(part)")
    }
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
