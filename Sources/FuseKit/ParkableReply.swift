/// A reply that may wait for long, and whose caller may be interrupted meanwhile.
public protocol ParkableReply: ~Copyable, Sendable {
  /// Asks for `FuseFilesystem.interrupted(key)`; see ``ReadReply/armInterrupt(key:)``.
  borrowing func armInterrupt(key: UInt64) -> Bool
  /// The thread that waits, in the daemon's pid namespace; 0 where it cannot be named there.
  var callerThread: Int32 { get }
  /// Answers with an errno.
  consuming func error(_ errno: Int32)
}

extension EmptyReply: ParkableReply {
  /// The thread that waits.
  public var callerThread: Int32 { request.caller().pid }
}

extension ReadReply: ParkableReply {
  /// The thread that waits.
  public var callerThread: Int32 { request.caller().pid }
}

extension EntryReply: ParkableReply {
  /// The thread that waits.
  public var callerThread: Int32 { request.caller().pid }
  /// See ``ReadReply/armInterrupt(key:)``.
  public borrowing func armInterrupt(key: UInt64) -> Bool { request.armInterrupt(key: key) }
}

extension AttributeReply: ParkableReply {
  /// The thread that waits.
  public var callerThread: Int32 { request.caller().pid }
  /// See ``ReadReply/armInterrupt(key:)``.
  public borrowing func armInterrupt(key: UInt64) -> Bool { request.armInterrupt(key: key) }
}

extension CreateReply: ParkableReply {
  /// The thread that waits.
  public var callerThread: Int32 { request.caller().pid }
  /// See ``ReadReply/armInterrupt(key:)``.
  public borrowing func armInterrupt(key: UInt64) -> Bool { request.armInterrupt(key: key) }
}

extension OpenReply: ParkableReply {
  /// The thread that waits.
  public var callerThread: Int32 { request.caller().pid }
  /// See ``ReadReply/armInterrupt(key:)``.
  public borrowing func armInterrupt(key: UInt64) -> Bool { request.armInterrupt(key: key) }
}

extension WriteReply: ParkableReply {
  /// The thread that waits.
  public var callerThread: Int32 { request.caller().pid }
  /// See ``ReadReply/armInterrupt(key:)``.
  public borrowing func armInterrupt(key: UInt64) -> Bool { request.armInterrupt(key: key) }
}

extension SeekReply: ParkableReply {
  /// The thread that waits.
  public var callerThread: Int32 { request.caller().pid }
  /// See ``ReadReply/armInterrupt(key:)``.
  public borrowing func armInterrupt(key: UInt64) -> Bool { request.armInterrupt(key: key) }
}
