import ArgumentParser
import RegionConfig
import RegionOptions

/// What a shell can complete that only this program knows.
enum WordCompletion {
  /// Names of `-o`, with the `=` of those that take a value.
  static let options = CompletionKind.list(OptionTable.all.map(word))

  /// Stores that have names, and the beginnings of addresses.
  static let stores = CompletionKind.custom { _, _, _ in
    let named: [String]
    do throws(ConfigProblem) {
      named = try Configuration.current(.current).names
    } catch {
      // Nobody can be told in the middle of a line; `regionfs config check` tells.
      named = []
    }
    return named + ["s3://", "file:///", "memory:"]
  }

  private static func word(_ option: OptionSpecification) -> String {
    option.value == nil ? option.name : "\(option.name)="
  }
}
