import Glibc
import Locks

/// The engine's own threads. Tasks that run here may touch the local disk (a blocked thread is one
/// of several and belongs to nobody else); they never wait for the network but by suspending.
public final class EngineExecutor: TaskExecutor {
  private struct State {
    var jobs: [UnownedJob] = []
    /// First job not yet taken: the array is a queue that is compacted when it has run empty.
    var head = 0
    var stopping = false
  }

  private let state = Lock(State())
  private let wakeup = Semaphore()

  /// Starts `threads` threads (1 ... 64).
  public init(threads: Int) {
    for _ in 0..<max(1, min(threads, 64)) {
      startThread { [self] in runUntilStopped() }
    }
  }

  /// Queues a job; called by the Swift runtime.
  public func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    state.withLock { $0.jobs.append(job) }
    wakeup.signal()
  }

  private func runUntilStopped() {
    while true {
      wakeup.wait()
      guard let job = takeJob() else { continue }
      // SAFETY: each job is taken from the queue once and so runs once.
      unsafe job.runSynchronously(on: asUnownedTaskExecutor())
    }
  }

  private func takeJob() -> UnownedJob? {
    state.withLock { state in
      guard state.head < state.jobs.count else { return nil }
      let job = state.jobs[state.head]
      state.head += 1
      if state.head == state.jobs.count {
        state.jobs.removeAll(keepingCapacity: state.jobs.capacity <= 4096)
        state.head = 0
      } else if state.head >= 4096 {
        state.jobs.removeFirst(state.head)
        state.head = 0
      }
      return job
    }
  }
}

extension TaskExecutor {
  /// Runs `body` as a task of this executor.
  @discardableResult
  public func spawn(_ body: sending @escaping @isolated(any) () async -> Void) -> Task<Void, Never>
  {
    Task(executorPreference: self, operation: body)
  }
}

/// A counting semaphore between threads. POSIX `sem_t`.
@safe public final class Semaphore: @unchecked Sendable {
  // A heap cell, because `sem_t` must not move.
  private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

  /// A semaphore at zero.
  public init() { unsafe sem_init(semaphore, 0, 0) }

  deinit {
    unsafe sem_destroy(semaphore)
    unsafe semaphore.deallocate()
  }

  /// `sem_post`.
  public func signal() { unsafe sem_post(semaphore) }

  /// `sem_wait`, going on after signals.
  public func wait() {
    while unsafe sem_wait(semaphore) != 0 {}
  }
}

/// Runs `body` on a new detached thread. `pthread_create`.
public func startThread(_ body: @escaping @Sendable () -> Void) {
  final class Box {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  let box = unsafe Unmanaged.passRetained(Box(body)).toOpaque()
  var attributes = pthread_attr_t()
  var thread = pthread_t()
  unsafe pthread_attr_init(&attributes)
  unsafe pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
  // SAFETY: the box is retained here and released exactly once by the new thread.
  let status = unsafe pthread_create(
    &thread, &attributes,
    { argument in
      guard let argument = unsafe argument else { return nil }
      unsafe Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body()
      return nil
    }, box)
  unsafe pthread_attr_destroy(&attributes)
  precondition(status == 0, "pthread_create failed: the process has run out of threads")
}
