import Glibc
import RegionCore

/// One page of a listing: a walk through the directories in byte order of whole keys.
///
/// In a directory, `a.b` comes before `a/c` though `a` comes before `a.b`: so directories are
/// sorted with their slash. Subtrees that cannot hold a key of the page are not entered.
struct Listing {
  let files: ObjectFiles
  let prefix: String
  /// The last key of the page before; its keys are behind us.
  let after: String?
  let limit: Int
  private var found: [ObjectKey] = []

  init(files: ObjectFiles, prefix: String, after: String?, limit: Int) {
    self.files = files
    self.prefix = prefix
    self.after = after
    self.limit = limit
  }

  /// The page.
  func page() throws(StoreError) -> ListPage {
    guard files.isPresent else {
      throw files.error(.noSuchContainer, "LIST", prefix, "the directory is gone or is no store")
    }
    var walk = self
    try walk.enter("")
    let keys = Array(walk.found.prefix(limit))
    return ListPage(keys: keys, next: walk.found.count > limit ? keys.last?.text : nil)
  }

  /// Walks through the directory at `path` ("" or ending in a slash) until one key more than the
  /// limit is found, which proves that there is a next page.
  private mutating func enter(_ path: String) throws(StoreError) {
    for name in try names(in: path) {
      if found.count > limit { return }
      let full = path + name
      if full.utf8.last == UInt8(ascii: "/") {
        if mayHoldKeys(full) { try enter(full) }
      } else if full.utf8.starts(with: prefix.utf8), isAhead(full), let key = ObjectKey(full) {
        found.append(key)
      }
    }
  }

  /// The names in a directory, those of directories with a slash, in byte order.
  private func names(in path: String) throws(StoreError) -> [String] {
    let found = try files.perform("LIST", prefix) { () throws(CallFailure) -> [DirectoryEntry] in
      do throws(CallFailure) {
        return try entries(of: "\(files.root)/\(path)")
      } catch  where error.code == ENOENT && !path.isEmpty {
        return []  // Removed since its parent was read.
      }
    }
    return found.filter { !(path.isEmpty && $0.name.hasPrefix(".")) }
      .map { $0.isDirectory ? $0.name + "/" : $0.name }
      .sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }

  private func isAhead(_ key: String) -> Bool {
    after.map { $0.utf8.lexicographicallyPrecedes(key.utf8) } ?? true
  }

  /// Whether a key that begins with `directory` can have the prefix and lie ahead.
  private func mayHoldKeys(_ directory: String) -> Bool {
    let matches =
      directory.utf8.starts(with: prefix.utf8) || prefix.utf8.starts(with: directory.utf8)
    let lies = after.map { $0.utf8.starts(with: directory.utf8) || isAhead(directory) } ?? true
    return matches && lies
  }
}
