import Glibc
import Locks

/// A request as a `ScriptedServer` saw it.
struct SeenRequest: Sendable {
  var method: String
  var target: String
  var headers: [String: String]
  var body: [UInt8]
  /// Which connection it came on, from 0.
  var connection: Int
}

/// What to do with a request: bytes to send, then whether to hang up.
enum ScriptedAnswer: Sendable {
  case reply(Int, [String: String], [UInt8])
  /// Sends exactly these bytes and closes.
  case rawThenClose([UInt8])
  /// Sends exactly these bytes and then nothing until the client goes away.
  case rawThenSilence([UInt8])
  /// Closes with a reset, without a byte.
  case reset
  /// Sends nothing until the client goes away.
  case silence

  static func reply(_ status: Int, _ headers: [String: String] = [:], _ body: String) -> Self {
    .reply(status, headers, Array(body.utf8))
  }
}

/// A HTTP/1.1 server on 127.0.0.1 that answers as a test says, one thread per connection.
final class ScriptedServer: Sendable {
  typealias Handler = @Sendable (SeenRequest) -> ScriptedAnswer

  let port: Int
  private let listener: Int32
  private let handler: Handler
  private let slowness: UInt32
  private let seen = Lock<[SeenRequest]>([])

  /// `slowness` makes it read at most 64 KiB in that many microseconds, with a small buffer.
  init(slowness: UInt32 = 0, _ handler: @escaping Handler) throws {
    self.handler = handler
    self.slowness = slowness
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
    if slowness > 0 {
      var bytes: Int32 = 64 << 10
      // SAFETY: `bytes` is a local of the size given.
      unsafe _ = setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(4))
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    // SAFETY: `address` and `size` are locals that outlive the calls.
    let bound = unsafe withUnsafeMutablePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe bind(listener, $0, size) == 0 && listen(listener, 64) == 0
          && getsockname(listener, $0, &size) == 0
      }
    }
    guard bound else { throw ScriptError(description: "bind: errno \(errno)") }
    self.listener = listener
    port = Int(in_port_t(bigEndian: address.sin_port))
    startThread { [self] in acceptAll() }
  }

  var url: String { "http://127.0.0.1:\(port)" }
  var requests: [SeenRequest] { seen.withLock { $0 } }

  /// Accepts no more connections.
  func stop() { shutdown(listener, Int32(SHUT_RDWR)) }

  private func acceptAll() {
    var number = 0
    while true {
      let connection = accept(listener, nil, nil)
      guard connection >= 0 else { break }
      let index = number
      number += 1
      startThread { [self] in
        serve(connection, index)
        close(connection)
      }
    }
    close(listener)
  }

  private func serve(_ connection: Int32, _ index: Int) {
    var input = Input(connection: connection, slowness: slowness)
    while let request = input.nextRequest(connection: index) {
      seen.withLock { $0.append(request) }
      switch handler(request) {
      case .reply(let status, let headers, let body):
        guard write(connection, Self.encode(status, headers, body)) else { return }
      case .rawThenClose(let bytes):
        _ = write(connection, bytes)
        return
      case .reset:
        var option = linger(l_onoff: 1, l_linger: 0)
        // SAFETY: `option` is a local of the size given.
        unsafe _ = setsockopt(
          connection, SOL_SOCKET, SO_LINGER, &option, socklen_t(MemoryLayout<linger>.size))
        return
      case .rawThenSilence(let bytes):
        _ = write(connection, bytes)
        while !input.readMore().isEmpty {}
        return
      case .silence:
        while !input.readMore().isEmpty {}
        return
      }
    }
  }

  static func encode(_ status: Int, _ headers: [String: String], _ body: [UInt8]) -> [UInt8] {
    var head = "HTTP/1.1 \(status) Scripted\r\n"
    if headers["Content-Length"] == nil && status != 204 {
      head += "Content-Length: \(body.count)\r\n"
    }
    for (name, value) in headers { head += "\(name): \(value)\r\n" }
    return Array((head + "\r\n").utf8) + body
  }

  private func write(_ connection: Int32, _ bytes: [UInt8]) -> Bool {
    var rest = bytes[...]
    while !rest.isEmpty {
      // SAFETY: the pointer is valid for `rest.count` bytes during the call.
      let count = unsafe rest.withUnsafeBytes {
        unsafe send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return false }
      rest = rest.dropFirst(count)
    }
    return true
  }
}

struct ScriptError: Error, CustomStringConvertible {
  var description: String
}

/// Reads requests from a connection.
private struct Input {
  let connection: Int32
  let slowness: UInt32
  var buffered: [UInt8] = []

  mutating func readMore() -> [UInt8] {
    var piece = [UInt8](repeating: 0, count: 64 << 10)
    if slowness > 0 { usleep(slowness) }
    // SAFETY: the array has `piece.count` bytes and is not touched meanwhile.
    let count = unsafe recv(connection, &piece, piece.count, 0)
    guard count > 0 else { return [] }
    buffered += piece[..<count]
    return Array(piece[..<count])
  }

  mutating func nextRequest(connection index: Int) -> SeenRequest? {
    let mark = Array("\r\n\r\n".utf8)
    while buffered.firstRange(of: mark) == nil {
      guard !readMore().isEmpty else { return nil }
    }
    guard let end = buffered.firstRange(of: mark) else { return nil }
    let head = String(decoding: buffered[..<end.lowerBound], as: UTF8.self)
    buffered.removeSubrange(..<end.upperBound)
    let lines = head.split(separator: "\r\n")
    let words = lines[0].split(separator: " ")
    var headers: [String: String] = [:]
    for line in lines.dropFirst() {
      let parts = line.split(separator: ":", maxSplits: 1)
      headers[parts[0].lowercased()] = parts.count > 1 ? String(parts[1].drop { $0 == " " }) : ""
    }
    let length = headers["content-length"].flatMap { Int($0) } ?? 0
    while buffered.count < length {
      guard !readMore().isEmpty else { return nil }
    }
    let body = Array(buffered[..<length])
    buffered.removeSubrange(..<length)
    return SeenRequest(
      method: String(words[0]), target: String(words[1]), headers: headers, body: body,
      connection: index)
  }
}

/// Runs `body` on a thread of its own, where it may block.
private func startThread(_ body: @escaping @Sendable () -> Void) {
  final class Box: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  // SAFETY: the thread takes over this reference.
  let context = unsafe Unmanaged.passRetained(Box(body)).toOpaque()
  var thread: pthread_t = 0
  let code = unsafe pthread_create(
    &thread, nil,
    { context in
      guard let context = unsafe context else { return nil }
      unsafe Unmanaged<Box>.fromOpaque(context).takeRetainedValue().body()
      return nil
    }, context)
  precondition(code == 0, "pthread_create: \(code)")
  pthread_detach(thread)
}
