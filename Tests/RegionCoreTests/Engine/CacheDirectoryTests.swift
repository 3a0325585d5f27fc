import Locks
import RegionTesting
import Testing

@testable import RegionCore

/// The identity of a cache directory and its lock.
@Suite struct CacheDirectoryTests {
  private let scratch: Scratch

  init() throws { scratch = try Scratch() }

  @Test func aDirectoryKeepsItsIdentity() throws {
    let path = scratch.file("cache")
    let first = try CacheDirectory(path: path) { _ in }.writer
    #expect(try CacheDirectory(path: path) { _ in }.writer == first)
  }

  @Test func aCopiedDirectoryGetsAnIdentityOfItsOwn() throws {
    let path = scratch.file("cache")
    let first = try CacheDirectory(path: path) { _ in }.writer
    _ = try ChildProcess.run(["cp", "-a", path, scratch.file("copy")])
    let copy = try CacheDirectory(path: scratch.file("copy")) { _ in }.writer
    #expect(copy != first)
    #expect(try CacheDirectory(path: scratch.file("copy")) { _ in }.writer == copy)
    #expect(try CacheDirectory(path: path) { _ in }.writer == first)
  }

  @Test func aDirectoryInUseNamesItsHolder() throws {
    let path = scratch.file("cache")
    let first = try CacheDirectory(path: path) { _ in }
    try first.note(isDraining: false, "host:/mnt")
    #expect {
      _ = try CacheDirectory(path: path) { _ in Issue.record("waited") }
    } throws: {
      "\($0)".contains("in use (host:/mnt)")
    }
    withExtendedLifetime(first) {}
  }

  @Test func aDrainingDaemonIsWaitedFor() async throws {
    let path = scratch.file("cache")
    let holder = Lock<CacheDirectory?>(try CacheDirectory(path: path) { _ in })
    try holder.withLock { try $0?.note(isDraining: true, "host:/mnt") }
    let told = Flag()
    let done = Flag()
    // On a thread of its own: it blocks.
    startThread {
      do {
        _ = try CacheDirectory(path: path) { _ in told.raise() }
        done.raise()
      } catch {
        Issue.record(error)
      }
    }
    try await eventually("it is told") { told.isRaised }
    #expect(!done.isRaised)
    holder.withLock { $0 = nil }
    try await eventually("it is done") { done.isRaised }
  }

  @Test func groupsWithLogsAreFound() throws {
    let directory = try CacheDirectory(path: scratch.file("cache")) { _ in }
    let ids = [GroupID(high: 1, low: 1), GroupID(high: 1, low: 2)]
    for id in ids { _ = try GroupCache(group: id, cacheDirectory: directory.path) }
    let cache = try GroupCache(group: ids[1], cacheDirectory: directory.path)
    _ = try LocalFile(path: cache.logDirectory + "/x", flags: 0o102)
    #expect(try directory.groupsWithLogs() == [ids[1]])
  }
}
