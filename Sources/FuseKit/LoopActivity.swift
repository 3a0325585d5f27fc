import Synchronization

/// What a loop thread is working on.
public struct LoopWork: Hashable, Sendable {
  /// Which thread, from 0.
  public var thread: Int
  /// Counts the thread's requests: the same number later is the same request, which then has not
  /// returned in between.
  public var serial: UInt64
  /// The kernel's number of the request's kind (`enum fuse_opcode`).
  public var opcode: UInt32
}

/// What each loop thread is doing, for a watchdog to look at: a word that the thread stores when it
/// begins and ends a request. No clock, no lock, no allocation: the time is the watcher's affair.
final class LoopActivity: Sendable {
  /// At most as many threads as `SessionCore.start` makes.
  private let first = Atomic<UInt64>(0)
  private let second = Atomic<UInt64>(0)
  private let third = Atomic<UInt64>(0)
  private let fourth = Atomic<UInt64>(0)
  private static var idle: UInt64 { 0 }

  /// The thread begins its request number `serial`, counted from 1.
  func begin(thread: Int, serial: UInt64, opcode: UInt32) {
    store(serial << 16 | UInt64(opcode & 0xFFFF), for: thread)
  }

  /// The callback has returned (the request may still be unanswered).
  func end(thread: Int) { store(Self.idle, for: thread) }

  private func store(_ word: UInt64, for thread: Int) {
    switch thread {
    case 0: first.store(word, ordering: .relaxed)
    case 1: second.store(word, ordering: .relaxed)
    case 2: third.store(word, ordering: .relaxed)
    default: fourth.store(word, ordering: .relaxed)
    }
  }

  /// The requests whose callbacks have not returned now.
  var current: [LoopWork] {
    let all = [
      first.load(ordering: .relaxed), second.load(ordering: .relaxed),
      third.load(ordering: .relaxed), fourth.load(ordering: .relaxed),
    ]
    return all.enumerated().compactMap { thread, word in
      word == Self.idle
        ? nil : LoopWork(thread: thread, serial: word >> 16, opcode: UInt32(word & 0xFFFF))
    }
  }
}
