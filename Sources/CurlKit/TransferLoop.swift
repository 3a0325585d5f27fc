import CCurl
import Glibc

/// Owns the multi handle and everything in it; runs on one thread.
///
/// Sound across threads: made on one thread, then used by the loop thread alone.
@safe
final class TransferLoop: @unchecked Sendable {
  private struct Active {
    let transfer: Transfer
    let handle: EasyHandle
    let stall: UInt64
    var progress = 0
    /// When something last happened, in nanoseconds of CLOCK_MONOTONIC.
    var moved: UInt64
  }

  let mailbox: Mailbox
  private let configuration: HTTPConfiguration
  private let multi: UnsafeMutableRawPointer
  private var queue: TransferQueue<Transfer>
  /// By `EasyHandle.key`.
  private var active: [UInt: Active] = [:]
  private var pool: [EasyHandle] = []
  private var nextCheck: UInt64 = 0

  private static let globalInit: CURLcode = curl_global_init(Int(CURL_GLOBAL_DEFAULT))

  init(_ configuration: HTTPConfiguration) throws(HTTPError) {
    guard Self.globalInit == CURLE_OK, let multi = unsafe curl_multi_init() else {
      throw HTTPError(.other, "libcurl does not start")
    }
    self.configuration = configuration
    unsafe self.multi = multi
    unsafe mailbox = Mailbox(multi: multi)
    queue = TransferQueue(
      demandLimit: configuration.connectionLimit, activeLimit: configuration.activeLimit,
      backgroundLimit: configuration.backgroundLimit)
    for option in [
      CURLMOPT_MAX_TOTAL_CONNECTIONS, CURLMOPT_MAX_HOST_CONNECTIONS, CURLMOPT_MAXCONNECTS,
    ] {
      unsafe _ = curlkit_multi_set_long(multi, option, configuration.connectionLimit)
    }
  }

  deinit {
    // Also where no thread was ever started. Handles go before the multi handle.
    pool = []
    unsafe _ = curl_multi_cleanup(multi)
  }

  /// Runs until the mailbox is closed.
  func run() {
    unsafe _ = curlkit_name_thread("transfers")
    while true {
      let (messages, isClosed) = mailbox.collect()
      for message in messages { handle(message) }
      if isClosed { return failEverything() }
      startWaiting()
      var running: Int32 = 0
      unsafe _ = curl_multi_perform(multi, &running)
      // What has ended makes room for the next, which should not wait for a poll.
      if finishCompleted() { continue }
      checkStalls()
      unsafe _ = curl_multi_poll(multi, nil, 0, pollTimeout, nil)
    }
  }

