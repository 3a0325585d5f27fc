import Glibc
import RegionCore

/// What an interrupted copy of one file into a store leaves on this host, so that the same command
/// goes on where it was: `$XDG_STATE_HOME/regionfs/cp/…`.
struct CopyState {
  /// The group that is being filled; nil before it is made.
  var group: GroupID?
  /// Who made it.
  var writer: WriterID
  /// What the source looked like.
  var source: String

  /// Holds the lock while a copy runs.
  private let file: LocalFile
  private let path: String

  /// Opens the state of a copy, an empty one if there is none or the source has changed.
  ///
  /// - Throws: `CommandError`, also where another process makes the same copy.
  init(target: String, sourcePath: String, source: String) throws(CommandError) {
    let key = CRC32C.checksum(Array("\(sourcePath)\0\(target)".utf8))
    let directory = Self.directory
    path = directory + "/" + String(key, radix: 16)
    self.source = source
    do throws(LocalError) {
      try LocalDirectory.create(directory)
      file = try LocalFile(path: path, flags: O_RDWR | O_CREAT)
      guard flock(file.descriptor, LOCK_EX | LOCK_NB) == 0 else {
        throw LocalError("flock", path: path, code: errno)
      }
      let text = try LocalDirectory.contents(of: path, limit: 65_536) ?? []
      let lines = String(decoding: text, as: UTF8.self).split(
        separator: "\n", omittingEmptySubsequences: false
      ).map(String.init)
      let isSame =
        lines.count >= 5 && lines[0] == Self.heading && lines[1] == target && lines[2] == source
      group = isSame ? GroupID(lines[3]) : nil
      writer = (isSame ? WriterID(lines[4]) : nil) ?? .random()
    } catch {
      if error.code == EWOULDBLOCK {
        throw CommandError("another regionfs cp makes the same copy; wait for it, or end it")
      }
      throw CommandError(error)
    }
    self.target = target
  }

  private let target: String
  private static let heading = "regionfs-cp 1"

  private static var directory: String {
    let environment = ProcessEnvironment.variables
    if let state = environment["XDG_STATE_HOME"], state.hasPrefix("/") {
      return state + "/regionfs/cp"
    }
    if let home = environment["HOME"], home.hasPrefix("/") {
      return home + "/.local/state/regionfs/cp"
    }
    return "/tmp/regionfs-state-\(getuid())/cp"
  }

  /// Notes which group is being filled.
  func note(_ group: GroupID) throws(CommandError) {
    let text = [Self.heading, target, source, "\(group)", "\(writer)", ""].joined(separator: "\n")
    do throws(LocalError) {
      try file.truncate(to: 0)
      try file.write(Array(text.utf8), at: 0)
      try file.sync()
    } catch {
      throw CommandError(error)
    }
  }

  /// The copy is made.
  func remove() throws(CommandError) {
    do throws(LocalError) { try LocalDirectory.removeFile(path) } catch {
      throw CommandError(error)
    }
  }
}
