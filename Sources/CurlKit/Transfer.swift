import CCurl
import Glibc
import Synchronization

/// One request under way: what libcurl's callbacks read and fill.
///
/// Sound across threads: `cancelled` is atomic; everything else is the caller's until the transfer
/// is handed to the loop, and the loop thread's alone from then on.
final class Transfer: @unchecked Sendable {
  typealias Outcome = Result<HTTPResponse, HTTPError>

  /// Bytes of an answer with status 300 or above that are kept.
  static let errorBodyLimit = 64 << 10
  /// Bytes of such an answer that are read at all; beyond, the connection is given up.
  static let errorBodyPatience = 1 << 20
  /// Header bytes of one answer; what curl allows too (CURL_MAX_HTTP_HEADER).
  static let headerLimit = 100 << 10

  let id: UInt64
  let request: HTTPRequest
  let cancelled = Atomic<Bool>(false)
  var continuation: CheckedContinuation<Outcome, Never>?

  /// Status of the answer, 0 before its first line.
  private(set) var status = 0
  private(set) var headers = HTTPHeaders()
  /// Body bytes that arrived, also those that were not kept.
  private(set) var received = 0
  private(set) var stored: [UInt8] = []
  /// Body bytes that libcurl took.
  private(set) var sent = 0
  /// Why a callback stopped the transfer.
  private(set) var refusal: HTTPError?

  init(id: UInt64, request: HTTPRequest) {
    self.id = id
    self.request = request
  }

  /// Anything that changes when the peer does something.
  var progress: Int { received &+ sent &+ headers.bytes.count &+ status }

  /// Ends the transfer with `outcome`; a second call does nothing.
  func resume(_ outcome: Outcome) {
    continuation?.resume(returning: outcome)
    continuation = nil
  }

  /// Takes a header line. Returns false to stop the transfer.
  func receiveHeader(_ line: UnsafeRawBufferPointer) -> Bool {
    if unsafe line.starts(with: "HTTP/".utf8) {
      // A status line starts a new answer: what came before was a 1xx.
      headers = HTTPHeaders()
      status = Self.status(unsafe String(decoding: line, as: UTF8.self))
      return true
    }
    guard headers.bytes.count + line.count <= Self.headerLimit else {
      refusal = HTTPError(.other, "more than \(Self.headerLimit) bytes of headers")
      return false
    }
    unsafe headers.bytes.append(contentsOf: line)
    return true
  }

  private static func status(_ line: String) -> Int {
    let words = line.split(separator: " ", maxSplits: 2)
    return words.count > 1 ? Int(words[1].prefix(3)) ?? 0 : 0
  }

  /// Takes a piece of the body. Returns false to stop the transfer.
  func receiveBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard status < 300 else { return unsafe receiveErrorBody(bytes) }
    let destination = request.destination
    guard bytes.count <= destination.capacity - received else {
      refusal = HTTPError(.tooLarge, "the answer is longer than \(destination.capacity) bytes")
      return false
    }
    if let base = unsafe destination.base, let start = bytes.baseAddress {
      // SAFETY: the guard keeps the copy inside the destination, which its owner keeps alive and
      // which this transfer alone touches.
      unsafe (base + received).copyMemory(from: start, byteCount: bytes.count)
    } else {
      unsafe stored.append(contentsOf: bytes)
    }
    received += bytes.count
    return true
  }

  private func receiveErrorBody(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let room = Self.errorBodyLimit - stored.count
    unsafe stored.append(contentsOf: bytes.prefix(room))
    received += bytes.count
    guard received <= Self.errorBodyPatience else {
      refusal = HTTPError(.tooLarge, "status \(status) with an endless body")
      return false
    }
    return true
  }

  /// Hands the next piece of the request's body to libcurl.
  func sendBody(into room: UnsafeMutableRawBufferPointer) -> Int {
    guard let body = request.body, let start = unsafe body.bytes.baseAddress else { return 0 }
    let count = min(room.count, body.count - sent)
    guard count > 0, let target = room.baseAddress else { return 0 }
    // SAFETY: `count` is within both; the body's owner is alive as long as the request.
    unsafe target.copyMemory(from: start + sent, byteCount: count)
    sent += count
    return count
  }
}

/// The `Transfer` behind a callback's context pointer, which its loop keeps alive.
private func transfer(_ context: UnsafeMutableRawPointer?) -> Transfer? {
  guard let context = unsafe context else { return nil }
  // SAFETY: set by `EasyHandle.prepare` to a transfer that the loop holds until the handle is
  // removed from the multi handle; libcurl calls back only before that.
  return unsafe Unmanaged<Transfer>.fromOpaque(context).takeUnretainedValue()
}

/// CURLOPT_HEADERFUNCTION.
func headerCallback(
  _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int,
  _ context: UnsafeMutableRawPointer?
) -> Int {
  let line = unsafe UnsafeRawBufferPointer(start: bytes, count: size * count)
  guard let transfer = unsafe transfer(context), unsafe transfer.receiveHeader(line) else {
    return 0
  }
  return line.count
}

/// CURLOPT_WRITEFUNCTION.
func bodyCallback(
  _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int,
  _ context: UnsafeMutableRawPointer?
) -> Int {
  let piece = unsafe UnsafeRawBufferPointer(start: bytes, count: size * count)
  // -1 is no length that libcurl accepts, so that also an empty piece can stop the transfer.
  guard let transfer = unsafe transfer(context), unsafe transfer.receiveBody(piece) else {
    return -1
  }
  return piece.count
}

/// CURLOPT_READFUNCTION.
func sendCallback(
  _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int,
  _ context: UnsafeMutableRawPointer?
) -> Int {
  guard let transfer = unsafe transfer(context) else { return Int(CURL_READFUNC_ABORT) }
  return unsafe transfer.sendBody(
    into: UnsafeMutableRawBufferPointer(start: bytes, count: size * count))
}

/// CURLOPT_SEEKFUNCTION. libcurl seeks to send a body again on a new connection when a kept one
/// broke without an answer. The first body may have been carried out, so a conditional PUT would
/// fail on its own success; refusing turns that into an error the caller sees.
func seekCallback(_ context: UnsafeMutableRawPointer?, _ offset: curl_off_t, _ origin: Int32)
  -> Int32
{
  CURL_SEEKFUNC_FAIL
}

/// Bytes that wait in a socket for their turn on the wire (`TCP_NOTSENT_LOWAT`, tcp(7)).
private let unsentLimit: Int32 = 256 << 10

/// CURLOPT_SOCKOPTFUNCTION, for each new connection. By default the kernel takes megabytes of an
/// upload at once; on a slow link it is then busy with them for longer than the stall timeout, and
/// nothing seems to move. What is in flight is not limited.
func socketCallback(_ context: UnsafeMutableRawPointer?, _ socket: curl_socket_t, _: curlsocktype)
  -> Int32
{
  var limit = unsentLimit
  // SAFETY: `limit` is a local of the size given. A kernel without the option changes nothing.
  unsafe _ = setsockopt(
    socket, Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, &limit, socklen_t(MemoryLayout<Int32>.size))
  return Int32(CURL_SOCKOPT_OK)
}
