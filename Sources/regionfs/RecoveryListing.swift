import FoundationEssentials
import RegionControl
import RegionCore

/// What `regionfs recover` shows.
struct RecoveryListing: Encodable {
  /// The version of this form.
  let version = 1
  private var setAside: [Aside] = []
  private var pending: [Pending] = []

  /// Changes that lost their group.
  private struct Aside: Encodable {
    var cacheDirectory: String
    var name: String?
    var groupID: String
    var log: String
    var changes: Int
    var bytes: UInt64
    var sinceUnixSeconds: Double
    var epoch: UInt64
    var commit: UInt64
    var reason: String
    var path: String
  }

  /// Changes that the next mount commits, or sets aside.
  private struct Pending: Encodable {
    var cacheDirectory: String
    var name: String?
    var groupID: String
    var logBytes: UInt64
  }

  /// Adds what one cache directory holds; one that does not exist holds nothing.
  mutating func add(_ directory: String) throws(LocalError) {
    guard try SetAsideLog.isCacheDirectory(directory) else { return }
    setAside += try SetAsideLog.all(in: directory).map { aside in
      Aside(
        cacheDirectory: directory, name: aside.name.map { "\($0)" }, groupID: "\(aside.group)",
        log: "\(aside.log)", changes: aside.records, bytes: aside.bytes,
        sinceUnixSeconds: aside.since.unixSeconds, epoch: aside.epoch, commit: aside.base.number,
        reason: aside.reason, path: aside.path)
    }
    pending += try SetAsideLog.pending(in: directory).map { pending in
      Pending(
        cacheDirectory: directory, name: pending.name.map { "\($0)" },
        groupID: "\(pending.group)", logBytes: pending.bytes)
    }
  }

  /// For people.
  var text: String {
    var lines: [String] = []
    for aside in setAside {
      let name = HumanText.printable(aside.name ?? "group \(aside.groupID)")
      let age = HumanText.seconds(max(0, HumanText.nowUnixSeconds - aside.sinceUnixSeconds))
      lines += [
        "\(name): \(aside.changes) changes (\(HumanText.bytes(aside.bytes))) set aside \(age) ago",
        "  why    \(HumanText.printable(aside.reason)); they follow commit \(aside.commit)",
        "  log    \(aside.log)",
        "  cache  \(HumanText.printable(aside.cacheDirectory))",
      ]
    }
    for pending in pending {
      let name = HumanText.printable(pending.name ?? "group \(pending.groupID)")
      lines.append(
        "\(name): a log of \(HumanText.bytes(pending.logBytes)) that its daemon or the next mount of "
          + "\(HumanText.printable(pending.cacheDirectory)) deals with")
    }
    return lines.isEmpty ? "Nothing is set aside.\n" : lines.joined(separator: "\n") + "\n"
  }

  func json() throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
    return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
  }
}
