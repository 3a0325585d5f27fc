import Dispatch
import Glibc
import Locks
import RegionCore

/// Four threads that do blocking file work for callers that must not block.
///
/// Swift's own pool has as many threads as cores: a caller that waited for fsync on one of them
/// would hold up unrelated tasks, and a few of them everything. Dispatch's global queues would start
/// dozens of threads that only wait for one disk. Four keep a disk busy. A job may wait for a lock,
/// but only for one whose holder runs, never for one whose holder is queued.
final class BlockingPool: Sendable {
  private struct Job {
    let work: @Sendable () -> Void
  }
  private struct Queues {
    /// Waiting jobs by priority, most urgent first.
    var jobs: [[Job]] = Array(repeating: [], count: 3)
    var isStopped = false
  }
  /// What the threads hold on to; not the pool, whose end stops them.
  private final class Shared: Sendable {
    let queues = Lock(Queues())
    let wakeups = DispatchSemaphore(value: 0)

    func run() {
      while true {
        wakeups.wait()
        let job = queues.withLock { queues -> Job? in
          for index in queues.jobs.indices where !queues.jobs[index].isEmpty {
            return queues.jobs[index].removeFirst()
          }
          return nil
        }
        // A wakeup without a job is the pool's end: each job has its own.
        guard let job else { return }
        job.work()
      }
    }
  }

  private static let threads = 4
  private let shared = Shared()

  init() throws(StoreError) {
    for _ in 0..<Self.threads { try Self.startThread(shared) }
  }

  deinit {
    for _ in 0..<Self.threads { shared.wakeups.signal() }
  }

  /// Runs `work` on one of the threads and returns what it returned. Work that is cancelled before
  /// it begins is not begun, and `cancelled` is returned.
  func run<Value: Sendable>(
    priority: TransferPriority, cancelled: Value, _ work: @escaping @Sendable () -> Value
  ) async -> Value {
    let job = Lock((isCancelled: false, value: Value?.none))
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let queued = Job {
          let value = job.withLock { $0.isCancelled } ? cancelled : work()
          job.withLock { $0.value = value }
          continuation.resume()
        }
        shared.queues.withLock { $0.jobs[priority.rawValue].append(queued) }
        shared.wakeups.signal()
      }
    } onCancel: {
      job.withLock { $0.isCancelled = true }
    }
    // Through the lock: the thread sanitizer sees no order in a continuation that was resumed before
    // anybody waited for it.
    return job.withLock { $0.value } ?? cancelled
  }

  /// `pthread_create`, detached, with all signals blocked (they are the main program's business).
  private static func startThread(_ shared: Shared) throws(StoreError) {
    var all = sigset_t()
    var former = sigset_t()
    // SAFETY: locals that outlive the calls.
    unsafe sigfillset(&all)
    unsafe pthread_sigmask(SIG_SETMASK, &all, &former)
    defer { unsafe pthread_sigmask(SIG_SETMASK, &former, nil) }
    var thread = pthread_t()
    // SAFETY: the retained reference is taken over by the thread, or released below.
    let context = unsafe Unmanaged.passRetained(shared)
    let code = unsafe pthread_create(
      &thread, nil,
      { argument in
        if let argument = unsafe argument {
          unsafe Unmanaged<Shared>.fromOpaque(argument).takeRetainedValue().run()
        }
        return nil
      }, context.toOpaque())
    guard code == 0 else {
      unsafe context.release()
      throw StoreError(
        .io, operation: "OPEN", object: "directory store",
        detail: "cannot start a thread: \(errnoText(code))")
    }
    pthread_detach(thread)
  }
}
