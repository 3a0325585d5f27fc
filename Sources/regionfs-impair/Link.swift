/// One direction of a wire: bytes leave one after the other at its speed.
struct Link {
  /// Bytes a second; nil is as fast as they come.
  var bytesPerSecond: UInt64?
  /// When the last byte put on the wire will have left.
  private(set) var freeAt: Nanoseconds = 0

  /// How far ahead of the wire a sender may queue; more would only add delay.
  static let backlogLimit: Nanoseconds = 5_000_000

  init(bytesPerSecond: UInt64?) { self.bytesPerSecond = bytesPerSecond }

  /// Puts `count` bytes on the wire; returns when the last of them leaves.
  mutating func send(_ count: Int, at now: Nanoseconds) -> Nanoseconds {
    guard let bytesPerSecond else { return now }
    // 2^34 bytes in nanoseconds is the most that fits; a segment is far smaller.
    freeAt = max(now, freeAt) + UInt64(count) * 1_000_000_000 / bytesPerSecond
    return freeAt
  }

  /// When the wire will take more, if it does not now.
  func blockedUntil(_ now: Nanoseconds) -> Nanoseconds? {
    guard bytesPerSecond != nil, freeAt > now + Self.backlogLimit else { return nil }
    return freeAt - Self.backlogLimit / 2
  }

  /// Bytes to take at once so that a slow wire is shared smoothly.
  var quantum: Int {
    guard let bytesPerSecond else { return Int.max }
    return max(4096, Int(bytesPerSecond / 500))
  }
}
