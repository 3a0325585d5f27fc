import CLinux
import FuseKit
import Glibc
import Locks
import RegionCore

/// The only part that touches the daemon's own mount: a thread that holds no lock, opens files for a
/// moment only, and stops before the session ends.
///
/// It makes the kernel write back dirty mapped pages (`sync_file_range(2)`, which does not wait), so
/// that a mapping that is never msynced is pushed all the same.
public final class KernelCache: Sendable {
  private struct State {
    var isStopped = false
  }

  let filesystem: RegionFilesystem
  private let mount: OwnMount
  private let interval: Duration
  private let state = Lock(State())
  let invalidator: Invalidator
  private let prefill: Prefill
  private let handOver: HandOver

  /// A cache keeper of a mount; `interval` is how long a dirty page may stay unseen.
  public init(
    filesystem: RegionFilesystem, mountpoint: String, device: MountTable.Device, interval: Duration
  ) {
    self.filesystem = filesystem
    mount = OwnMount(mountpoint: mountpoint, device: device)
    self.interval = interval
    prefill = Prefill(filesystem: filesystem, mount: mount)
    handOver = HandOver(filesystem: filesystem, mount: mount)
    invalidator = Invalidator(filesystem: filesystem, mount: mount)
  }

  /// Starts the threads that write back.
  public func start() {
    handOver.start()
    OwnMount.startThread(of: filesystem) { [self] in
      while !isStopped {
        usleep(UInt32(clamping: interval.wholeNanoseconds / 1000))
        if !isStopped { writeBack() }
      }
    }
  }

  /// Starts to bring what is pulled in the background into the kernel's cache.
  public func startPrefill() { prefill.start() }

  /// Ends it soon; it touches nothing any more once it has seen that.
  public func stop() {
    state.withLock { $0.isStopped = true }
    invalidator.stop()
    prefill.stop()
    handOver.stop()
  }

  private var isStopped: Bool { state.withLock { $0.isStopped } }

  /// Hands the dirty pages of all files that are open for writing to the daemon.
  private func writeBack() {
    for (name, top) in filesystem.groups.tops {
      for path in top.group.writableFiles {
        if isStopped { return }
        writeBack([name] + path)
      }
    }
  }

  private func writeBack(_ path: [FileName]) {
    mount.withFile(path) { descriptor in
      let writeOnly: UInt32 = 2  // SYNC_FILE_RANGE_WRITE
      if linux_sync_file_range(descriptor, 0, 0, writeOnly) != 0 {
        filesystem.logElsewhere(.warning, "sync_file_range: \(errnoText(errno))")
      }
    }
  }
}
