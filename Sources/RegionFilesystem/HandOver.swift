import CLinux
import Glibc
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

  private let filesystem: RegionFilesystem
  private let mount: OwnMount
  private let jobs = JobQueue<Job>()

  init(filesystem: RegionFilesystem, mount: OwnMount) {
    self.filesystem = filesystem
    self.mount = mount
  }

  /// Starts the thread; from now on `RegionFilesystem.handOver` is carried out.
  func start() {
    OwnMount.startThread(of: filesystem) { [self] in
      while let job = jobs.next() {
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
        let isTaken = self?.jobs.add(Job(path: path, done: done)) ?? false
        if !isTaken { done() }
      }
    }
  }

  /// Ends it soon; who waits is let go.
  func stop() { for job in jobs.stop() { job.done() } }
}
