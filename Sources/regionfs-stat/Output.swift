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

  /// Puts a text in the place of a file, in one step: who reads it meanwhile sees all of one or the
  /// other. `-` is standard output.
  ///
  /// - Throws: `ControlError`.
  static func write(_ text: String, to path: String) throws(ControlError) {
    guard path != "-" else { return print(text) }
    let fresh = "\(path).\(getpid())"
    // SAFETY: the calls read the paths only while they run.
    let number = unsafe open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard number >= 0 else { throw .system("open", fresh) }
    ProgressDisplay.write(text, to: number)
    // What did not get to the disk is told here at the latest, and by a file that is too short.
    let isWhole = lseek(number, 0, SEEK_CUR) == text.utf8.count
    guard close(number) == 0, isWhole, unsafe rename(fresh, path) == 0 else {
      let error = ControlError.system("write", path)
      unsafe unlink(fresh)
      throw error
    }
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
