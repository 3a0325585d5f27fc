import Glibc
import RegionControl
import RegionCore
import Synchronization

/// Serves `GET /metrics` to Prometheus: `-o metrics=127.0.0.1:9464`.
///
/// One thread, one request at a time, each within seconds: a scraper that hangs delays the next one
/// and nothing else.
final class MetricsListener: Sendable {
  private let listener: Int32
  private let isStopped = Atomic<Bool>(false)
  private let body: @Sendable () -> String

  /// Longest request that is read, in bytes.
  private static let requestLimit = 8192
  /// How long a peer may take to send or to receive, in seconds.
  private static let patience = 5

  /// Listens at `ADDRESS:PORT` and starts to answer with what `body` makes.
  ///
  /// - Throws: `ControlError` naming the address.
  init(_ address: String, body: @escaping @Sendable () -> String) throws(ControlError) {
    self.body = body
    listener = try Self.listen(at: address)
    do throws(ControlError) {
      try DetachedThread.start { [self] in serve() }
    } catch {
      close(listener)
      throw error
    }
  }

  /// Ends listening; the thread ends with it.
  func stop() {
    isStopped.store(true, ordering: .releasing)
    // Wakes the accept; the thread closes the descriptor.
    shutdown(listener, Int32(SHUT_RDWR))
  }

  // MARK: Listening

  private static func listen(at address: String) throws(ControlError) -> Int32 {
    func failure(_ cause: String) -> ControlError {
      ControlError(
        .system, "metrics=\(address): \(cause); choose a free port of an address of this host")
    }
    guard let colon = address.lastIndex(of: ":") else { throw failure("no port") }
    let host = address[..<colon].filter { $0 != "[" && $0 != "]" }
    var hints = unsafe addrinfo()
    unsafe hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE
    unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var found: UnsafeMutablePointer<addrinfo>?
    // SAFETY: the result is freed below; the strings live during the call.
    let code = unsafe getaddrinfo(
      String(host), String(address[address.index(after: colon)...]), &hints, &found)
    guard code == 0, let info = unsafe found else {
      throw failure(unsafe String(cString: gai_strerror(code)))
    }
    defer { unsafe freeaddrinfo(info) }
    let descriptor = unsafe socket(
      info.pointee.ai_family, info.pointee.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw failure(errnoText(errno)) }
    var one: Int32 = 1
    // SAFETY: `one` is a local of the size given; the address is `info`'s.
    unsafe setsockopt(
      descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
    guard unsafe bind(descriptor, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0,
      Glibc.listen(descriptor, 8) == 0
    else {
      let code = errno
      close(descriptor)
      throw failure(errnoText(code))
    }
    return descriptor
  }

  private func serve() {
    while true {
      let peer = accept(listener, nil, nil)
      if isStopped.load(ordering: .acquiring) {
        if peer >= 0 { close(peer) }
        close(listener)
        return
      }
      guard peer >= 0 else {
        // Out of descriptors, perhaps: not in a circle.
        if errno != EINTR, errno != ECONNABORTED { usleep(100_000) }
        continue
      }
      _ = fcntl(peer, F_SETFD, FD_CLOEXEC)
      answer(peer)
      close(peer)
    }
  }

  // MARK: Answering

  private func answer(_ peer: Int32) {
    var time = timeval(tv_sec: Self.patience, tv_usec: 0)
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      // SAFETY: `time` is a local of the size given.
      unsafe setsockopt(
        peer, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
    }
    guard let line = Self.requestLine(peer) else { return }
    let words = line.split(separator: " ")
    let path = words.count > 1 ? words[1].prefix { $0 != "?" } : ""
    switch (words.first, path) {
    case ("GET", "/metrics"):
      Self.send(peer, "200 OK", PrometheusText.contentType, body())
    case ("GET", _):
      Self.send(peer, "404 Not Found", "text/plain", "metrics are at /metrics\n")
    default:
      Self.send(peer, "405 Method Not Allowed", "text/plain", "only GET\n")
    }
  }

  /// The first line of a request whose head has come whole; nil if it does not.
  private static func requestLine(_ peer: Int32) -> String? {
    var head: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1024)
    while head.count < requestLimit {
      // SAFETY: read writes at most as many bytes as there are.
      let count = unsafe read(peer, &buffer, buffer.count)
      guard count > 0 else { return nil }
      head += buffer[..<count]
      let text = String(decoding: head, as: UTF8.self)
      if text.contains("\r\n\r\n") || text.contains("\n\n") {
        return text.split(whereSeparator: \.isNewline).first.map(String.init)
      }
    }
    return nil
  }

  private static func send(_ peer: Int32, _ status: String, _ type: String, _ body: String) {
    let head =
      "HTTP/1.1 \(status)\r\nContent-Type: \(type)\r\nContent-Length: \(body.utf8.count)\r\n"
      + "Connection: close\r\n\r\n"
    ProgressDisplay.write(head + body, to: peer)
  }
}
