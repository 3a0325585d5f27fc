import FoundationEssentials
import Glibc
import RegionControl

/// Standard output.
enum Output {
  /// What `--json` prints: the version of its form, and the reports.
  struct Document: Encodable {
    let version = 1
    let mounts: [StatusReport]
  }

  /// Writes text at once; whoever reads a pipe sees every round of `--watch`.
  static func print(_ text: String) {
    ProgressDisplay.write(text, to: STDOUT_FILENO)
  }

  /// Writes one JSON document with sorted keys.
  ///
  /// - Throws: `ControlError` if it cannot be encoded.
  static func printJSON(_ reports: [StatusReport], pretty: Bool) throws(ControlError) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
    // JSON has no infinity; a number that is none is left to the reader as a word.
    encoder.nonConformingFloatEncodingStrategy = .convertToString(
      positiveInfinity: "inf", negativeInfinity: "-inf", nan: "nan")
    do {
      let data = try encoder.encode(Document(mounts: reports))
      print(String(decoding: data, as: UTF8.self) + "\n")
    } catch {
      throw ControlError(.malformed, "cannot encode the reports: \(error)")
    }
  }
}
