import CLinux
import FuseKit
import Glibc
import Locks
import RegionCore

/// Makes the kernel forget what other writers' commits made old, file by file, on two threads that no
/// request depends on.
///
/// Forgetting pages waits, unkillably, for the READs of these pages. So it is asked for in small
/// ranges, after the region has switched to the new bytes, and not while READs of the range are parked
/// that only a store that is away could answer. A file that was resized is then touched, so that the
/// kernel learns its size: until then a mapping is refused what lies behind the old end. That waits for
/// an answer of this daemon and so happens on a thread with descriptors of its own (`KernelCache`).
final class Invalidator: Sendable {
  /// Old pages of one adoption, and who waits until they are forgotten.
  private struct Job {
    var group: Group
    var pages: [StalePages]
    var done: @Sendable () -> Void
  }

  private struct State {
    var jobs: [Job] = []
    var touches: [[FileName]] = []
    var isStopped = false
    var isStarted = false
  }

  /// The longest range of one call.
  private static let rangeLimit: UInt64 = 4 << 20
  /// How long READs that are parked in a range are waited for while the store answers.
  private static let patience = Duration.milliseconds(250)

  private let filesystem: RegionFilesystem
  private let mountpoint: String
  private let state = Lock(State())
  private let hasJobs = Semaphore()
  private let hasTouches = Semaphore()

  init(filesystem: RegionFilesystem, mountpoint: String) {
    self.filesystem = filesystem
    self.mountpoint = mountpoint
  }

  /// Starts the threads; from now on the engine's wishes are carried out.
  func start(_ session: FuseSession) {
    state.withLock { $0.isStarted = true }
    startThread { [self] in
      while let job = nextJob() {
        for pages in job.pages { forget(pages, of: job.group, session) }
        job.done()
      }
    }
    startThread { [self] in
      if let problem = KernelCache.leaveDescriptors() { log(.warning, problem) }
      while let path = nextTouch() { touch(path) }
    }
    filesystem.engine.forgetPages.withLock {
      $0 = { [weak self] group, pages in
        await withCheckedContinuation { continuation in
          guard let self else { return continuation.resume() }
          self.add(Job(group: group, pages: pages) { continuation.resume() })
        }
      }
    }
  }

  private func add(_ job: Job) {
    let isTaken = state.withLock { state -> Bool in
      guard !state.isStopped, state.isStarted else { return false }
      state.jobs.append(job)
      return true
    }
    if isTaken { hasJobs.signal() } else { job.done() }
  }

  /// Ends it soon; who waits is let go. What is under way ends when its READs are answered.
  func stop() {
    let left = state.withLock { state in
      state.isStopped = true
      defer { state.jobs = [] }
      return state.jobs
    }
    for job in left { job.done() }
    hasJobs.signal()
    hasTouches.signal()
  }

  private var isStopped: Bool { state.withLock { $0.isStopped } }

  private func nextJob() -> Job? {
    while true {
      hasJobs.wait()
      let (job, isOver) = state.withLock { state in
        (state.jobs.isEmpty ? nil : state.jobs.removeFirst(), state.isStopped)
      }
      if isOver {
        job?.done()
        return nil
      }
      if let job { return job }
    }
  }

  private func nextTouch() -> [FileName]? {
    while true {
      hasTouches.wait()
      let (path, isOver) = state.withLock { state in
        (state.touches.isEmpty ? nil : state.touches.removeFirst(), state.isStopped)
      }
      if isOver { return nil }
      if let path { return path }
    }
  }

  // MARK: Forgetting

  private func forget(_ pages: StalePages, of group: Group, _ session: FuseSession) {
    let node = filesystem.nodeID(group, pages.file)
    if pages.isWhole { return invalidate(session, node, 0, 0) }
    // The size first: a page that is read anew is read as far as the file goes now.
    if pages.isResized {
      invalidate(session, node, -1, 0)
      if let path = pages.path, let top = filesystem.groups.name(of: group) {
        state.withLock { $0.touches.append([top] + path) }
        hasTouches.signal()
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
      log(.error, "the kernel may show old pages of node \(node): \(error)")
    }
  }

  // MARK: Touching

  /// Has the kernel ask for the size of a file until it has taken the answer.
  ///
  /// It drops an answer that crossed with a call to forget pages of the same file, and these come right
  /// behind the touch that they are the reason of.
  private func touch(_ path: [FileName]) {
    let bytes =
      Array(mountpoint.utf8) + path.flatMap { [UInt8(ascii: "/")] + $0.bytes } + [0]
    unsafe bytes.withUnsafeBufferPointer { bytes in
      // SAFETY: NUL-terminated, used during the calls only.
      guard let start = bytes.baseAddress else { return }
      unsafe UnsafeRawPointer(start).withMemoryRebound(to: CChar.self, capacity: bytes.count) {
        while !isStopped {
          let answered = unsafe linux_size_of_path($0, 1)
          // A file that is gone needs no size.
          if answered < 0 { return }
          if unsafe linux_size_of_path($0, 0) == answered { return }
          usleep(2000)
        }
      }
    }
  }

  private func log(_ level: EventLevel, _ text: String) {
    filesystem.engine.executor.spawn { [self] in filesystem.engine.log(level, text) }
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
