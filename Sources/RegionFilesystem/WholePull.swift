import Locks
import RegionCore

/// `pull=full`: how far the pull of everything is.
public struct WholePull: Sendable {
  /// Files in all, as far as their groups are known by now.
  public private(set) var files = 0
  /// Files that are not here yet.
  public private(set) var filesLeft = 0
  /// What could not be pulled first, and why, a line each.
  public private(set) var problems: [String] = []
  /// How much else could not.
  public private(set) var moreProblems = 0
  private var left: [UInt64] = []

  /// A pull of which nothing is known yet.
  public init() {}

  /// Bytes that are still to come; of files that were not looked at yet, all.
  public var bytesLeft: UInt64 { left.reduce(0, &+) }

  fileprivate mutating func begin(_ sizes: [UInt64]) {
    (files, filesLeft, left) = (sizes.count, sizes.count, sizes)
  }

  fileprivate mutating func note(_ bytes: UInt64, of file: Int) { left[file] = bytes }

  fileprivate mutating func end(_ file: Int, _ problem: String?) {
    left[file] = 0
    filesLeft -= 1
    if let problem { miss(problem) }
  }

  fileprivate mutating func miss(_ problem: String) {
    if problems.count < 10 { problems.append(problem) } else { moreProblems += 1 }
  }
}

extension RegionFilesystem {
  /// Names or files that are asked for at a time.
  private static let pullWidth = 16

  /// Pulls every file of every group in the store, and returns when all that can be had is here.
  ///
  /// - Parameters:
  ///   - state: kept true while it goes on, for others to look at.
  ///   - isWanted: false ends it soon.
  public func pullEverything(
    _ state: Lock<WholePull>, while isWanted: @escaping @Sendable () -> Bool
  ) async {
    let files = await allFiles(state)
    state.withLock { $0.begin(files.map(\.size)) }
    _ = await mapConcurrently(Array(files.enumerated()), width: Self.pullWidth) { at, file in
      guard isWanted() else { return }
      var problem: String?
      do throws(Group.Unpulled) {
        try await file.group.pullWhole(file.id, reason: "pull=full") { left in
          state.withLock { $0.note(left, of: at) }
          return isWanted()
        }
      } catch {
        problem = "\(self.path(of: file.id, in: file.group)): \(error.reason)"
      }
      state.withLock { $0.end(at, problem) }
    }
  }

  private typealias StoredFile = (group: Group, id: FileID, size: UInt64)

  private func allFiles(_ state: Lock<WholePull>) async -> [StoredFile] {
    let names: [FileName]
    do throws(RegionError) {
      names = try await topNames()
    } catch {
      state.withLock { $0.miss("the list of names: \(error)") }
      return []
    }
    let found = await mapConcurrently(names, width: Self.pullWidth) { name -> [StoredFile] in
      do throws(RegionError) {
        let group = try await self.find(name).group
        return group.files.map { (group, $0.id, $0.size) }
      } catch {
        if error != .notFound { state.withLock { $0.miss("\(name): \(error)") } }
        return []
      }
    }
    return found.flatMap { $0 }
  }

  private func path(of file: FileID, in group: Group) -> String {
    let names = [groups.name(of: group)].compactMap { $0 } + (group.path(of: file) ?? [])
    return names.map(\.description).joined(separator: "/")
  }
}
