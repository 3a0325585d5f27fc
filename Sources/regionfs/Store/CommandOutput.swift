import ArgumentParser
import FoundationEssentials
import Glibc
import RegionControl
import RegionCore

/// Standard output of the commands.
enum CommandOutput {
  /// Writes text to standard output.
  static func print(_ text: String) { ProgressDisplay.write(text, to: STDOUT_FILENO) }

  /// Writes one JSON document with sorted keys.
  ///
  /// - Throws: `ExitCode` after one line on stderr.
  static func printJSON(_ value: some Encodable) throws(ExitCode) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
    do {
      print(String(decoding: try encoder.encode(value), as: UTF8.self) + "\n")
    } catch {
      throw fail("cannot encode the answer: \(error)", code: ExitStatus.system)
    }
  }

  /// Columns of text; quantities to the right.
  static func table(_ rows: [[String]], right: Set<Int>) -> String {
    let columns = rows.first?.count ?? 0
    let widths = (0..<columns).map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      let cells = row.enumerated().map { column, cell in
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        if right.contains(column) { return padding + cell }
        return column == columns - 1 ? cell : cell + padding
      }
      return cells.joined(separator: "  ") + "\n"
    }.joined()
  }
}

/// Who may write a group, for JSON and for people.
struct ClaimText: Codable, Sendable {
  /// Held by a writer.
  var held: Bool
  /// Its words about itself; nil where nobody holds it.
  var holder: String?

  init(_ root: Root) {
    held = root.claim != .free
    holder = held ? root.holder : nil
  }
}

extension InodeKind {
  /// For JSON and for people.
  var word: String {
    switch self {
    case .file: "file"
    case .directory: "directory"
    case .symlink: "symlink"
    }
  }
}

/// JSON has no NaN and times are seconds everywhere.
extension Timestamp {
  /// How long ago it was, in words.
  var age: String {
    let now = SystemClock().wall
    return HumanText.seconds(max(0, now.unixSeconds - unixSeconds))
  }
}
