import Locks
import RegionCore

/// Jobs for one thread of its own, which may wait where none of the engine's threads may.
final class JobQueue<Job: Sendable>: Sendable {
  private struct State {
    var jobs: [Job] = []
    var isStopped = false
  }

  private let limit: Int
  private let state = Lock(State())
  private let hasJobs = Semaphore()

  /// A queue of at most `limit` jobs.
  init(limit: Int = .max) { self.limit = limit }

  /// Nothing is taken any more.
  var isStopped: Bool { state.withLock { $0.isStopped } }

  /// Adds a job. False where the queue is stopped or full: then nobody does it.
  func add(_ job: Job) -> Bool {
    let isTaken = state.withLock { state -> Bool in
      guard !state.isStopped, state.jobs.count < limit else { return false }
      state.jobs.append(job)
      return true
    }
    if isTaken { hasJobs.signal() }
    return isTaken
  }

  /// Waits for the next job; nil once the queue is stopped.
  func next() -> Job? {
    while true {
      hasJobs.wait()
      let (job, isOver) = state.withLock { state in
        (state.jobs.isEmpty ? nil : state.jobs.removeFirst(), state.isStopped)
      }
      if let job { return job }
      if isOver { return nil }
    }
  }

  /// Waits for a job and takes all that there are; nil once the queue is stopped.
  func all() -> [Job]? {
    while true {
      hasJobs.wait()
      let (jobs, isOver) = state.withLock { state in
        defer { state.jobs = [] }
        return (state.jobs, state.isStopped)
      }
      if !jobs.isEmpty { return jobs }
      if isOver { return nil }
    }
  }

  /// Ends it. Returns the jobs that nobody does.
  @discardableResult
  func stop() -> [Job] {
    let left = state.withLock { state in
      state.isStopped = true
      defer { state.jobs = [] }
      return state.jobs
    }
    hasJobs.signal()
    return left
  }
}
