import CLinux
import FuseKit
import Glibc
import RegionCore

/// Makes the kernel forget what other writers' commits made old, file by file, on two threads that no
/// request depends on.
///
/// Forgetting pages waits, unkillably, for the READs of these pages. So it is asked for in small
/// ranges, after the region has switched to the new bytes, and not while READs of the range are parked
/// that only a store that is away could answer. A file that was resized is then touched, so that the
/// kernel learns its size: until then a mapping is refused what lies behind the old end. That waits for
/// an answer of this daemon and so happens on a thread with descriptors of its own (`OwnMount`).
final class Invalidator: Sendable {
  /// Old pages of one adoption, and who waits until they are forgotten.
  private struct Job {
    var group: Group
    var pages: [StalePages]
    var done: @Sendable () -> Void
  }

  /// The longest range of one call.
  private static let rangeLimit: UInt64 = 4 << 20
  /// How long READs that are parked in a range are waited for while the store answers.
  private static let patience = Duration.milliseconds(250)

  private let filesystem: RegionFilesystem
  private let mount: OwnMount
  private let jobs = JobQueue<Job>()
  private let touches = JobQueue<[FileName]>()

  init(filesystem: RegionFilesystem, mount: OwnMount) {
    self.filesystem = filesystem
    self.mount = mount
  }

  /// Starts the threads; from now on the engine's wishes are carried out.
  func start(_ session: FuseSession) {
    startThread { [self] in
      while let job = jobs.next() {
        for pages in job.pages { forget(pages, of: job.group, session) }
        job.done()
      }
    }
    OwnMount.startThread(of: filesystem) { [self] in
      while let path = touches.next() { touch(path) }
    }
    filesystem.engine.forgetPages.withLock {
      $0 = { [weak self] group, pages in
        await withCheckedContinuation { continuation in
          let job = Job(group: group, pages: pages) { continuation.resume() }
          let isTaken = self?.jobs.add(job) ?? false
          if !isTaken { job.done() }
        }
      }
    }
  }

  /// Ends it soon; who waits is let go. What is under way ends when its READs are answered.
  func stop() {
    touches.stop()
    for job in jobs.stop() { job.done() }
  }

  private var isStopped: Bool { jobs.isStopped }

  // MARK: Forgetting

  private func forget(_ pages: StalePages, of group: Group, _ session: FuseSession) {
    let node = filesystem.nodeID(group, pages.file)
    if pages.isWhole { return invalidate(session, node, 0, 0) }
    // The size first: a page that is read anew is read as far as the file goes now.
    if pages.isResized {
      invalidate(session, node, -1, 0)
      if let path = pages.path, let top = filesystem.groups.name(of: group) {
        _ = touches.add([top] + path)
      }
    }
    for range in pages.ranges {
      var start = range.lowerBound
      while start < range.upperBound {
        let end = min(range.upperBound, (start / Self.rangeLimit + 1) * Self.rangeLimit)
        waitForReads(start..<end, pages)
        if isStopped { return }
        invalidate(session, node, Int64(start), Int64(end - start))
        start = end
      }
    }
  }

  private func waitForReads(_ range: Range<UInt64>, _ pages: StalePages) {
    let clock = filesystem.engine.clock
    let begin = clock.now
    while pages.isAwaited(range), !isStopped {
      let isPatient = filesystem.engine.health.isDown || clock.now.since(begin) < Self.patience
      guard isPatient else { return }
      usleep(2000)
    }
  }

  private func invalidate(_ session: FuseSession, _ node: NodeID, _ offset: Int64, _ length: Int64)
  {
    do throws(FuseError) {
      try session.invalidate(node: node, offset: offset, length: length)
    } catch {
      filesystem.logElsewhere(.error, "the kernel may show old pages of node \(node): \(error)")
    }
  }

  // MARK: Touching

  /// Has the kernel ask for the size of a file until it has taken the answer.
  ///
  /// It drops an answer that crossed with a call to forget pages of the same file, and these come right
  /// behind the touch that they are the reason of.
  private func touch(_ path: [FileName]) {
    _ = unsafe mount.withPath(path) { path in
      while !isStopped {
        let answered = unsafe linux_size_of_path(path, 1)
        // A file that is gone needs no size.
        if answered < 0 { return }
        if unsafe linux_size_of_path(path, 0) == answered { return }
        usleep(2000)
      }
    }
  }
}

extension KernelCache {
  /// Starts the threads that make the kernel forget old pages, and the look for new commits.
  public func startFollowing(_ session: FuseSession) {
    invalidator.start(session)
    filesystem.followOthers()
  }
}

extension RegionFilesystem {
  /// Looks for other writers' commits in groups with open files, until the mount ends.
  func followOthers() {
    let interval = engine.settings.followInterval
    guard interval > .zero else { return }
    engine.executor.spawn { [self] in
      while !isOver {
        await engine.clock.sleep(for: interval)
        for group in groups.all { engine.executor.spawn { await group.follow() } }
      }
    }
  }
}
