import CLinux
import Glibc
import Locks
import RegionCore

/// Has the kernel hand over the dirty pages of one file, and says when they are here: who looks for data
/// in a file would else pass over what was stored into a mapping a moment ago.
///
/// On a thread of its own: the kernel holds the file's lock while SEEK_DATA waits for its answer, and
/// closing a file, as the other threads do, waits for that lock. So the answer comes before the close.
final class HandOver: Sendable {
  private struct Job {
    var path: [FileName]
    var done: @Sendable () -> Void
  }

  private struct State {
    var jobs: [Job] = []
    var isStopped = false
  }

  private let filesystem: RegionFilesystem
  private let mount: OwnMount
  private let state = Lock(State())
  private let hasJobs = Semaphore()

  init(filesystem: RegionFilesystem, mount: OwnMount) {
    self.filesystem = filesystem
    self.mount = mount
  }

  /// Starts the thread; from now on `RegionFilesystem.handOver` is carried out.
  func start() {
    startThread { [self] in
      if let problem = KernelCache.leaveDescriptors() {
        filesystem.engine.executor.spawn { [self] in filesystem.engine.log(.warning, problem) }
      }
      while let job = next() {
        let isOpened = mount.withFile(job.path) { descriptor in
          // SYNC_FILE_RANGE_WAIT_BEFORE, WRITE and WAIT_AFTER. What cannot be written is an error of
          // the fsync that follows, not of this search.
          _ = linux_sync_file_range(descriptor, 0, 0, 7)
          job.done()
        }
        if !isOpened { job.done() }
      }
    }
    filesystem.handOver.withLock {
      $0 = { [weak self] path, done in
        guard let self else { return done() }
        self.add(Job(path: path, done: done))
      }
    }
  }

  /// Ends it soon; who waits is let go.
  func stop() {
    let left = state.withLock { state in
      state.isStopped = true
      defer { state.jobs = [] }
      return state.jobs
    }
    for job in left { job.done() }
    hasJobs.signal()
  }

  private func add(_ job: Job) {
    let isTaken = state.withLock { state -> Bool in
      guard !state.isStopped else { return false }
      state.jobs.append(job)
      return true
    }
    if isTaken { hasJobs.signal() } else { job.done() }
  }

  private func next() -> Job? {
    while true {
      hasJobs.wait()
      let (job, isOver) = state.withLock { state in
        (state.jobs.isEmpty ? nil : state.jobs.removeFirst(), state.isStopped)
      }
      if let job { return job }
      if isOver { return nil }
    }
  }
}
