import ArgumentParser
import CLinux
import Glibc
import RegionControl
import RegionCore
import RegionOptions

/// `regionfs pin FILE`.
struct PinCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "pin",
    abstract: "Keep what is cached of a file, whatever cache_size says.",
    discussion: """
      FILE is on a regionfs mount. What of it is here stays, and what is read or pulled later stays \
      then, until it is unpinned; it holds for this cache, from mount to mount. Ranges are in bytes \
      with the end not included, and grow to whole chunks; one end may be left out. Prints what is \
      pinned then; the same is in the extended attribute user.regionfs.pinned, which can also be set.

      Examples:
        regionfs pin /mnt/regions/model.bin
        regionfs pin --range 0:64m --range 10g: /mnt/regions/db/main.sqlite
        regionfs pin --unpin /mnt/regions/model.bin
        regionfs pin --list /mnt/regions/model.bin

      Exit codes:
        0   success
        1   wrong usage
        32  failed
      """)

  @Argument(help: "A file on a regionfs mount.", completion: .file())
  var file: String

  @Option(
    name: .long,
    help: ArgumentHelp("Only these bytes; may be given several times.", valueName: "first:end"))
  var range: [String] = []

  @Flag(name: .long, help: "They need not stay any more.")
  var unpin = false

  @Flag(name: .long, help: "Only print what is pinned.")
  var list = false

  @Flag(name: .long, help: "Print what is pinned as JSON.")
  var json = false

  private struct Answer: Encodable {
    struct Part: Encodable {
      var firstByte: UInt64
      /// Not included; nil: to the end of the file, however long it grows.
      var endByte: UInt64?
    }

    var version = 1
    var file: String
    var pinned: [Part]
  }

  private static let attribute = "user.regionfs.pinned"

  func validate() throws {
    for text in range where Self.range(text) == nil {
      throw ValidationError("--range \(text): not FIRST:END in bytes, such as 0:64m")
    }
    if list, unpin || !range.isEmpty { throw ValidationError("--list changes nothing") }
  }

  func run() throws {
    var pinned = try current()
    if !list {
      let ranges = range.isEmpty ? [PinText.everything] : range.compactMap(Self.range)
      for range in ranges {
        if unpin { pinned.remove(contentsOf: range) } else { pinned.insert(contentsOf: range) }
      }
      try set(pinned)
    }
    guard json else { return CommandOutput.print(PinText.text(Array(pinned.ranges)) + "\n") }
    let last = PinText.everything.upperBound
    let parts = pinned.ranges.map {
      Answer.Part(firstByte: $0.lowerBound, endByte: $0.upperBound == last ? nil : $0.upperBound)
    }
    try CommandOutput.printJSON(Answer(file: file, pinned: parts))
  }

  private static func range(_ text: String) -> Range<UInt64>? {
    guard let bounds = Quantities.bounds(text) else { return nil }
    let (first, end) = (bounds.first ?? 0, bounds.end ?? PinText.everything.upperBound)
    guard first < end, end <= PinText.everything.upperBound else { return nil }
    return first..<end
  }

  private func current() throws -> RangeSet<UInt64> {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    // SAFETY: the buffer and its length belong together.
    let count = unsafe buffer.withUnsafeMutableBytes {
      unsafe getxattr(file, Self.attribute, $0.baseAddress, $0.count)
    }
    if count < 0, errno == ENODATA { return RangeSet() }
    guard count >= 0 else { throw failed("cannot read what is pinned of") }
    let text = String(decoding: buffer[..<count], as: UTF8.self)
    return RangeSet(PinText.ranges(text) ?? [])
  }

  private func set(_ pinned: RangeSet<UInt64>) throws {
    let text = Array(PinText.text(Array(pinned.ranges)).utf8)
    // SAFETY: read during the call only.
    let result = unsafe text.withUnsafeBytes {
      unsafe setxattr(file, Self.attribute, $0.baseAddress, $0.count, 0)
    }
    guard result == 0 else { throw failed("cannot pin") }
  }

  private func failed(_ what: String) -> ExitCode {
    let reason =
      errno == EOPNOTSUPP ? "it is not on a regionfs mount" : errnoText(errno)
    return fail("\(what) \(HumanText.printable(file)): \(reason)", code: ExitStatus.failure)
  }
}