  private var now: UInt64 {
    var time = timespec()
    // SAFETY: `time` is a local that outlives the call.
    unsafe _ = clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Milliseconds until stalls are looked at again. libcurl shortens it to its own timers.
  private var pollTimeout: Int32 {
    guard !active.isEmpty else { return 600_000 }
    let now = now
    return nextCheck > now ? Int32((nextCheck - now) / 1_000_000) + 1 : 0
  }

  // MARK: Starting

  private func handle(_ message: Mailbox.Message) {
    switch message {
    case .start(let transfer):
      queue.append(transfer, id: transfer.id, priority: transfer.request.priority)
    case .cancel(let transfer):
      cancel(transfer)
    }
  }

  private func cancel(_ transfer: Transfer) {
    let error = HTTPError(.cancelled, "cancelled")
    if let waiting = queue.remove(id: transfer.id, priority: transfer.request.priority) {
      return waiting.resume(.failure(error))
    }
    if let key = active.first(where: { $0.value.transfer === transfer })?.key {
      end(key) { _ in .failure(error) }
    }
  }

  private func startWaiting() {
    while let transfer = queue.next() {
      // Cancelled before it was posted: the cancel message came first and found nothing.
      guard !transfer.cancelled.load(ordering: .relaxed) else {
        queue.finished(transfer.request.priority)
        transfer.resume(.failure(HTTPError(.cancelled, "cancelled")))
        continue
      }
      start(transfer)
    }
  }

  private func start(_ transfer: Transfer) {
    guard let handle = pool.popLast() ?? EasyHandle(configuration) else {
      queue.finished(transfer.request.priority)
      return transfer.resume(.failure(HTTPError(.other, "curl_easy_init: no memory")))
    }
    handle.prepare(transfer)
    let stall = (transfer.request.timeouts ?? configuration.timeouts).stall.nanosecondCount
    active[handle.key] = Active(
      transfer: transfer, handle: handle, stall: max(stall, 1_000_000), moved: now)
    let code = unsafe curl_multi_add_handle(multi, handle.raw)
    guard code == CURLM_OK else {
      let text = unsafe curl_multi_strerror(code).map { unsafe String(cString: $0) } ?? "failed"
      return end(handle.key) { _ in
        .failure(HTTPError(.other, "curl_multi_add_handle: \(text)", code: Int(code.rawValue)))
      }
    }
  }

  // MARK: Ending

  /// Takes a transfer out of libcurl, so that its memory is the caller's again, then answers it.
  private func end(_ key: UInt, _ outcome: (Active) -> Transfer.Outcome) {
    guard let entry = active.removeValue(forKey: key) else { return }
    unsafe _ = curl_multi_remove_handle(multi, entry.handle.raw)
    let result = outcome(entry)
    mailbox.count(connections: entry.handle.number(CURLINFO_NUM_CONNECTS))
    entry.handle.clear()
    if pool.count < configuration.connectionLimit { pool.append(entry.handle) }
    queue.finished(entry.transfer.request.priority)
    entry.transfer.resume(result)
  }

  /// Answers what libcurl has completed; whether there was any.
  private func finishCompleted() -> Bool {
    var any = false
    var left: Int32 = 0
    while let message = unsafe curl_multi_info_read(multi, &left) {
      // SAFETY: valid until the next call on the multi handle; copied before.
      let (kind, key, code) = unsafe (
        message.pointee.msg, UInt(bitPattern: message.pointee.easy_handle),
        message.pointee.data.result
      )
      guard kind == CURLMSG_DONE else { continue }
      any = true
      end(key) { Self.outcome($0, code) }
    }
    return any
  }

  private static func outcome(_ entry: Active, _ code: CURLcode) -> Transfer.Outcome {
    let transfer = entry.transfer
    if let refusal = transfer.refusal { return .failure(refusal) }
    guard code == CURLE_OK else { return .failure(HTTPError(code, text: entry.handle.failureText)) }
    return .success(
      HTTPResponse(
        status: transfer.status, headers: transfer.headers, byteCount: transfer.received,
        body: transfer.stored, newConnections: entry.handle.number(CURLINFO_NUM_CONNECTS),
        timeToFirstByte: entry.handle.time(CURLINFO_STARTTRANSFER_TIME_T),
        duration: entry.handle.time(CURLINFO_TOTAL_TIME_T)))
  }

  private func failEverything() {
    let error = HTTPError(.cancelled, "the client is shut down")
    for transfer in queue.removeAll() { transfer.resume(.failure(error)) }
    for key in Array(active.keys) { end(key) { _ in .failure(error) } }
  }

  // MARK: Stalls

  /// Ends transfers without progress. Looked at a few times per timeout, from counters that exist
  /// anyway, so that the callbacks need no clock.
  private func checkStalls() {
    let now = now
    guard now >= nextCheck, !active.isEmpty else { return }
    var interval: UInt64 = 1_000_000_000
    var stalled: [UInt] = []
    for (key, var entry) in active {
      interval = min(interval, entry.stall / 8 + 1_000_000)
      if hasMoved(&entry) { entry.moved = now }
      active[key] = entry
      if now - entry.moved >= entry.stall { stalled.append(key) }
    }
    nextCheck = now + interval
    for key in stalled { end(key) { .failure(Self.stallError($0)) } }
  }

  private func hasMoved(_ entry: inout Active) -> Bool {
    let progress = entry.transfer.progress
    defer { entry.progress = progress }
    return progress != entry.progress
  }

  private static func stallError(_ entry: Active) -> HTTPError {
    let seconds = Double(entry.stall) / 1e9
    let transfer = entry.transfer
    return HTTPError(
      .stalled,
      "no progress for \(seconds) s (\(transfer.sent) bytes sent, \(transfer.received) received)")
  }
}

extension HTTPError {
  /// What libcurl's code means to callers.
  init(_ code: CURLcode, text: String?) {
    let words = unsafe curl_easy_strerror(code).map { unsafe String(cString: $0) } ?? "failed"
    self.init(Self.kind(code), text ?? words, code: Int(code.rawValue))
  }

  private static func kind(_ code: CURLcode) -> Kind {
    switch code {
    case CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY: .resolve
    // The connect timeout is the only one that libcurl is given.
    case CURLE_COULDNT_CONNECT, CURLE_OPERATION_TIMEDOUT: .connect
    case CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE,
      CURLE_SSL_CERTPROBLEM, CURLE_SSL_CIPHER, CURLE_SSL_ISSUER_ERROR, CURLE_SSL_ENGINE_NOTFOUND,
      CURLE_SSL_CRL_BADFILE, CURLE_SSL_INVALIDCERTSTATUS:
      .tls
    case CURLE_PARTIAL_FILE: .shortBody
    // CURLE_SEND_FAIL_REWIND: a kept connection broke after the body was sent, see `seekCallback`.
    case CURLE_GOT_NOTHING, CURLE_SEND_ERROR, CURLE_RECV_ERROR, CURLE_SEND_FAIL_REWIND: .reset
    default: .other
    }
  }
}
