/// Which request goes first when transfers are scarce.
public enum HTTPPriority: Int, CaseIterable, Comparable, Sendable {
  /// Someone waits for it now: never held back by the limits of the other two.
  case demand = 0
  /// Someone will probably wait for it soon.
  case readAhead = 1
  /// Nobody waits for it.
  case background = 2

  /// Orders by urgency: `demand` is the smallest.
  public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
}

/// One header line, sent exactly as given.
public struct HTTPHeader: Hashable, Sendable {
  /// The name, without the colon.
  public var name: String
  /// The value.
  public var value: String

  /// A header line.
  public init(_ name: String, _ value: String) {
    self.name = name
    self.value = value
  }
}

/// Bytes to send, borrowed from an owner that the transfer keeps alive.
///
/// Whoever makes one promises not to change the bytes before the transfer has ended, which is why
/// it may cross tasks.
@safe
public struct HTTPBody: @unchecked Sendable {
  /// The bytes.
  public let bytes: UnsafeRawBufferPointer
  /// What keeps `bytes` valid.
  public let owner: AnyObject?

  /// Borrows `bytes`, which must stay valid and unchanged as long as `owner` lives.
  public init(_ bytes: UnsafeRawBufferPointer, owner: AnyObject) {
    unsafe self.bytes = bytes
    self.owner = owner
  }

  /// A body holding a copy of `array`.
  public init(_ array: [UInt8]) {
    let copy = CopiedBytes(array)
    unsafe self.bytes = copy.bytes
    owner = copy
  }

  /// Bytes to send.
  public var count: Int { unsafe bytes.count }
}

/// A copy of an array at an address that does not move.
@safe
private final class CopiedBytes {
  let bytes: UnsafeRawBufferPointer

  init(_ array: [UInt8]) {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: array.count, alignment: 1)
    // SAFETY: `memory` is as long as `array`; freed in `deinit` only.
    unsafe memory.copyBytes(from: array)
    unsafe bytes = UnsafeRawBufferPointer(memory)
  }

  deinit { unsafe bytes.deallocate() }
}

/// Where the body of a successful answer (status below 300) goes.
@safe
public struct HTTPDestination: @unchecked Sendable {
  // Sound for the same reason as `HTTPBody`: the transfer alone touches the memory until it ends.
  let base: UnsafeMutableRawPointer?
  let capacity: Int
  let owner: AnyObject?

  /// Straight into `capacity` bytes at `base`, which stay valid as long as `owner` lives and which
  /// nobody else touches before the transfer has ended. A longer body is `HTTPError.tooLarge`.
  public static func memory(
    _ base: UnsafeMutableRawPointer, capacity: Int, owner: AnyObject
  ) -> Self {
    unsafe Self(base: base, capacity: capacity, owner: owner)
  }

  /// Into `HTTPResponse.body`, at most `limit` bytes. A longer body is `HTTPError.tooLarge`.
  public static func array(limit: Int) -> Self {
    unsafe Self(base: nil, capacity: limit, owner: nil)
  }
}

/// How long to wait without any progress.
public struct HTTPTimeouts: Hashable, Sendable {
  /// For name resolution, TCP and TLS together; at least 1 ms.
  public var connect: Duration
  /// Between two bytes, sent or received, once connected; at least 1 ms.
  public var stall: Duration

  /// Limits on waiting, by default 10 s each.
  public init(connect: Duration = .seconds(10), stall: Duration = .seconds(10)) {
    self.connect = connect
    self.stall = stall
  }
}

/// One HTTP request. `Expect: 100-continue`, which costs a round trip, is never sent.
public struct HTTPRequest: Sendable {
  /// What to do.
  public enum Method: String, Sendable {
    /// Read.
    case get = "GET"
    /// Write.
    case put = "PUT"
    /// Send a form or a query.
    case post = "POST"
    /// Remove.
    case delete = "DELETE"
  }

  /// What to do.
  public var method: Method
  /// Absolute `http` or `https` URL, percent-encoded; sent as it is.
  public var url: String
  /// Header lines, sent exactly as given.
  public var headers: [HTTPHeader]
  /// What to send; nil sends a PUT or POST of no bytes. A request whose body went out is never
  /// sent again behind the caller's back.
  public var body: HTTPBody?
  /// Where a successful answer's body goes. Others go to `HTTPResponse.body`, cut at 64 KiB.
  public var destination: HTTPDestination
  /// Which request goes first.
  public var priority: HTTPPriority
  /// Uses a new connection rather than a kept one.
  public var freshConnection: Bool
  /// Goes straight to the host even if the environment names a proxy.
  public var bypassProxy: Bool
  /// Replaces the client's timeouts.
  public var timeouts: HTTPTimeouts?

  /// A request for `url`.
  public init(
    _ method: Method, _ url: String, headers: [HTTPHeader] = [], body: HTTPBody? = nil,
    destination: HTTPDestination = .array(limit: 1 << 20), priority: HTTPPriority = .demand
  ) {
    self.method = method
    self.url = url
    self.headers = headers
    self.body = body
    self.destination = destination
    self.priority = priority
    freshConnection = false
    bypassProxy = false
    timeouts = nil
  }
}
